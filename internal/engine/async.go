package engine

import (
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

	polling atomic.Pointer[Engine] // whose token the collector holds
	polled  []*waiter              // what ended meanwhile, the collector's alone, so that it takes no atomic operations; those
	head    int                    // before head are collected
	tidied  transport.Time         // when Poll last saw to what need not come first

	parked atomic.Bool
	signal chan struct{}
}

// NewCompletions makes a queue for at most limit calls that are begun and not collected.
func NewCompletions(limit int) *Completions {
	q := &Completions{ring: ringbuf.NewQueue[*waiter](powerOfTwo(limit)), limit: int64(limit), polled: make([]*waiter, 0, limit), signal: make(chan struct{}, 1)}
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
// is the engine's only one; else it may wait for others to share a packet and a system call with: see Engine.begin. now is a reading of the
// clock just before, or 0 where deadline is: there was none.
func (c *Conn) Go(now transport.Time, q *Completions, method uint32, body []byte, metadata bool, deadline transport.Time) (id uint64, err *session.Error) {
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
	w.id, w.method, w.body, w.metadata, w.deadline = id, method, body, metadata, deadline
	if e.token.acquire() {
		e.begin(w, now)
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

// batchCalls is how many calls that Go began wait for each other at most: four packets of 64-byte ones over Ethernet, so that the server has
// work while the client begins the rest.
const batchCalls = 68

// begin starts the call of a queue, in the poll. It leaves at once when nothing else is outstanding, or when batchCalls wait; otherwise with
// the next transmission, which Wait, Flush, a poller, or at the latest the keeper's tick brings about.
func (e *Engine) begin(w *waiter, now transport.Time) {
	if now == 0 && e.batched == 0 {
		now = transport.Now() // the others of the batch do with it
	}
	e.now = max(e.now, now)
	alone := e.core.Outstanding() == 0
	w.start(e.now)
	e.handleEvents() // it may have ended already: its deadline had passed
	e.batched++
	switch {
	case alone:
		e.transmit()
	case e.batched >= batchCalls:
		e.now = max(e.now, transport.Now()) // packets say when they left
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

// Open counts the calls that are begun and not collected.
func (q *Completions) Open() int { return int(q.open.Load()) }
