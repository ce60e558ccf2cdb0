package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
)

// sessionsLoad is the time of a call where there are many connections, which take turns.
var sessionsLoad = workload{
	name:  Sessions,
	about: "round trips over many connections in turn",
	axis:  result.AxisSessions,
	along: []float64{1, 10, 100, 1000},
	least: MinSize, most: MaxSize, size: 64,
	outstanding: 1,
	duration:    time.Second, counted: true,
	connect: connectSessions,
}

func connectSessions(ctx context.Context, c *client) (load, error) {
	e := c.endpoint
	e.Outstanding = 1
	for i := range e.Sessions {
		if _, err := c.dial(ctx, e); err != nil {
			return nil, fmt.Errorf("session %d: %w", i+1, err)
		}
	}
	l, n := &closedLoop{client: c}, c.endpoint.Outstanding
	for i := range n { // each with every n-th connection: a connection has one call at a time
		var own []Caller
		for j := i; j < len(c.callers); j += n {
			own = append(own, c.callers[j])
		}
		l.hands = append(l.hands, newWorker(e.Size, i, own...))
	}
	return l, nil
}
