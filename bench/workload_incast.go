package bench

import (
	"context"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
)

// incastLoad is many senders to one receiver, each with a connection and a message of its own: closed loops beside each other.
var incastLoad = workload{
	name:  Incast,
	about: "messages from many senders to one receiver, each sender with one outstanding: their time, and Gbit/s",
	axis:  result.AxisSenders,
	along: []float64{1, 4, 16, 64},
	least: MinBulk, most: maxEcho, size: 64 << 10,
	duration: time.Second, counted: true,
	connect: connectIncast,
}

func connectIncast(ctx context.Context, c *client) (load, error) {
	l := &closedLoop{client: c, bits: true}
	e := c.endpoint
	e.Outstanding = 1
	for i := range e.Senders {
		caller, err := c.dial(ctx, e)
		if err != nil {
			return nil, err
		}
		l.hands = append(l.hands, newWorker(e.Size, i, caller))
	}
	return l, nil
}
