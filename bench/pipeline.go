package bench

import (
	"math/bits"
	"time"
)

// slack is how many times the outstanding short calls there are slots. A call that so many others have overtaken holds the next one up, which
// is due in its slot.
const slack = 8

// Slots is how many slots a [Pipeline] has: of short calls some to spare, of long messages as many as are outstanding.
func (e *Endpoint) Slots() int {
	if e.Workload == Bulk {
		return e.Outstanding
	}
	return 1 << bits.Len(uint(slack*e.Outstanding-1))
}

// window is the state of a Pipeline's calls, by slot.
type window struct {
	pipeline Pipeline
	payloads [][]byte
	due      []time.Duration // of an open loop: when the call came due
	begun    []time.Duration // when it was begun; notBegun: the slot is free
	ended    []int           // room for what Wait returns; as many as may be outstanding
	next     int             // slot to begin
	open     int             // calls outstanding
	first    uint64          // calls are numbered from here
	calls    uint64          // begun
}

const notBegun = -1

func newWindow(p Pipeline, e *Endpoint, id int) *window {
	n := e.Slots()
	w := &window{pipeline: p, payloads: make([][]byte, n), due: make([]time.Duration, n), begun: make([]time.Duration, n), ended: make([]int, e.Outstanding)}
	w.first = uint64(id) << 40
	for i := range n {
		w.payloads[i], w.begun[i] = pattern(e.Size), notBegun
	}
	return w
}

func (w *window) made() uint64 { return w.calls }

// room tells whether another call may begin.
func (w *window) room() bool { return w.open < len(w.ended) && w.begun[w.next] == notBegun }

// begin begins a call, for which there is room.
func (w *window) begin(due, now time.Duration) error {
	w.calls++
	number(w.payloads[w.next], w.first+w.calls)
	if err := w.pipeline.Begin(w.next, w.payloads[w.next]); err != nil {
		return err
	}
	w.due[w.next], w.begun[w.next] = due, now
	w.open++
	if w.next++; w.next == len(w.payloads) {
		w.next = 0
	}
	return nil
}

// end notes that the first n slots of w.ended are free again.
func (w *window) end(n int) {
	for _, slot := range w.ended[:n] {
		w.begun[slot] = notBegun
	}
	w.open -= n
}

// run keeps calls outstanding. The clock is read once for all calls that ended together. It allocates nothing.
func (w *window) run(c *client, begin time.Duration, b bound, r *record) (elapsed time.Duration, err error) {
	requests, duration := b.limits()
	last := w.calls + min(requests, 1<<62)
	elapsed = c.clock() - begin
	for elapsed < duration && !c.failed.Load() && (w.calls < last || w.open > 0) {
		for w.calls < last && w.room() {
			if err := w.begin(0, elapsed); err != nil {
				return 0, err
			}
		}
		n, err := w.pipeline.Wait(w.ended)
		if err != nil {
			return 0, err
		}
		elapsed = c.clock() - begin
		for _, slot := range w.ended[:n] {
			r.latency.Record(elapsed - w.begun[slot])
		}
		r.ops += int64(n)
		w.end(n)
	}
	for w.open > 0 { // begun, and too late to be counted
		n, err := w.pipeline.Wait(w.ended)
		if err != nil {
			return 0, err
		}
		w.end(n)
	}
	return elapsed, nil
}
