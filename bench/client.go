package bench

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fastrpc/fastrpc/bench/meter"
	"github.com/fastrpc/fastrpc/bench/result"
)

// client is the client's side of a run: its connections, and the workload that goes over them.
type client struct {
	system   System
	workload *workload
	endpoint Endpoint
	clock    func() time.Duration // monotonic
	callers  []Caller
	load     load
	calls    atomic.Uint64 // begun so far, of loops that have ended
	failed   atomic.Bool   // a goroutine of the load has failed: the others end
}

// sinceStart is the clock of all loops outside of tests.
func sinceStart() time.Duration { return time.Since(processStart) }

var processStart = time.Now()

// connect makes the connections that the workload needs.
func connect(ctx context.Context, s System, e *Endpoint) (*client, error) {
	w, err := workloadOf(e.Workload)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, e.connectLimit())
	defer cancel()
	c := &client{system: s, workload: w, endpoint: *e, clock: sinceStart}
	if c.load, err = w.connect(ctx, c); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// dial makes one of the client's connections.
func (c *client) dial(ctx context.Context, e Endpoint) (Caller, error) {
	caller, err := c.system.Connect(ctx, e)
	if err == nil {
		c.callers = append(c.callers, caller)
	}
	return caller, err
}

func (c *client) close() {
	for _, caller := range c.callers {
		_ = caller.Close() // the process ends; nobody is there to hear
	}
}

// What goes before the measured calls. On its one CPU the server's control goroutine, blocked in a read once it answered "start", keeps
// the processor until the runtime notices, which takes the first call 10 to 20 ms.
const settleFor = 20 * time.Millisecond

// measure makes calls until the bound is reached. uncounted are calls of this process that are not among the round's.
func (c *client) measure(b bound, m *meter.Meter) (r result.Round, counts meter.Counts, uncounted int64, err error) {
	runtime.GC() // the warm-up's rubbish is not the loop's
	before := c.calls.Load()
	t := c.newTally()
	settled, err := c.some(bound{duration: settleFor})
	if err != nil {
		return r, counts, 0, err
	}
	m.Start()
	err = c.load.run(b, t)
	counts = m.Stop()
	if err != nil {
		return r, counts, 0, c.describe(err)
	}
	r = t.round()
	return r, counts, max(int64(c.calls.Load()-before)-r.Ops, settled), nil
}

// note is what the system has to say about the figures.
func (c *client) note() string {
	if len(c.callers) == 0 {
		return ""
	}
	return noteOf(c.callers[0])
}

func (c *client) describe(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("after %d calls: %w", c.calls.Load(), err)
}

// together runs f(0) to f(n-1), each on a goroutine of its own where there are several, and returns the first error; then the others find
// c.failed set.
func (c *client) together(n int, f func(i int) error) error {
	if n == 1 {
		return f(0)
	}
	var group sync.WaitGroup
	var first sync.Once
	var failure error
	for i := range n {
		group.Go(func() {
			if err := f(i); err != nil {
				first.Do(func() { failure = err })
				c.failed.Store(true)
			}
		})
	}
	group.Wait()
	return failure
}

// tally is what a measured loop counts and records.
type tally struct {
	workload *workload
	records  []*record // one for each goroutine
	elapsed  time.Duration
	offered  float64       // of an open loop: calls that came due a second
	bytes    int64         // one way, of payload; 0: the workload is not about bits
	measured *result.Round // by the system itself
}

// record is what one goroutine notes.
type record struct {
	ops         int64     // calls that ended in time
	latency     *Recorder // of the calls; of an open loop from when they were due
	uncorrected *Recorder // of an open loop: from when they were sent
	parts       []*Recorder
}

// newTally makes an empty one. Noting allocates nothing afterwards.
func (c *client) newTally() *tally {
	t := &tally{workload: c.workload}
	first := &record{latency: NewRecorder()}
	if c.workload.open {
		first.uncorrected = NewRecorder()
	}
	for range c.workload.parts {
		first.parts = append(first.parts, NewRecorder())
	}
	t.records = append(t.records, first)
	for range c.load.goroutines() - 1 {
		t.records = append(t.records, first.beside())
	}
	return t
}

// beside makes a record for another goroutine, whose latencies count together with r's.
func (r *record) beside() *record {
	o := &record{latency: r.latency.beside()}
	if r.uncorrected != nil {
		o.uncorrected = r.uncorrected.beside()
	}
	for _, p := range r.parts {
		o.parts = append(o.parts, p.beside())
	}
	return o
}

// flush has all latencies counted.
func (r *record) flush() {
	r.latency.flush()
	if r.uncorrected != nil {
		r.uncorrected.flush()
	}
	for _, p := range r.parts {
		p.flush()
	}
}

// round puts together what all goroutines noted.
func (t *tally) round() result.Round {
	sum := t.records[0]
	for _, r := range t.records[1:] {
		sum.ops += r.ops
		r.flush()
	}
	r := result.Round{Ops: sum.ops, Seconds: t.elapsed.Seconds(), PerSec: perSecond(sum.ops, t.elapsed), Offered: t.offered}
	if t.measured != nil {
		r = *t.measured
	}
	if t.bytes > 0 {
		r.SetBits(t.bytes)
	}
	r.Latency = sum.latency.Latency()
	if sum.uncorrected != nil {
		r.Uncorrected = sum.uncorrected.Latency()
	}
	for i, name := range t.workload.parts {
		if l := sum.parts[i].Latency(); l != nil {
			if r.Parts == nil {
				r.Parts = map[string]*result.Latency{}
			}
			r.Parts[name] = l
		}
	}
	return r
}
