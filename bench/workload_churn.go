package bench

import (
	"context"
	"time"
)

// churnLoad is connections that live for one call, beside one that stays: what a process sets up once for all of them is not theirs.
var churnLoad = workload{
	name:  Churn,
	about: "connections that are dialled, carry one call and are closed: the time of each and of all three",
	least: MinSize, most: MaxSize, size: 64,
	duration: time.Second, counted: true,
	parts:   []string{"dial", "call", "close"},
	connect: connectChurn,
}

type churnLoop struct {
	client  *client
	payload []byte
	calls   uint64
}

func connectChurn(ctx context.Context, c *client) (load, error) {
	if _, err := c.dial(ctx, c.endpoint); err != nil {
		return nil, err
	}
	return &churnLoop{client: c, payload: pattern(c.endpoint.Size)}, nil
}

func (l *churnLoop) goroutines() int { return 1 }

func (l *churnLoop) run(b bound, t *tally) error {
	requests, duration := b.limits()
	r, begin := t.records[0], l.client.clock()
	defer func() { l.client.calls.Store(l.calls) }()
	for range requests {
		if err := l.once(r); err != nil {
			return err
		}
		r.ops++
		if t.elapsed = l.client.clock() - begin; t.elapsed >= duration {
			break
		}
	}
	return nil
}

func (l *churnLoop) once(r *record) error {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	l.calls++
	number(l.payload, l.calls)
	begun := l.client.clock()
	caller, err := l.client.system.Connect(ctx, l.client.endpoint)
	if err != nil {
		return err
	}
	dialled := l.client.clock()
	err = caller.Call(l.payload)
	called := l.client.clock()
	if e := caller.Close(); err == nil {
		err = e
	}
	closed := l.client.clock()
	for i, d := range [...]time.Duration{dialled - begun, called - dialled, closed - called} {
		r.parts[i].Record(d)
	}
	r.latency.Record(closed - begun)
	return err
}
