package session

import (
	"fmt"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// Congestion names the way in which a session finds out how many packets it may have on their way.
type Congestion uint8

const (
	// Swift keeps the queues of the path short by their delay: the default, for every network that may lose packets.
	Swift Congestion = iota
	// Fixed always allows the whole window: for lossless fabrics, whose own flow control stops a sender that is too fast.
	Fixed
)

// A controller decides how many packets a session may have on their way. Its methods neither block nor allocate.
type controller interface {
	// acked takes an acknowledgement of n packets that were not acknowledged before. Just before it, flight packets were on their way, the n
	// among them: a window that is not used does not grow. The newest round-trip sample is rtt, the smallest that the path has shown is
	// least; marked says that some of the n bore the ECN mark CE.
	acked(now transport.Time, n, flight int, rtt, least time.Duration, marked bool)

	// lost takes one packet, sent at sentAt, that counts as lost. It follows the acked of the acknowledgement that told so.
	lost(now, sentAt transport.Time)

	// timedOut takes the n-th probe timeout in a row, counted from 1, without an acknowledgement between them.
	timedOut(now transport.Time, n int)

	// spurious takes back the last loss or timeout: its packet had arrived. What it did to the window is undone.
	spurious(now transport.Time)

	// window returns how many packets may be on their way, at least 1. While the true window is smaller than one packet, gap is the least
	// time from one packet to the next, otherwise 0.
	window() (packets int, gap time.Duration)

	// reset forgets what was learned of the path, because it is another one now.
	reset()
}

// newController makes the controller of one session. A window never exceeds maxWindow packets; targetDelay is the queueing delay that Swift
// aims at, 0 for the default. A kind that does not exist is a mistake of the program and panics.
func newController(kind Congestion, maxWindow int, targetDelay time.Duration) controller {
	switch kind {
	case Swift:
		return newSwift(maxWindow, targetDelay)
	case Fixed:
		return fixed(maxWindow)
	}
	panic(fmt.Sprintf("session: there is no congestion control %d; take Swift or Fixed", kind))
}

// fixed is a window that never changes.
type fixed int

func (f fixed) window() (int, time.Duration)                                     { return max(int(f), 1), 0 }
func (fixed) acked(transport.Time, int, int, time.Duration, time.Duration, bool) {}
func (fixed) lost(_, _ transport.Time)                                           {}
func (fixed) timedOut(transport.Time, int)                                       {}
func (fixed) spurious(transport.Time)                                            {}
func (fixed) reset()                                                             {}
