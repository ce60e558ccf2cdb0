package engine

import (
	"context"
	"runtime"

	"github.com/fastrpc/fastrpc/transport"
)

// Wait fills out with calls that ended and returns how many: at least one, unless ctx is over. Calls that wait for company leave first.
// While none has ended and nobody else has to poll, it polls.
func (q *Completions) Wait(ctx context.Context, out []Completion) (int, error) {
	for {
		engines, end := q.engines.Load(), pollDone
		if len(*engines) != 1 {
			q.Flush()
		} else if e := (*engines)[0]; !q.ended() || e.batch() {
			if e.claim() {
				end = q.poll(ctx, e)
			} else {
				e.flush()
			}
		}
		counted := end == pollQuiet
		if n := q.collect(out); n > 0 || len(out) == 0 {
			if counted {
				parked(*engines, -1)
			}
			return n, nil
		}
		if end == pollCanceled {
			return 0, ctx.Err()
		}
		if err := q.park(ctx, engines, counted); err != nil {
			return 0, err
		}
	}
}

// put is called in the poll.
func (q *Completions) put(w *waiter) {
	if q.polling.Load() == w.conn.e { // the caller is the collector
		q.polled = append(q.polled, w)
		return
	}
	q.ring.Push(w) // there is room: open is never above limit
	step("put")
	q.wake()
}

// wake wakes the collector if it has parked.
func (q *Completions) wake() {
	if !q.parked.Load() {
		return
	}
	select {
	case q.signal <- struct{}{}:
	default:
	}
}

// claim takes the token for a collector. A keeper that nobody else needs gives it up.
func (e *Engine) claim() bool {
	if e.token.acquire() {
		return true
	}
	if e.listening.Load() > 0 {
		return false
	}
	e.wanted.Add(1)
	defer e.wanted.Add(-1)
	for range spins {
		step("yield to the keeper")
		runtime.Gosched()
		if e.token.acquire() {
			return true
		}
	}
	return false
}

// poll polls as the token's holder, and frees the token. After pollQuiet the collector counts as parked already, so that the keeper goes on.
func (q *Completions) poll(ctx context.Context, e *Engine) pollEnd {
	e.now = max(e.now, transport.Now())
	if e.batched > 0 {
		e.transmit()
	}
	e.patience = e.patient
	q.polled, q.head = q.polled[:copy(q.polled, q.polled[q.head:])], 0
	q.polling.Store(e)
	end := e.pollFor(ctx, q.ended)
	q.polling.Store(nil)
	if end == pollQuiet {
		e.collectors.Add(1)
	}
	e.release()
	return end
}

// parked counts a collector in or out at its engines.
func parked(engines []*Engine, n int32) {
	for _, e := range engines {
		e.collectors.Add(n)
	}
}

// park waits for a signal. It first publishes that it does, and then looks at all that would have brought one. counted tells that the
// engine knew when the token was freed.
func (q *Completions) park(ctx context.Context, engines *[]*Engine, counted bool) (err error) {
	step("publish parked")
	q.parked.Store(true)
	if !counted {
		parked(*engines, 1)
	}
	step("look at ring and token")
	if q.ring.Empty() && q.engines.Load() == engines && (counted || othersPoll(*engines)) {
		err = q.await(ctx, *engines)
	}
	parked(*engines, -1)
	q.parked.Store(false)
	return err
}

// othersPoll tells, once a collector is counted as parked, that it may rely on others: whoever holds the token sees to it that the keeper polls
// afterwards. It is false where the only engine's token is free; several engines are made sure of.
func othersPoll(engines []*Engine) bool {
	if len(engines) == 1 {
		return engines[0].token.held()
	}
	for _, e := range engines {
		e.lead()
	}
	return true
}

// await returns nil when it is time to look again.
func (q *Completions) await(ctx context.Context, engines []*Engine) error {
	if atAwait != nil {
		return atAwait(q)
	}
	var dead chan struct{}
	if len(engines) > 0 {
		dead = engines[0].dead
	}
	for {
		select {
		case <-q.signal:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-dead:
		}
		switch {
		case !q.ring.Empty():
			return nil
		case len(engines) > 1:
			q.part(engines[0])
			return nil
		case q.open.Load() == 0:
			return errStopped
		}
		dead = nil // what is open has been submitted too late, and will come by discardSubmitted
	}
}

var atAwait func(q *Completions) error

// ended tells the collector whether there is something to collect.
func (q *Completions) ended() bool { return q.head < len(q.polled) || !q.ring.Empty() }

// collect takes what has ended, what others polled for first: it has waited longer.
func (q *Completions) collect(out []Completion) (n int) {
	for n < len(out) {
		w, ok := q.ring.Pop()
		if !ok {
			break
		}
		out[n] = w.completion()
		n++
	}
	for n < len(out) && q.head < len(q.polled) {
		out[n] = q.polled[q.head].completion()
		q.head++
		n++
	}
	q.open.Add(int64(-n))
	return n
}

// completion is what the collector gets of w, which is free then.
func (w *waiter) completion() Completion {
	c := Completion{ID: w.id, Engine: w.conn.e, Call: w.call, Err: w.err}
	w.free()
	return c
}
