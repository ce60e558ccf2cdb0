package bench

import (
	"context"
	"sync/atomic"
	"time"
)

// mixedLoad is short calls, one outstanding, beside long messages, one outstanding, over a connection each.
var mixedLoad = workload{
	name:  Mixed,
	about: "round trips beside messages of 1 MiB one way, over a connection each: the time of both, and Gbit/s",
	least: MinSize, most: MaxSize, size: 64,
	duration: 2 * time.Second, counted: true,
	parts:   []string{"bulk"},
	connect: connectMixed,
}

// mixedBulk is the length of workload mixed's messages.
const mixedBulk = 1 << 20

type mixedLoop struct {
	client      *client
	short, long *worker
}

func connectMixed(ctx context.Context, c *client) (load, error) {
	short, long := c.endpoint, c.endpoint
	long.Size = mixedBulk
	a, err := c.dial(ctx, short)
	if err != nil {
		return nil, err
	}
	b, err := c.dial(ctx, long)
	if err != nil {
		return nil, err
	}
	return &mixedLoop{c, newWorker(short.Size, 0, a), newWorker(long.Size, 1, b)}, nil
}

func (l *mixedLoop) goroutines() int { return 2 }

// run bounds the short calls; there are messages as long as there are such calls.
func (l *mixedLoop) run(b bound, t *tally) error {
	var over atomic.Bool
	defer func() { l.client.calls.Store(l.short.calls + l.long.calls) }()
	return l.client.together(2, func(i int) (err error) {
		if i == 0 {
			t.elapsed, err = l.short.run(l.client, l.client.clock(), b, t.records[0])
			over.Store(true)
			return err
		}
		for !over.Load() && !l.client.failed.Load() {
			begun := l.client.clock()
			if err := l.long.call(); err != nil {
				return err
			}
			t.records[1].parts[0].Record(l.client.clock() - begun)
			if !over.Load() {
				t.bytes += mixedBulk
			}
		}
		return nil
	})
}
