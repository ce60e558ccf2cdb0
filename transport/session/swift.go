package session

import (
	"math"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// The constants of Swift. "The paper" is Kumar et al., "Swift: Delay is Simple and Effective for Congestion Control in the Datacenter",
// SIGCOMM 2020.
const (
	// defaultTargetDelay is the queueing delay that is aimed at. At 10 Gbit/s it is 42 packets of 1,500 bytes: enough to keep the link busy
	// while windows move, and a quarter of a shallow switch's 256 KiB a port.
	defaultTargetDelay = 50 * time.Microsecond

	// swiftInitial packets may be sent before anything is known (RFC 6928's initial window): sixteen senders that start at once at one
	// receiver fit into 256 KiB.
	swiftInitial = 10.0

	// swiftFloor packets remain until swiftPatience is used up: a round of too long a delay takes two of it, another gives one back. With so
	// little on its way a round is a sample or two, and one hiccup of a scheduler at either end must not pace a session for milliseconds.
	swiftFloor    = 1.0
	swiftPatience = 4

	// swiftMin is the least window, in packets: a hundred senders for each packet that fits into the path.
	swiftMin = 0.01

	// swiftMaxGap bounds the pacing of windows below one packet: the next round-trip sample comes only with the next packet, so one
	// sample that was far too long must not silence a session.
	swiftMaxGap = 10 * time.Millisecond

	// swiftIncrease is the additive increase, in packets a round trip (ai in the paper). With twice as much, sixteen senders at one port pass
	// their target after so few round trips that whoever decreases one later keeps a tenth more than its share.
	swiftIncrease = 0.5

	// swiftMaxCut is the most that a window loses in one round trip (max_mdf in the paper).
	swiftMaxCut = 0.5

	// swiftDip: after a decrease the window stays below its new value, at this part of it, for one round trip, so that the queue empties.
	swiftDip = 2.0 / 3

	// Flow scaling, section 3.1 of the paper: queues vary with the square root of the number of flows, and small windows tell of many
	// flows, so the target rises as 1/sqrt(window) does, from nothing at scaleMaxWindow packets by scaleRange times the target delay at
	// scaleMinWindow. It also draws windows together: of two flows at one queue, the smaller is allowed more delay. A window of one
	// packet is allowed 109 µs by default, 136 kB of queue at 10 Gbit/s.
	scaleMinWindow = 0.1
	scaleMaxWindow = 100.0
	scaleRange     = 4.0

	// lossShare of the last packets, lossMemory of them or a window if that is more, tells of an overloaded network even if the delay is
	// short, as it is where buffers hold less than the target delay. It lies far above what bad cables lose: at 1 % random loss, nine
	// lost of 64 are 10 standard deviations from the mean.
	lossShare  = 1.0 / 8
	lossMemory = 64

	// lossDelay: with a queueing delay this many times the allowed one, each loss is taken for an overflowing queue's. Near the allowed
	// delay, where windows spend most of their time, a loss is no more likely to be one than anywhere else.
	lossDelay = 2

	// delayCap: a sample counts as this many times the allowed delay at most, so that a hiccup does not stand for a whole round trip.
	delayCap = 4

	// markGain is how fast the share of marked packets is learned (g of RFC 8257, section 4.2).
	markGain = 1.0 / 16
)

// swift is the congestion control of the paper, with the queueing delay, a sample less the path's smallest, held against a target.
//
// It departs from the paper in four things. A decrease looks at the mean of a round trip's samples, not at the newest, and not when the
// smallest is below half of what is allowed: a queue that stands shows in all of them, a burst of one's own or a scheduler's hiccup at either
// end only in some. (The smallest alone would favour large windows: the more samples, the smaller it is.) It goes down to what the path carries
// without a queue, and below that for a round trip: the paper knows the path's own delay from its topology, but here a
// session that opens while others keep a queue takes that for part of the path, and would have the more of the link the later it came. An
// emptied queue shows the path's delay to all (the periodic slowdowns of LEDBAT++, draft-irtf-iccrg-ledbat-plus-plus, serve the same end). A
// new session doubles its window each round trip until the first sign of congestion. And a loss alone does not shrink the window, only a
// high share of losses (lossShare) or one beside a long delay (lossDelay).
type swift struct {
	cwnd          float64        // the window, packets
	allowed       time.Duration  // queueing delay allowed at the present window
	target        time.Duration  // the same for large windows
	latest        time.Duration  // queueing delay of the newest sample
	lowest        time.Duration  // the smallest of this round
	rtt           time.Duration  // newest sample
	roundAt       transport.Time // when this round began; it ends with the acknowledgement of a packet that was sent in it
	cutAt         transport.Time // when the window last shrank
	threshold     float32        // below it the window doubles each round
	undo          float32        // window before the last loss or timeout, if that shrank it; else 0
	undoThreshold float32
	lossRate      float32 // share of lost packets, newer ones weighing more
	alpha         float32 // share of marked packets (RFC 8257, section 3.3)
	delays        float32 // ns: the sum over this round's packets, each at most delayCap times the allowed one
	ackedPackets  uint16  // in this round
	markedPackets uint16
	most          uint16 // largest window
	high          uint8  // patience that is used up: see swiftPatience
	used          bool   // this round, most of the window was
}

func newSwift(maxWindow int, targetDelay time.Duration) *swift {
	if targetDelay <= 0 {
		targetDelay = defaultTargetDelay
	}
	s := &swift{target: targetDelay, most: uint16(min(max(maxWindow, 1), math.MaxUint16))}
	s.reset()
	return s
}

func (s *swift) reset() {
	*s = swift{target: s.target, most: s.most, threshold: math.MaxFloat32, alpha: 1, cwnd: min(swiftInitial, float64(s.most))}
	s.beginRound(0)
}

func (s *swift) window() (packets int, gap time.Duration) {
	if s.cwnd >= 1 {
		return int(s.cwnd), 0
	}
	return 1, min(time.Duration(float64(s.rtt)/s.cwnd), swiftMaxGap)
}

func (s *swift) acked(now transport.Time, n, flight int, rtt, least time.Duration, marked bool) {
	s.rtt, s.latest = rtt, rtt-least
	s.lowest = min(s.lowest, s.latest)
	s.delays += float32(n) * float32(min(s.latest, delayCap*s.allowed))
	s.lossRate *= max(1-s.lossGain()*float32(n), 0)
	s.ackedPackets = addCapped(s.ackedPackets, n)
	if marked {
		s.markedPackets = addCapped(s.markedPackets, n)
	}
	sentAt := now.Add(-rtt)
	used := float64(2*flight) >= s.cwnd // the window grows to twice what is used at most
	s.used = s.used || used
	if used && s.latest < s.allowed && !marked && sentAt >= s.cutAt {
		s.grow(float64(n))
	}
	if sentAt >= s.roundAt {
		s.endRound(now)
	}
}

func (s *swift) grow(n float64) {
	switch {
	case s.cwnd < float64(s.threshold):
		s.cwnd = min(s.cwnd+n, float64(s.threshold))
	case s.cwnd >= 1:
		s.cwnd += swiftIncrease * n / s.cwnd
	default:
		s.cwnd += swiftIncrease * n
	}
	s.cwnd = min(s.cwnd, float64(s.most))
}

// endRound judges the round trip that now ends by its delay and its marks.
func (s *swift) endRound(now transport.Time) {
	s.alpha += markGain * (float32(s.markedPackets)/float32(max(s.ackedPackets, 1)) - s.alpha)
	mean := time.Duration(s.delays / float32(max(s.ackedPackets, 1)))
	high := mean > s.allowed && s.lowest > s.allowed/2
	if !high && s.high > 0 {
		s.high--
	}
	switch {
	case high && s.used: // else the delay is not of this window's making
		s.undo = 0 // the congestion is real, whatever the loss was
		s.high = min(s.high+2, 2*swiftPatience)
		s.drain(now, s.lowest)
	case s.markedPackets > 0: // RFC 8257, section 3.3
		s.undo = 0
		s.cut(now, 1-float64(s.alpha)/2)
	default:
		s.beginRound(now)
	}
}

func (s *swift) beginRound(now transport.Time) {
	s.roundAt, s.lowest, s.delays, s.used = now, math.MaxInt64, 0, false
	s.ackedPackets, s.markedPackets = 0, 0
	s.allowed = s.target + time.Duration(float64(s.target)*flowScale(s.cwnd))
}

var (
	scaleOffset = 1 / math.Sqrt(scaleMaxWindow)
	scaleFactor = scaleRange / (1/math.Sqrt(scaleMinWindow) - scaleOffset)
)

// flowScale is what a small window adds to the target, as a multiple of it.
func flowScale(cwnd float64) float64 {
	return min(max(scaleFactor*(1/math.Sqrt(cwnd)-scaleOffset), 0), scaleRange)
}

// cut shrinks the window and begins a round: what is judged next was sent with the smaller window.
func (s *swift) cut(now transport.Time, keep float64) {
	s.cwnd = max(s.cwnd*keep, swiftMin)
	s.threshold = float32(s.cwnd)
	s.cutAt, s.lossRate = now, 0
	s.beginRound(now)
}

// drain cuts the window to what the path carries without the queue, and for one round trip below that.
func (s *swift) drain(now transport.Time, queue time.Duration) {
	least := s.rtt - s.latest
	floor := min(s.cwnd, swiftFloor)
	if s.high >= swiftPatience {
		floor = swiftMin
	}
	s.cut(now, max(float64(least)/float64(least+queue), 1-swiftMaxCut, floor/s.cwnd))
	s.cwnd = max(s.cwnd*swiftDip, floor)
}

func (s *swift) lost(now, sentAt transport.Time) {
	if sentAt < s.cutAt {
		return // the window has shrunk since
	}
	s.undo = 0
	s.lossRate += s.lossGain() * (1 - s.lossRate)
	queue := min(s.latest, s.lowest) // this round may have no sample yet
	if queue > lossDelay*s.allowed {
		s.remember()
		s.drain(now, queue)
	} else if s.lossRate > lossShare {
		s.remember()
		s.cut(now, 1-swiftMaxCut)
	}
}

func (s *swift) lossGain() float32 { return 1 / max(lossMemory, float32(s.cwnd)) }

// timedOut: one timeout may be a lost tail, of which lost has been told. Two have lasted for more than a round trip. After three nothing is known
// of the path any more (RFC 9002, section 7.6): the window falls to one packet and doubles up to where it was before the third.
func (s *swift) timedOut(now transport.Time, n int) {
	if n < 2 || s.cwnd <= 1 {
		return
	}
	if n == 2 || s.undo == 0 {
		s.remember()
	}
	if n == 2 {
		s.cut(now, 1-swiftMaxCut)
		return
	}
	was := s.cwnd
	s.cut(now, 1/was)
	s.threshold = float32(was)
}

func (s *swift) remember() { s.undo, s.undoThreshold = float32(s.cwnd), s.threshold }

func (s *swift) spurious(now transport.Time) {
	if s.undo > 0 {
		s.cwnd, s.threshold, s.undo = max(s.cwnd, float64(s.undo)), s.undoThreshold, 0
		s.beginRound(now)
	} else {
		s.lossRate = max(s.lossRate-s.lossGain(), 0)
	}
}

// addCapped adds to a counter that stays at its limit.
func addCapped(c uint16, n int) uint16 { return uint16(min(int(c)+n, math.MaxUint16)) }
