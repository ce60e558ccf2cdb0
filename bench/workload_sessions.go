package bench

import (
	"context"
	"fmt"
	"strings"
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

// allowFiles lets this process have a descriptor for each session, and some; or as many as it may, where the hard limit is lower and not its to raise.
func allowFiles(e *Endpoint) {
	var limit unix.Rlimit
	need := filesFor(e)
	if e.Sessions == 0 || unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || limit.Cur >= need {
		return
	}
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: need, Max: max(limit.Max, need)}) != nil {
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit.Max, Max: limit.Max}) // else the session that has none says so
	}
}

// filesEach is how many descriptors a session takes at most: the connection of a kernel's stream has one in each process; of fastrpc over AF_XDP a client
// holds its port with one, with two where that is on single addresses.
const filesEach = 2

func filesFor(e *Endpoint) uint64 { return uint64(filesEach*e.Sessions + 1000) }

// explainFiles adds to an error that is for want of descriptors what to do about it.
func explainFiles(err error, e *Endpoint) error {
	var limit unix.Rlimit
	if err == nil || !strings.Contains(err.Error(), unix.EMFILE.Error()) || strings.Contains(err.Error(), unix.ENFILE.Error()) { // not all libraries wrap it
		return err
	}
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return err
	}
	return fmt.Errorf("%w: a process may have %d of them here, and this process may not raise that; start from a shell after 'ulimit -n %d', or from a unit "+
		"with LimitNOFILE=%d, or ask for fewer", err, limit.Cur, filesFor(e), filesFor(e))
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
