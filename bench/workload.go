package bench

import (
	"encoding/binary"
	"math/bits"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
)

// The workloads. A System has the first; it has the others if it is a [Loader].
const (
	Latency = "latency" // closed loop, one call outstanding: what a call takes
	Rate    = "rate"    // many asynchronous calls outstanding from one goroutine: how many a second
	Bulk    = "bulk"    // long messages one way, each answered by a few bytes: bits a second
	Flood   = "flood"   // packets one way, as fast as they go; no calls: packets a second that arrive
)

// Workloads lists the workloads.
func Workloads() []string { return []string{Latency, Rate, Bulk, Flood} }

// A Loader is a System that says which workloads it has; another one has latency alone. It heeds Endpoint.Workload, and Connect returns a
// [Pipeline] or a [Measurer] for the others.
type Loader interface {
	System

	// Has tells whether it has a workload.
	Has(workload string) bool
}

// has tells whether a system has a workload.
func has(s System, workload string) bool {
	l, ok := s.(Loader)
	return ok && l.Has(workload) || !ok && workload == Latency
}

// A Pipeline is a Caller with many calls outstanding, used from one goroutine.
//
// With workload rate the server sends every payload back, and Wait compares it, byte by byte. With workload bulk it answers with the
// message's [AppendReceipt], and Wait compares that.
type Pipeline interface {
	Caller

	// Begin begins call slot, which is not outstanding; it leaves with the next Wait at the latest. Slots are begun in turn: 0, 1, ...,
	// Endpoint.Slots()-1, 0, 1, ... payload is not written until the call has ended.
	Begin(slot int, payload []byte) error

	// Wait waits until calls have ended, at least one, writes their slots to ended, in any order, and returns how many. ended has room for
	// all that are outstanding.
	Wait(ended []int) (n int, err error)
}

// A Measurer is a Caller with a measurement of its own in the place of calls: a flood, or a loop in a program of another language.
type Measurer interface {
	Caller

	// Measure makes requests calls, or measures for d; the other is 0. It records latencies, if it has any, in rec, and leaves
	// them out of the Round.
	Measure(requests int, d time.Duration, rec *Recorder) (result.Round, error)
}

// slack is how many times the outstanding calls of workload rate there are slots. A call that so many others have overtaken holds the next
// one up, which is due in its slot.
const slack = 8

// Slots is how many slots a [Pipeline] has: of short calls some to spare, of long messages as many as are outstanding.
func (e *Endpoint) Slots() int {
	if e.Workload == Bulk {
		return e.Outstanding
	}
	return 1 << bits.Len(uint(slack*e.Outstanding-1))
}

// ReceiptBytes is the length of a receipt.
const ReceiptBytes = 24

// AppendReceipt appends to b what a server of workload bulk answers to a message of at least 8 bytes: its length, its first 8 bytes and its
// last 8. Every message bears its number at both ends.
func AppendReceipt(b, message []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(len(message)))
	b = append(b, message[:8]...)
	return append(b, message[len(message)-8:]...)
}

// verifyReceipt compares what the server saw of a message with the message.
func verifyReceipt(receipt, message []byte) error {
	var want [ReceiptBytes]byte
	return verify(receipt, AppendReceipt(want[:0], message))
}

// slowestBytes is the least that workload bulk may bring, bytes a second; a message that takes longer counts as lost.
const slowestBytes = 20 << 20

// callLimit is when a call counts as lost.
func (e *Endpoint) callLimit() time.Duration {
	if e.Workload != Bulk {
		return callLimit
	}
	return callLimit + time.Duration(e.Outstanding*e.Size/slowestBytes+1)*time.Second
}

// window is the state of a Pipeline's calls, by slot.
type window struct {
	payloads [][]byte
	begun    []time.Duration // since the loop began; notBegun: not outstanding
	ended    []int           // room for what Wait returns; as many as may be outstanding
	next     int             // slot to begin
	open     int             // calls outstanding
}

const notBegun = -1

func newWindow(e *Endpoint) *window {
	n := e.Slots()
	w := &window{payloads: make([][]byte, n), begun: make([]time.Duration, n), ended: make([]int, e.Outstanding)}
	for i := range n {
		w.payloads[i], w.begun[i] = pattern(e.Size), notBegun
	}
	return w
}

// begin begins calls until as many as may be are outstanding.
func (w *window) begin(c *child, p Pipeline, now time.Duration) error {
	for w.open < len(w.ended) && w.begun[w.next] == notBegun {
		payload := w.payloads[w.next]
		c.calls++
		number(payload, c.calls)
		if c.endpoint.Workload == Bulk {
			number(payload[len(payload)-8:], c.calls)
		}
		if err := p.Begin(w.next, payload); err != nil {
			return err
		}
		w.begun[w.next] = now
		w.open++
		if w.next++; w.next == len(w.payloads) {
			w.next = 0
		}
	}
	return nil
}

// collect waits for calls to end; rec may be nil. The clock is read once for all of them.
func (w *window) collect(p Pipeline, begin time.Time, rec *Recorder) (now time.Duration, err error) {
	n, err := p.Wait(w.ended)
	now = time.Since(begin)
	for _, slot := range w.ended[:n] {
		if rec != nil {
			rec.Record(now - w.begun[slot])
		}
		w.begun[slot] = notBegun
	}
	w.open -= n
	return now, err
}

// load keeps calls outstanding for d and records those that end in that time. It waits for the rest, too. It allocates nothing.
func (c *child) load(p Pipeline, d time.Duration, rec *Recorder) (elapsed time.Duration, err error) {
	w := c.window
	for begin := time.Now(); elapsed < d; {
		if err := w.begin(c, p, elapsed); err != nil {
			return 0, err
		}
		if elapsed, err = w.collect(p, begin, rec); err != nil {
			return 0, err
		}
	}
	for w.open > 0 {
		if _, err := w.collect(p, time.Time{}, nil); err != nil {
			return 0, err
		}
	}
	return elapsed, nil
}
