package page

import (
	"slices"

	"github.com/fastrpc/fastrpc/bench/result"
)

// way is how an axis of a workload is drawn.
type way struct {
	name string // of the axis
	head string // of a column
	of   func(*result.Result) float64
	say  format
	free bool // its values differ between systems: ticks are round numbers, not the values
}

var ways = map[result.Axis]way{
	result.AxisRPS:      {"offered load, calls a second", "offered", (*result.Result).OfferedLoad, perSecond, true},
	result.AxisLoad:     {"offered load, calls a second", "offered", (*result.Result).OfferedLoad, perSecond, true},
	result.AxisSize:     {"payload", "payload", func(r *result.Result) float64 { return float64(r.Point.Size) }, byteSize, false},
	result.AxisSessions: {"sessions", "sessions", func(r *result.Result) float64 { return float64(r.Point.Sessions) }, thousands, false},
	result.AxisSenders:  {"senders", "senders", func(r *result.Result) float64 { return float64(r.Point.Senders) }, thousands, false},
	result.AxisLoss:     {"packets dropped on purpose", "loss", func(r *result.Result) float64 { return r.Point.Loss }, share, false},
	result.AxisPause:    {"pause before the call", "pause", func(r *result.Result) float64 { return r.Point.PauseMs }, milliseconds, false},
}

// alongFigure draws a figure of all systems along the workload's axis. ghost, which may be nil, is the same figure in its lesser form.
func (s *section) alongFigure(id, title string, f result.Figure, m measure, ghost *result.Figure) {
	w := ways[s.report.Run.Axis]
	var xs, ys []float64
	l := lines{id: id, title: title}
	for _, system := range s.systems {
		c := curve{key: s.keys.of(system), name: system}
		g := curve{key: c.key, name: system, ghost: true}
		for _, r := range s.along(system) {
			x := w.of(r)
			if y := r.Median(f); finite(y) && finite(x) {
				c.points = append(c.points, point{x, y})
				xs, ys = append(xs, x), append(ys, y)
			}
			if ghost == nil {
				continue
			}
			if y := r.Median(*ghost); finite(y) && finite(x) {
				g.points = append(g.points, point{x, y})
				ys = append(ys, y)
			}
		}
		c.markers, g.markers = c.points, g.points
		if m.knees {
			if k := s.report.Knee(system); k != nil {
				c.knee = &point{w.of(k), k.Median(f)}
			}
		}
		if len(g.points) > 0 {
			l.curves = append(l.curves, g)
		}
		if len(c.points) > 0 {
			l.curves = append(l.curves, c)
		}
	}
	if len(xs) == 0 || slices.Max(ys) <= 0 {
		return
	}
	slices.Sort(xs)
	xs = slices.Compact(xs)
	x := logAt(xs, w.say)
	if w.free {
		x = logOver(xs, w.say)
	} else {
		l.samples = xs
	}
	l.x = axis{name: w.name, linear: x, logScale: x, format: w.say}
	l.y = m.axis(ys)
	l.desc = m.name + " of each system along " + w.name + "."
	fig := figure{ID: id, Title: title, Full: len(s.Figures) == 0}
	if !w.free {
		fig.Data = newStops(l, w.say)
	}
	s.add(fig, l)
}

// along are the results of a system in the order of the axis.
func (s *section) along(system string) []*result.Result {
	w := ways[s.report.Run.Axis]
	var rs []*result.Result
	for i := range s.report.Results {
		if r := &s.report.Results[i]; r.System == system && len(r.Rounds) > 0 {
			rs = append(rs, r)
		}
	}
	slices.SortStableFunc(rs, func(a, b *result.Result) int {
		switch x, y := w.of(a), w.of(b); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	return rs
}

// measure is a kind of figure: its name and how it is said.
type measure struct {
	name   string
	format format
	more   bool // is better
	knees  bool // are marked on it, under rising load
}

var (
	latency    = measure{name: "latency", format: microseconds, knees: true}
	rate       = measure{name: "calls a second", format: perSecond, more: true}
	throughput = measure{name: "throughput", format: gbit, more: true}
	cpuTime    = measure{name: "processor time a call", format: microseconds}
	busy       = measure{name: "share of one CPU", format: percent}
)

func (m measure) axis(ys []float64) axis {
	top := 0.0
	for _, y := range ys {
		top = max(top, y)
	}
	return axis{name: m.name, linear: linearFromZero(top, m.format), logScale: logOver(ys, m.format), format: m.format}
}
