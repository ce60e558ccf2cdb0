package engine

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/fastrpc/fastrpc/ringbuf"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
)

// Completions collects calls that nobody waits for one by one. Any goroutine may begin calls, one at a time may collect.
//
// The collector polls, as a lone caller does. While it is elsewhere, calls that end wait in the link: it will be back, and the keeper, which
// looks every tick, is not woken. Calls over several engines are left to their keepers, for nobody can poll two links at once.
type Completions struct {
	ring  *ringbuf.Queue[*waiter]
	limit int64
	open  atomic.Int64 // begun and not collected
	next  atomic.Uint64

	engines atomic.Pointer[[]*Engine] // of the open calls; a slice is never changed
	joining sync.Mutex                // guards the replacement of engines

	parked atomic.Bool
	signal chan struct{}
}

// NewCompletions makes a queue for at most limit calls that are begun and not collected.
func NewCompletions(limit int) *Completions {
	q := &Completions{ring: ringbuf.NewQueue[*waiter](powerOfTwo(limit)), limit: int64(limit), signal: make(chan struct{}, 1)}
	q.engines.Store(new([]*Engine))
	return q
}

// Completion is a collected call. Where Err is nil, Call has ended and is the collector's until it is released at Engine.
type Completion struct {
	ID     uint64
	Engine *Engine
	Call   *session.Call
	Err    *session.Error
}

var errQueueFull = &session.Error{Code: session.ResourceExhausted, Outcome: session.NotExecuted,
	Reason: "the queue is full: collect some of its calls first, or make it larger"}

// Go begins a call that will come to q, and returns its number there. body must not be written until then. The call leaves at once when it
// is the engine's only one; else it may wait for others to share a packet and a system call with: see Engine.begin.
func (c *Conn) Go(now transport.Time, q *Completions, method uint32, body []byte, deadline transport.Time) (id uint64, err *session.Error) {
	if q.open.Add(1) > q.limit {
		q.open.Add(-1)
		return 0, errQueueFull
	}
	e := c.e
	if es := *q.engines.Load(); len(es) != 1 || es[0] != e {
		q.join(e)
	}
	w := newWaiter(c, q)
	id = q.next.Add(1)
	w.id, w.method, w.body, w.deadline = id, method, body, deadline
	if e.token.acquire() {
		e.now = max(e.now, now)
		e.begin(w)
		e.release()
		return id, nil
	}
	if err := w.submit(); err != nil {
		q.open.Add(-1)
		q.wake() // it may have been the one that the collector waited for
		return 0, err
	}
	return id, nil
}

// batchCalls is how many calls that Go began wait for each other at most: some packets of small ones, so that the server has work while the
// client begins the rest.
const batchCalls = 64

// begin starts the call of a queue, in the poll. It leaves at once when nothing else is outstanding, or when batchCalls wait; otherwise with
// the next transmission, which Wait, Flush, a poller, or at the latest the keeper's tick brings about.
func (e *Engine) begin(w *waiter) {
	alone := e.core.Outstanding() == 0
	w.start(e.now)
	e.handleEvents() // it may have ended already: its deadline had passed
	e.batched++
	switch {
	case alone || e.batched >= batchCalls:
		e.transmit()
	case e.batched == 1:
		e.batches.Add(1)
	}
}

// flush sends what begin left.
func (e *Engine) flush() {
	if !e.batch() {
		return
	}
	if e.token.acquire() {
		e.now = max(e.now, transport.Now())
		e.transmit()
		e.release()
		return
	}
	e.push(operation{kind: opNothing}) // without room others have made sure that the holder looks
	e.lead()
}

// batch tells whether calls wait for company.
func (e *Engine) batch() bool { return e.batches.Load()%2 == 1 }

// Flush sends the calls that wait for others to leave with.
func (q *Completions) Flush() {
	for _, e := range *q.engines.Load() {
		e.flush()
	}
}

// join adds an engine to those of the open calls. Where there were none but the one that is being begun, it is the only one.
func (q *Completions) join(e *Engine) {
	q.joining.Lock()
	defer q.joining.Unlock()
	es := *q.engines.Load()
	switch {
	case q.open.Load() == 1:
		es = []*Engine{e}
	case !slices.Contains(es, e):
		es = append(slices.Clone(es), e)
	default:
		return
	}
	q.engines.Store(&es)
	q.wake() // the collector does not know of it
}

// part forgets an engine that has stopped.
func (q *Completions) part(e *Engine) {
	q.joining.Lock()
	defer q.joining.Unlock()
	es := slices.DeleteFunc(slices.Clone(*q.engines.Load()), func(x *Engine) bool { return x == e })
	q.engines.Store(&es)
}

// put is called in the poll.
func (q *Completions) put(w *waiter) {
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

// Wait fills out with calls that ended and returns how many: at least one, unless ctx is over. Calls that wait for company leave first.
// While none has ended and nobody else has to poll, it polls.
func (q *Completions) Wait(ctx context.Context, out []Completion) (int, error) {
	for {
		engines, end := q.engines.Load(), pollDone
		if len(*engines) != 1 {
			q.Flush()
		} else if e := (*engines)[0]; q.ring.Empty() || e.batch() {
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
	end := e.pollFor(ctx, func() bool { return !q.ring.Empty() })
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
	if q.ring.Empty() && q.engines.Load() == engines && (counted || polled(*engines)) {
		err = q.await(ctx, *engines)
	}
	parked(*engines, -1)
	q.parked.Store(false)
	return err
}

// polled tells, once a collector is counted as parked, that it may rely on others: whoever holds the token sees to it that the keeper polls
// afterwards. It is false where the only engine's token is free; several engines are made sure of.
func polled(engines []*Engine) bool {
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

func (q *Completions) collect(out []Completion) (n int) {
	for n < len(out) {
		w, ok := q.ring.Pop()
		if !ok {
			break
		}
		out[n] = Completion{ID: w.id, Engine: w.conn.e, Call: w.call, Err: w.err}
		w.free()
		n++
	}
	q.open.Add(int64(-n))
	return n
}

// Open counts the calls that are begun and not collected.
func (q *Completions) Open() int { return int(q.open.Load()) }
