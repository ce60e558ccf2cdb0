package fastrpc

import (
	"context"

	"github.com/fastrpc/fastrpc/internal/engine"
	"github.com/fastrpc/fastrpc/transport"
)

// Queue collects asynchronous calls: many in flight from one goroutine. Any goroutine may begin calls into it (see Method.Go), one at a
// time may collect.
//
// Calls that are begun one after the other travel together, for a packet and a system call cost more than a small call does. A call that is
// the only one outstanding on its network queue leaves at once. Others leave with the next Wait or Flush, when some dozens have gathered,
// when anybody else's packets leave on the same network queue, and after a few milliseconds if nothing of that happens. So begin what is
// to be begun, then Wait; and Flush before doing something else for a while.
//
// Calls of several clients may go into one queue. Wait then leaves the polling to goroutines of the clients', which takes a hand-over that a
// queue of one client's calls does not need.
type Queue struct {
	c   *engine.Completions
	raw []engine.Completion
}

// Result is one collected call: a Reply to be released, or an error.
type Result struct {
	ID    uint64 // as Method.Go returned it: 1 for a queue's first call, 2 for its second, ...
	Reply Reply
	Err   error
}

// NewQueue makes a queue for at most limit calls that are begun and not collected.
func NewQueue(limit int) *Queue {
	limit = max(limit, 1)
	return &Queue{c: engine.NewCompletions(limit), raw: make([]engine.Completion, limit)}
}

// Go begins a call and returns at once with its number in q, where its end is to be collected. The call may wait for company; see Queue.
// payload must not be written until the call was collected. Of ctx only the deadline counts, once Go has returned. The error is about calls
// that were not begun. In a new session the first call waits for the method's number, or until ctx is over.
func (m *Method) Go(ctx context.Context, payload []byte, q *Queue, opts ...CallOption) (id uint64, err error) {
	var now, deadline transport.Time // reading the clock takes a good part of the time of a small call, so those without a deadline share a reading
	if _, ok := ctx.Deadline(); ok || len(opts) > 0 || ctx.Err() != nil {
		if now, deadline, err = m.deadline(ctx, opts); err != nil {
			return 0, err
		}
	}
	b, err := m.bind(ctx, deadline)
	if err != nil {
		return 0, wrap(m.op, Unavailable, NotExecuted, err)
	}
	payload, metadata, err := m.withHeader(payload, opts)
	if err != nil {
		return 0, err
	}
	id, cerr := b.conn.Go(now, q.c, b.number, payload, metadata, deadline)
	if cerr != nil {
		return 0, wrap(m.op, Unavailable, NotExecuted, cerr)
	}
	return id, nil
}

// Flush sends the calls that wait for company. It does not block, may be called from any goroutine, and costs next to nothing when none
// waits.
func (q *Queue) Flush() { q.c.Flush() }

// Wait fills results with calls that ended and returns how many: at least one, unless ctx is over first. Calls that wait for company leave
// first. It polls while it waits, so that a call needs no hand-over between goroutines.
func (q *Queue) Wait(ctx context.Context, results []Result) (int, error) {
	n, err := q.c.Wait(ctx, q.raw[:min(len(results), len(q.raw))])
	if err != nil {
		return 0, wrap("wait", Unavailable, OutcomeUnknown, err)
	}
	q.take(results, n)
	return n, nil
}

// Poll is Wait for those who have something else to do meanwhile: it looks once, does not block, and returns 0 where no call has ended.
func (q *Queue) Poll(results []Result) int {
	n := q.c.Poll(q.raw[:min(len(results), len(q.raw))])
	q.take(results, n)
	return n
}

// take turns the first n completions into results.
func (q *Queue) take(results []Result, n int) {
	for i, c := range q.raw[:n] {
		results[i] = Result{ID: c.ID}
		if c.Err != nil {
			results[i].Err = wrap("call", Unavailable, NotExecuted, c.Err)
		} else {
			results[i].Reply, results[i].Err = endOf("call", c.Engine, c.Call)
		}
		q.raw[i] = engine.Completion{}
	}
}

// Open counts the calls that are begun and not collected.
func (q *Queue) Open() int { return q.c.Open() }
