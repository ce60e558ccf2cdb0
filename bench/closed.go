package bench

import (
	"context"
	"math"
	"time"
)

// Closed loops: a call begins because another has ended. A client that waits for answers sends less while the server is slow; what that hides,
// the open loop shows.

// A hand makes calls from one goroutine.
type hand interface {
	// run makes calls until the bound is reached, counted from begin, waits for those outstanding, and says when, from begin on, the last of
	// those ended that it noted.
	run(c *client, begin time.Duration, b bound, r *record) (elapsed time.Duration, err error)

	// made is how many calls it has begun.
	made() uint64
}

// closedLoop runs hands beside each other.
type closedLoop struct {
	client *client
	hands  []hand
	bits   bool // its calls are messages, whose bits count
}

func (l *closedLoop) goroutines() int { return len(l.hands) }

// run begins for all hands at once, also for one that the scheduler lets wait for the others: else what it makes after they have ended would count
// as made beside them.
func (l *closedLoop) run(b bound, t *tally) error {
	took, begin := make([]time.Duration, len(l.hands)), l.client.clock()
	err := l.client.together(len(l.hands), func(i int) (err error) {
		took[i], err = l.hands[i].run(l.client, begin, b.share(i, len(l.hands)), t.records[i])
		return err
	})
	var calls uint64
	for i, h := range l.hands {
		t.elapsed = max(t.elapsed, took[i])
		calls += h.made()
		if l.bits {
			t.bytes += t.records[i].ops * int64(l.client.endpoint.Size)
		}
	}
	l.client.calls.Store(calls)
	return err
}

// share is the part of the bound of one of n.
func (b bound) share(i, n int) bound {
	if b.requests == 0 {
		return b
	}
	share := b.requests / n
	if i < b.requests%n {
		share++
	}
	return bound{requests: max(share, 1)}
}

// limits are the bound as two, of which one is out of reach.
func (b bound) limits() (requests uint64, duration time.Duration) {
	requests, duration = uint64(b.requests), b.duration
	if requests == 0 {
		requests = math.MaxUint64
	}
	if duration == 0 {
		duration = math.MaxInt64
	}
	return requests, duration
}

// connectShared makes Endpoint.Clients connections that share the calls outstanding.
func connectShared(ctx context.Context, c *client) (load, error) {
	l := &closedLoop{client: c, bits: c.endpoint.Receipted(c.endpoint.Size)}
	n := max(c.endpoint.Clients, 1)
	for i := range n {
		e := c.endpoint
		e.Outstanding = bound{requests: e.Outstanding}.share(i, n).requests
		caller, err := c.dial(ctx, e)
		if err != nil {
			return nil, err
		}
		if m, ok := caller.(Measurer); ok {
			return &measuredLoop{m}, nil
		}
		l.hands = append(l.hands, c.handsOf(caller, &e)...)
	}
	return l, nil
}

// handsOf are the goroutines that make the calls of one connection: one for a Pipeline, else one for each call outstanding.
func (c *client) handsOf(caller Caller, e *Endpoint) (hands []hand) {
	if p, ok := caller.(Pipeline); ok && e.Piped() {
		return []hand{newWindow(p, e, len(c.callers))}
	}
	for i := range e.Outstanding {
		hands = append(hands, newWorker(e.Size, len(c.callers)<<16|i, caller))
	}
	return hands
}

// A worker makes one call after the other, over its connections in turn.
type worker struct {
	callers []Caller
	payload []byte
	first   uint64 // calls are numbered from here
	calls   uint64 // begun
}

// newWorker makes the id-th worker of the process. The numbers of its calls are nobody else's.
func newWorker(size, id int, callers ...Caller) *worker {
	return &worker{callers: callers, payload: pattern(size), first: uint64(id) << 40}
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func (w *worker) made() uint64 { return w.calls }

// call makes the next call.
func (w *worker) call() error {
	caller := w.callers[0]
	if n := uint64(len(w.callers)); n > 1 {
		caller = w.callers[w.calls%n]
	}
	w.calls++
	number(w.payload, w.first+w.calls)
	return caller.Call(w.payload)
}

// run reads the clock once a call: where one ends the next begins, so that the nanoseconds in which the last one is recorded are part of it. It
// allocates nothing.
func (w *worker) run(c *client, begin time.Duration, b bound, r *record) (elapsed time.Duration, err error) {
	requests, duration := b.limits()
	elapsed = c.clock() - begin
	for range requests {
		if err := w.call(); err != nil {
			return 0, err
		}
		now := c.clock() - begin
		r.latency.Record(now - elapsed)
		r.ops++
		if elapsed = now; elapsed >= duration || c.failed.Load() {
			break
		}
	}
	return elapsed, nil
}

// measuredLoop leaves the measurement to the system.
type measuredLoop struct{ Measurer }

func (l *measuredLoop) goroutines() int { return 1 }

func (l *measuredLoop) run(b bound, t *tally) error {
	r, err := l.Measure(b.requests, b.duration, t.records[0].latency)
	t.measured = &r
	return err
}
