package bench

import (
	"fmt"
	"math"

	"github.com/fastrpc/fastrpc/bench/result"
)

// An axis is what differs from one point of a workload to the next.
type axis struct {
	what        string // for messages
	least, most float64
	whole       bool // no fractions
	set         func(*result.Point, float64)
}

// MaxRPS is the most calls a second that can be asked for: they follow each other more quickly than the clock can be read.
const MaxRPS = 50e6

var axes = map[result.Axis]axis{
	result.AxisRPS:      {"calls a second", 1, MaxRPS, false, func(p *result.Point, x float64) { p.RPS = x }},
	result.AxisLoad:     {"as a share of the capacity", 0.01, 2, false, func(p *result.Point, x float64) { p.Load = x }},
	result.AxisSize:     {"bytes of payload", MinSize, maxEcho, true, func(p *result.Point, x float64) { p.Size = int(x) }},
	result.AxisSessions: {"sessions", 1, 20000, true, func(p *result.Point, x float64) { p.Sessions = int(x) }},
	result.AxisSenders:  {"senders", 1, MaxOutstanding, true, func(p *result.Point, x float64) { p.Senders = int(x) }},
	result.AxisLoss:     {"as a share of packets lost", 0, 0.5, false, func(p *result.Point, x float64) { p.Loss = x }},
	result.AxisPause:    {"milliseconds of pause", 0.1, 10e3, false, func(p *result.Point, x float64) { p.PauseMs = x }},
}

// check refuses what no point can be at.
func (a *axis) check(x float64) error {
	if !(x >= a.least && x <= a.most) { // NaN is not
		return fmt.Errorf("%v %s: not between %v and %v", x, a.what, a.least, a.most)
	}
	if a.whole && x != math.Trunc(x) {
		return fmt.Errorf("%v %s: not a whole number", x, a.what)
	}
	return nil
}

// points are where a comparison stands, one after the other. check has been called.
func (c *Config) points() []result.Point {
	w, _ := workloadOf(c.Workload)
	at := result.Point{Size: c.Size, Outstanding: c.Outstanding, Clients: c.Clients, Blocking: c.Blocking, Arrivals: c.Arrivals}
	if c.Workload == Flood {
		at.Outstanding, at.Clients = 0, 0
	}
	if w.axis == result.AxisNone {
		return []result.Point{at}
	}
	var points []result.Point
	for _, x := range c.Along {
		p := at
		a := axes[w.axis]
		a.set(&p, x)
		if p.Sessions > 0 {
			p.Outstanding = min(p.Outstanding, p.Sessions) // each makes one call at a time
		}
		points = append(points, p)
	}
	return points
}
