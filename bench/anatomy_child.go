package bench

import (
	"errors"
	"fmt"
	"net"

	"github.com/fastrpc/fastrpc/bench/stamp"
)

// anatomySide is a child's part in workload Anatomy.
type anatomySide struct {
	side    *stamp.Side // nil: the workload is another one
	ifindex int         // whose packets the kernel stamps; 0: none
	bypass  bool
}

// settleCalls is the most calls that a loop settles with, whose stamps need room too: a call each microsecond.
const settleCalls = int(settleFor / 1000)

// stamped puts a system's stamped twin in its place if the workload is Anatomy. The rest of the child then does what it does with Latency.
func (c *child) stamped(s System, o *order) (System, error) {
	e := o.Endpoint
	if e.Workload != Anatomy {
		return s, nil
	}
	if o.Requests < 1 || o.Requests > MaxAnatomyCalls || e.Size < MinAnatomy {
		return nil, fmt.Errorf("%d calls of %d bytes cannot be stamped", o.Requests, e.Size)
	}
	e.Workload = Latency
	a := anatomySide{side: stamp.New(o.Requests+settleCalls, e.Size), bypass: s.Bypass()}
	if ifi, err := net.InterfaceByName(e.Interface); err == nil && ifi.Flags&net.FlagLoopback == 0 {
		a.ifindex = ifi.Index // over loopback both sides would stamp the packets of both
	}
	twin, ok := stampedSystem(s, a.side)
	if !ok {
		return nil, fmt.Errorf("%s cannot be stamped", s.Name())
	}
	c.anatomy = a
	return twin, nil
}

// stamp begins or ends the stamping, or ends all calls, so that nobody records any more, and gives what was recorded.
func (c *child) stamp(o *order) (a answer, err error) {
	s := c.anatomy.side
	switch o.Do {
	case "stamp":
		a.Unstamped, err = s.Start(c.anatomy.ifindex, c.anatomy.bypass)
		return a, err
	case "unstamp":
		return a, s.Stop()
	case "stamps":
		if c.client != nil {
			c.client.close()
			c.client = nil
		}
		c.cancel()
		err = c.wait()
		c.serving = false
		events, eventsErr := s.Events()
		a.Stamps = stamp.Encode(events)
		return a, errors.Join(err, eventsErr, s.Close())
	}
	return a, fmt.Errorf("control channel: order %q does not fit", o.Do)
}
