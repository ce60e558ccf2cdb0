package engine

import (
	"context"
	"sync/atomic"

	"github.com/fastrpc/fastrpc/ringbuf"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
)

// Completions collects calls that nobody waits for one by one. Any goroutine may begin calls, one at a time may collect.
type Completions struct {
	ring   *ringbuf.Queue[*waiter]
	limit  int64
	open   atomic.Int64 // begun and not collected
	next   atomic.Uint64
	engine atomic.Pointer[Engine] // of the last call, which a collector polls
	parked atomic.Bool
	signal chan struct{}
}

// NewCompletions makes a queue for at most limit calls that are begun and not collected.
func NewCompletions(limit int) *Completions {
	return &Completions{ring: ringbuf.NewQueue[*waiter](powerOfTwo(limit)), limit: int64(limit), signal: make(chan struct{}, 1)}
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

// Go begins a call that will come to q, and returns its number there. body must not be written until then.
func (c *Conn) Go(now transport.Time, q *Completions, method uint32, body []byte, deadline transport.Time) (id uint64, err *session.Error) {
	if q.open.Add(1) > q.limit {
		q.open.Add(-1)
		return 0, errQueueFull
	}
	e := c.e
	q.engine.Store(e)
	w := newWaiter(c, q)
	id = q.next.Add(1)
	w.id, w.method, w.body, w.deadline = id, method, body, deadline
	if e.token.acquire() {
		e.now = max(e.now, now)
		w.start(e.now)
		e.handleEvents()
		e.transmit()
		e.release()
		return id, nil
	}
	if err := w.submit(); err != nil {
		q.open.Add(-1)
		return 0, err
	}
	return id, nil
}

// put is called in the poll.
func (q *Completions) put(w *waiter) {
	q.ring.Push(w) // there is room: open is never above limit
	if q.parked.Load() {
		q.wake()
	}
}

func (q *Completions) wake() {
	select {
	case q.signal <- struct{}{}:
	default:
	}
}

// Wait fills out with calls that ended and returns how many: at least one, unless ctx is over. While there is none and nobody else polls,
// it polls.
func (q *Completions) Wait(ctx context.Context, out []Completion) (int, error) {
	for {
		if n := q.collect(out); n > 0 || len(out) == 0 {
			return n, nil
		}
		e := q.engine.Load()
		if e != nil && e.token.acquire() {
			e.now = max(e.now, transport.Now())
			e.patience = e.patient
			e.pollFor(ctx, func() bool { return !q.ring.Empty() })
			e.release()
			if !q.ring.Empty() {
				continue
			}
		}
		if err := q.park(ctx, e); err != nil {
			return 0, err
		}
	}
}

func (q *Completions) park(ctx context.Context, e *Engine) error {
	var dead chan struct{}
	if e != nil {
		dead = e.dead
	}
	q.parked.Store(true)
	defer q.parked.Store(false)
	if !q.ring.Empty() {
		return nil
	}
	select {
	case <-q.signal:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-dead:
		if !q.ring.Empty() {
			return nil
		}
		return errStopped
	}
}

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
