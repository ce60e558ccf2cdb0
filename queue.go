package fastrpc

import (
	"context"

	"github.com/fastrpc/fastrpc/internal/engine"
)

// Queue collects asynchronous calls: many in flight from one goroutine. Any goroutine may begin calls into it (see Method.Go), one at a
// time may collect.
type Queue struct {
	c   *engine.Completions
	raw []engine.Completion
}

// Result is one collected call: a Reply to be released, or an error.
type Result struct {
	ID    uint64 // as Method.Go returned it
	Reply Reply
	Err   error
}

// NewQueue makes a queue for at most limit calls that are begun and not collected.
func NewQueue(limit int) *Queue {
	limit = max(limit, 1)
	return &Queue{c: engine.NewCompletions(limit), raw: make([]engine.Completion, limit)}
}

// Go begins a call and returns at once with its number in q, where its end is to be collected. payload must not be written until then. Of
// ctx only the deadline counts, once Go has returned. The error is about calls that were not begun.
func (m *Method) Go(ctx context.Context, payload []byte, q *Queue, opts ...CallOption) (id uint64, err error) {
	now, deadline, err := m.deadline(ctx, opts)
	if err != nil {
		return 0, err
	}
	b, err := m.bind(ctx, deadline)
	if err != nil {
		return 0, wrap(m.op, Unavailable, NotExecuted, err)
	}
	id, cerr := b.conn.Go(now, q.c, b.number, payload, deadline)
	if cerr != nil {
		return 0, wrap(m.op, Unavailable, NotExecuted, cerr)
	}
	return id, nil
}

// Wait fills results with calls that ended and returns how many: at least one, unless ctx is over first. It polls while it waits, so that
// a call needs no hand-over between goroutines.
func (q *Queue) Wait(ctx context.Context, results []Result) (int, error) {
	n, err := q.c.Wait(ctx, q.raw[:min(len(results), len(q.raw))])
	if err != nil {
		return 0, wrap("wait", Unavailable, OutcomeUnknown, err)
	}
	for i, c := range q.raw[:n] {
		results[i] = Result{ID: c.ID}
		if c.Err != nil {
			results[i].Err = wrap("call", Unavailable, NotExecuted, c.Err)
		} else {
			results[i].Reply, results[i].Err = endOf("call", c.Engine, c.Call)
		}
		q.raw[i] = engine.Completion{}
	}
	return n, nil
}

// Open counts the calls that are begun and not collected.
func (q *Queue) Open() int { return q.c.Open() }
