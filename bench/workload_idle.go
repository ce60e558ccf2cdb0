package bench

import (
	"context"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
)

// idleLoad is what waiting costs: the first call after a pause, the few that follow it at once, and, in the round's Use, the CPU time of both
// processes, of which nearly all is burnt in the pauses.
var idleLoad = workload{
	name:  Idle,
	about: "pauses, a first call after each, and some more: the first one's time, the others', and the CPU time",
	axis:  result.AxisPause,
	along: []float64{1, 10, 100},
	least: MinSize, most: MaxSize, size: 64,
	duration: 2 * time.Second,
	parts:    []string{"first"},
	connect:  connectIdle,
}

// afterFirst is how many calls follow the first after a pause.
const afterFirst = 8

type idleLoop struct {
	client *client
	worker *worker
	pause  func()
}

func connectIdle(ctx context.Context, c *client) (load, error) {
	caller, err := c.dial(ctx, c.endpoint)
	if err != nil {
		return nil, err
	}
	pause := time.Duration(c.endpoint.PauseMs * float64(time.Millisecond))
	return &idleLoop{c, newWorker(c.endpoint.Size, 0, caller), func() { time.Sleep(pause) }}, nil
}

func (l *idleLoop) goroutines() int { return 1 }

func (l *idleLoop) run(b bound, t *tally) error {
	r, begin := t.records[0], l.client.clock()
	first := r.parts[0]
	defer func() { l.client.calls.Store(l.worker.calls) }()
	for t.elapsed < b.duration {
		l.pause()
		for i := range 1 + afterFirst {
			begun := l.client.clock()
			if err := l.worker.call(); err != nil {
				return err
			}
			now := l.client.clock()
			if i == 0 {
				first.Record(now - begun)
			} else {
				r.latency.Record(now - begun)
			}
			r.ops++
			t.elapsed = now - begin
		}
	}
	return nil
}
