package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// Open loops: calls come due by the clock, whether the server is slow or not. What a call takes is counted from the moment that it was due, so
// that one that had to wait for others before it, because all Endpoint.Outstanding were under way, has that in its time, as its user would.
// Counted from when it was sent, which is what closed loops do, the wait is lost: that is the error called coordinated omission.
//
// A load beyond what the system carries does not pile up in memory: what is due is a number. When the round is over nothing is sent any more;
// calls that had not been sent by then are recorded with the time that they had waited, the others with theirs, but only those that ended in
// time are counted.

// openLoop makes the calls of one arrival process over all connections.
type openLoop struct {
	client   *client
	arrivals *arrivals
	windows  []*window // over Pollers: one goroutine has them all, and spins
	workers  []*opener // else
	turn     turn
	next     uint64 // call to be made, and how to sleep until it is due: of whoever has the turn
	sleep    func(until time.Duration) error
	open     atomic.Int64 // calls that workers have under way
}

func (l *openLoop) goroutines() int { return max(len(l.workers), 1) }

// connectOpen makes the connections of an open loop.
func connectOpen(ctx context.Context, c *client) (*openLoop, error) {
	e := c.endpoint
	l := &openLoop{client: c, arrivals: newArrivals(e.Arrivals, e.Seed), turn: newTurn()}
	n := max(e.Clients, 1)
	for i := range n {
		share := e
		share.Outstanding = bound{requests: e.Outstanding}.share(i, n).requests
		caller, err := c.dial(ctx, share)
		if err != nil {
			return nil, err
		}
		if p, ok := caller.(Poller); ok && e.Polled() {
			l.windows = append(l.windows, newWindow(p, &share, i))
			continue
		}
		for j := range share.Outstanding {
			l.workers = append(l.workers, &opener{newWorker(e.Size, i<<16|j, caller)})
		}
	}
	if len(l.workers) == 0 {
		return l, nil
	}
	a, err := newAlarm(c.clock)
	if err != nil {
		return nil, err
	}
	l.sleep = func(until time.Duration) error { return a.untilDue(until, &l.open) }
	return l, nil
}

func (l *openLoop) run(b bound, t *tally) error {
	requests, duration := b.limits()
	begin := l.client.clock()
	l.next = 0
	var err error
	if len(l.windows) > 0 {
		err = l.spin(begin, requests, duration, t.records[0])
	} else {
		err = l.client.together(len(l.workers), func(i int) error {
			return l.workers[i].run(l, begin, requests, duration, t.records[i])
		})
	}
	if t.elapsed, t.offered = duration, perSecond(l.arrivals.before(duration), duration); b.requests > 0 {
		t.elapsed, t.offered = l.client.clock()-begin, perSecond(int64(b.requests), l.arrivals.at(requests-1))
	}
	var calls uint64
	for _, w := range l.windows {
		calls += w.calls
	}
	for _, w := range l.workers {
		calls += w.calls
	}
	l.client.calls.Store(calls)
	return err
}

// spin begins what is due and looks for what has ended, by turns. The clock is read once a turn. It allocates nothing.
func (l *openLoop) spin(begin time.Duration, requests uint64, duration time.Duration, r *record) error {
	var i uint64
	due, now, asleep := l.arrivals.at(0), time.Duration(0), true
	for turn, open := 0, 0; ; {
		for i < requests && due <= now && now < duration {
			w := l.windows[i%uint64(len(l.windows))]
			if !w.room() {
				break
			}
			if err := w.begin(due, now); err != nil {
				return err
			}
			if asleep { // the generator had nothing to do but to wait for this call
				r.parts[0].Record(now - due)
			}
			open++
			i++
			due = l.arrivals.at(i)
			asleep = due > now
		}
		if open == 0 && (i == requests || now >= duration) {
			break
		}
		w := l.windows[turn]
		if turn++; turn == len(l.windows) {
			turn = 0
		}
		n := 0
		if w.open > 0 {
			var err error
			if n, err = w.pipeline.(Poller).Poll(w.ended); err != nil {
				return err
			}
		}
		now = l.client.clock() - begin
		for _, slot := range w.ended[:n] {
			r.latency.Record(now - w.due[slot])
			r.uncorrected.Record(now - w.begun[slot])
			if now <= duration {
				r.ops++
			}
		}
		w.end(n)
		open -= n
	}
	for ; i < requests && due < duration; due = l.arrivals.at(i) { // too many for the system
		r.latency.Record(duration - due)
		i++
	}
	return nil
}

// An opener is one of as many goroutines as calls may be outstanding. One of them at a time sleeps until the next call is due, passes its turn on, and
// makes that call: so no call waits while one of them is free. Were each of them to sleep for a call of its own, a timer a call would expire and be set
// anew, mostly twice; that took the client more time than the calls themselves, which were the later for it (net-tcp, of whose calls the client can make
// 120,000 a second, took 0.8 ms at 50,000).
type opener struct{ *worker }

// run reads the clock once a call, and once more after it has waited. It allocates nothing.
func (w *opener) run(l *openLoop, begin time.Duration, requests uint64, duration time.Duration, r *record) error {
	c := l.client
	for now := c.clock() - begin; !c.failed.Load(); {
		free := now
		if l.turn.take() {
			now = c.clock() - begin
		}
		i, due := l.next, l.arrivals.at(l.next)
		if i >= requests || due >= duration {
			l.turn.pass()
			return nil
		}
		if now < due {
			if err := l.sleep(begin + due); err != nil {
				l.turn.pass()
				return err
			}
			now = c.clock() - begin
		}
		l.next++
		if now < duration {
			l.open.Add(1) // before the next one looks whether it may spin
		}
		l.turn.pass()
		if now >= duration { // too many for the system
			r.latency.Record(duration - due)
			continue
		}
		if free < due { // nothing but the generator kept it from being in time
			r.parts[0].Record(now - due)
		}
		if err := w.call(); err != nil {
			return fmt.Errorf("call %d: %w", i, err)
		}
		l.open.Add(-1)
		sent := now
		now = c.clock() - begin
		r.latency.Record(now - due)
		r.uncorrected.Record(now - sent)
		if now <= duration {
			r.ops++
		}
	}
	return nil
}

// A turn is one goroutine's at a time. The others wait in line, and whoever passes it on goes on first: a sync.Mutex would let the next one run in its
// place once that had waited for a millisecond (sync.Mutex, starvation mode).
type turn struct {
	wanted atomic.Int32 // by how many, and whose it is
	passed chan struct{}
}

func newTurn() turn { return turn{passed: make(chan struct{}, 1)} }

// take tells whether it had to wait.
func (t *turn) take() (waited bool) {
	if t.wanted.Add(1) == 1 {
		return false
	}
	<-t.passed
	return true
}

func (t *turn) pass() {
	if t.wanted.Add(-1) > 0 {
		t.passed <- struct{}{}
	}
}
