package bench

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

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

// allowFiles lets this process have a descriptor for each session, and some, if it may.
func allowFiles(e *Endpoint) {
	var limit unix.Rlimit
	need := uint64(filesEach*e.Sessions + 1000)
	if e.Sessions == 0 || unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || limit.Cur >= need {
		return
	}
	limit.Cur, limit.Max = need, max(limit.Max, need)
	_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) // else the session that has none says so
}

// filesEach is how many descriptors a session takes at most: fastrpc holds a port with one for each version of IP.
const filesEach = 2

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
