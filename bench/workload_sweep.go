package bench

import (
	"context"
	"errors"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
)

// sweepLoad is the open loop at loads from a tenth of the system's capacity to past it. The capacity is what the same connections carry in a
// closed loop, measured anew by each client process during its warm-up, for machines drift.
var sweepLoad = workload{
	name:  Sweep,
	about: "the same at loads from a tenth of what the system carries to past it; finds the knee",
	axis:  result.AxisLoad,
	along: []float64{0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1},
	least: MinSize, most: MaxSize, size: 64,
	outstanding: 64,
	duration:    time.Second,
	open:        true, parts: []string{"late"},
	connect: connectSweep,
}

// probeFor is how long the closed loop takes at least.
const probeFor = 200 * time.Millisecond

type sweepLoop struct {
	*openLoop
	probe *closedLoop // over the same connections
}

func connectSweep(ctx context.Context, c *client) (load, error) {
	l, err := connectOpen(ctx, c)
	if err != nil {
		return nil, err
	}
	probe := &closedLoop{client: c}
	for _, w := range l.windows {
		probe.hands = append(probe.hands, w)
	}
	for _, w := range l.workers {
		probe.hands = append(probe.hands, w.worker)
	}
	return &sweepLoop{l, probe}, nil
}

func (l *sweepLoop) goroutines() int { return max(l.openLoop.goroutines(), l.probe.goroutines()) }

// run finds the capacity if it is not known yet.
func (l *sweepLoop) run(b bound, t *tally) error {
	if l.arrivals.gap > 0 {
		return l.openLoop.run(b, t)
	}
	b.duration = max(b.duration, probeFor)
	if err := l.probe.run(b, t); err != nil {
		return err
	}
	capacity := t.round().PerSec
	if capacity <= 0 {
		return errors.New("no call ended in the closed loop that finds the capacity")
	}
	l.arrivals.setRate(capacity * l.client.endpoint.Load)
	return nil
}
