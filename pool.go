package fastrpc

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/fastrpc/fastrpc/internal/engine"
	"github.com/fastrpc/fastrpc/transport"
)

// pool runs handlers on goroutines that it starts when they are needed, up to a limit, and keeps.
type pool struct {
	jobs     chan *job // with room for all that are admitted
	workers  int32
	admitted atomic.Int32 // requests that are not yet answered, at most as many as jobs has room for
	started  atomic.Int32
	idle     atomic.Int32
	progress inProgress
}

// job is a request on its way through the pool.
type job struct {
	engine *engine.Engine
	r      Request
	w      Response
	stream *ServerStream // instead
}

var jobs = sync.Pool{New: func() any { return new(job) }}

func newJob(e *engine.Engine, r Request) *job {
	j := jobs.Get().(*job)
	j.engine, j.r = e, r
	j.w.reset(r.call.Buffer())
	return j
}

func (j *job) free() {
	*j = job{}
	jobs.Put(j)
}

func newPool(workers, waiting int) *pool {
	return &pool{jobs: make(chan *job, workers+waiting), workers: int32(workers), progress: inProgress{zero: make(chan struct{}, 1)}}
}

// submit hands a request to a worker; false when as many as are allowed run and wait. It does not block. A worker whose answer is on its way
// counts as free: whoever has got the answer may ask again.
func (p *pool) submit(j *job) bool {
	if int(p.admitted.Add(1)) > cap(p.jobs) {
		p.admitted.Add(-1)
		return false
	}
	p.progress.n.Add(1)
	for n := p.idle.Load(); n > 0; n = p.idle.Load() {
		if p.idle.CompareAndSwap(n, n-1) { // that worker is taken, so nobody else counts on it
			p.jobs <- j
			return true
		}
	}
	for n := p.started.Load(); n < p.workers; n = p.started.Load() {
		if p.started.CompareAndSwap(n, n+1) {
			go p.work(j)
			return true
		}
	}
	p.jobs <- j
	return true
}

// work is a worker's life.
func (p *pool) work(j *job) {
	for ok := true; ok; {
		j.do(&p.admitted)
		p.progress.done()
		select {
		case j, ok = <-p.jobs:
		default:
			p.idle.Add(1) // whoever hands it a request takes this back
			j, ok = <-p.jobs
		}
	}
}

// do handles one request, unless nobody waits for it any more. It is admitted until just before it is answered.
func (j *job) do(admitted *atomic.Int32) {
	e, k := j.engine, j.r.call
	if j.stream != nil {
		j.stream.serve(func() { admitted.Add(-1) })
	} else if d := k.Deadline(); d != 0 && d <= transport.Now() {
		admitted.Add(-1)
		e.Reply(k, engine.Code(DeadlineExceeded), engine.NotExecuted, -1, []byte("the deadline passed while the request waited for a worker"))
	} else {
		code := run(j.r.method, &j.w, &j.r)
		n, body := j.w.message()
		admitted.Add(-1)
		if j.w.metadata {
			k.MarkMetadata()
		}
		e.Reply(k, engine.Code(code), engine.Executed, n, body)
	}
	j.free()
}

// wait returns when no request is in the pool, or ctx is over.
func (p *pool) wait(ctx context.Context) error {
	for p.progress.n.Load() > 0 {
		select {
		case <-p.progress.zero:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// close ends the idle workers. No submit may follow.
func (p *pool) close() { close(p.jobs) }

// inProgress counts the requests in the pool.
type inProgress struct {
	n    atomic.Int64
	zero chan struct{} // holds a token when n came to zero
}

func (c *inProgress) done() {
	if c.n.Add(-1) == 0 {
		select {
		case c.zero <- struct{}{}:
		default:
		}
	}
}
