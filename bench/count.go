package bench

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/fastrpc/fastrpc/bench/meter"
	"github.com/fastrpc/fastrpc/bench/result"
)

// countFor is how long instructions are counted, after settleFor: so long that what begins and ends it does not show.
const countFor = 100 * time.Millisecond

// counted is what one side's processor did for some calls.
type counted struct {
	meter.Counted
	Calls int64 `json:"calls"`
}

// count has both sides count the processor's instructions over calls beside those of the measured loop: see meter.Counters. A side whose
// machine does not count has none. extra is what the workload's last calls may take.
func count(ctx context.Context, server, client *process, out *outcome, extra time.Duration) error {
	if out.server.Counts {
		if _, err := server.ask(ctx, order{Do: "count"}, setupLimit); err != nil {
			return err
		}
	}
	o := order{Do: "count", Duration: countFor}
	a, err := client.ask(ctx, o, limitOf(&o)+2*extra)
	if err != nil {
		return err
	}
	if a.Counted == nil {
		return errNoFigures
	}
	out.counted.client = *a.Counted
	if out.server.Counts {
		b, err := server.ask(ctx, order{Do: "counted"}, setupLimit)
		if err != nil {
			return err
		}
		if b.Counted == nil {
			return errNoFigures
		}
		out.counted.server = counted{b.Counted.Counted, a.Counted.Calls + a.Uncounted}
	}
	return nil
}

// scale makes the figures of a side's calls from those of the calls that were counted.
func (c *counted) scale(u *result.Use) {
	if c.Calls <= 0 || c.Instructions == 0 {
		return
	}
	share := float64(u.Calls) / float64(c.Calls)
	instructions, cycles := share*c.Instructions, share*c.Cycles
	u.Instructions, u.Cycles = &instructions, &cycles
}

// count is the child's part. The server's lasts until the order "counted".
func (c *child) count(b bound) (a answer, err error) {
	if c.client == nil {
		return a, c.openCounters()
	}
	if a.Uncounted, err = c.client.some(bound{duration: settleFor}); err != nil {
		return a, err
	}
	t, before := c.client.newTally(), c.client.calls.Load()
	if err := c.openCounters(); err != nil {
		return a, err
	}
	err = c.client.load.run(b, t)
	n, stopErr := c.stopCounters()
	if err = errors.Join(c.client.describe(err), stopErr); err != nil {
		return a, err
	}
	a.Counted = &counted{n, max(int64(c.client.calls.Load()-before), t.round().Ops)}
	return a, nil
}

// openCounters opens them where the machine has them.
func (c *child) openCounters() (err error) {
	if c.about.Counts {
		c.counters, err = meter.OpenCounters()
	}
	return err
}

func (c *child) stopCounters() (n meter.Counted, err error) {
	if c.counters != nil {
		n, err = c.counters.Stop()
		c.counters = nil
	}
	return n, err
}

// some makes calls outside of the measured loop, and tells how many.
func (c *client) some(b bound) (calls int64, err error) {
	t, before := c.newTally(), c.calls.Load()
	err = c.load.run(b, t)
	return max(int64(c.calls.Load()-before), t.round().Ops), c.describe(err)
}

// mostAsked bounds how many callers are asked what their system counts, which takes microseconds each.
const mostAsked = 1 << 10

// counters is what the system of the callers counted so far.
func (c *client) counters() map[string]meter.Own {
	all := map[string]meter.Own{}
	for _, caller := range c.callers[:min(len(c.callers), mostAsked)] {
		if counting, ok := caller.(Counting); ok {
			maps.Copy(all, counting.Counters())
		}
	}
	return all
}
