package bench

import (
	"context"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
)

// openLoad is the time of a call at a load that does not depend on the server: an open loop.
var openLoad = workload{
	name:  Open,
	about: "calls at a rate of --rps, whether the server is slow or not: their time from when they were due, and from when they were sent",
	axis:  result.AxisRPS,
	least: MinSize, most: MaxSize, size: 64,
	outstanding: 64,
	duration:    2 * time.Second, counted: true,
	open: true, parts: []string{"late"},
	connect: func(ctx context.Context, c *client) (load, error) {
		l, err := connectOpen(ctx, c)
		if err != nil {
			return nil, err
		}
		l.arrivals.setRate(c.endpoint.RPS)
		return l, nil
	},
}
