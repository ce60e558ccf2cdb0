package page

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fastrpc/fastrpc/bench/result"
)

// table is one with a box of its own to scroll in.
type table struct {
	ID, Title, Caption string
	Closed             bool   // folded away until asked for
	Groups             []head // of columns beside each other, each over Span of them
	Heads              []head
	Rows               []row
}

type head struct {
	Name, Unit, Title string
	group             string
	Span              int
}

// grouped writes the groups of columns over them.
func (t *table) grouped() {
	for _, h := range t.Heads {
		if last := len(t.Groups) - 1; last >= 0 && t.Groups[last].Name == h.group {
			t.Groups[last].Span++
			continue
		}
		t.Groups = append(t.Groups, head{Name: h.group, Span: 1})
	}
}

type row struct {
	Key     key
	System  string
	Cells   []cell
	Missing string // instead of the cells
}

type cell struct {
	Text  string
	Range string // interval
	Best  bool
	Few   bool // fewer than ten samples lie beyond it
}

// column is a figure as a column.
type column struct {
	head
	of      func(*result.Round) float64
	say     format
	best    int     // -1: the least is the best, 1: the most, 0: neither
	beyond  float64 // the share of samples beyond this percentile; 0: is none
	measure func(*result.Round) *result.Latency
}

func (c column) figure() result.Figure { return result.Figure{Of: c.of} }

// columns are all figures that there may be. Those without a value in any row are left out.
func (s *section) columns() []column {
	cs := []column{}
	quantiles := func(group string, measure func(*result.Round) *result.Latency, as func(result.Figure) result.Figure, best int) {
		for _, q := range latencyQuantiles {
			cs = append(cs, column{head{group: group, Name: q.of.Name}, as(q.of).Of, significant, best, 1 - q.at, measure})
		}
		for _, f := range []result.Figure{result.Max, result.Mean, result.StdDev} {
			cs = append(cs, column{head{group: group, Name: f.Name}, as(f).Of, significant, best, 0, measure})
		}
	}
	quantiles("latency, µs", result.OfCalls, func(f result.Figure) result.Figure { return f }, -1)
	quantiles("latency uncorrected, from when the call was sent, µs", result.OfUncorrected, result.Uncorrected, 0)
	for _, name := range s.partNames() {
		quantiles(name+", µs", result.OfPart(name), func(f result.Figure) result.Figure { return result.Part(name, f) }, -1)
	}
	group := "throughput"
	plain := func(name, unit, title string, of func(*result.Round) float64, say format, best int) {
		cs = append(cs, column{head{group: group, Name: name, Unit: unit, Title: title}, of, say, best, 0, nil})
	}
	plain(strings.ToLower(s.rateTitle()), "", "", result.PerSec.Of, count, 1)
	plain("one way", "Gbit/s", "", result.Gbit.Of, significant, 1)
	group = "both processes"
	plain("CPU", "µs/call", "user and system time", result.CPU.Of, significant, -1)
	plain("allocations", "/call", "heap objects", result.Allocs.Of, significant, -1)
	plain("allocated", "B/call", "", result.AllocBytes.Of, significant, -1)
	side := func(name string, of func(*result.Round) *result.Use, busy result.Figure) {
		group = name
		per := func(get func(*result.Use) float64) func(*result.Round) float64 {
			return func(r *result.Round) float64 {
				if of(r).Calls <= 0 {
					return nan
				}
				return get(of(r)) / float64(of(r).Calls)
			}
		}
		whole := func(get func(*result.Use) float64) func(*result.Round) float64 {
			return func(r *result.Round) float64 {
				if *of(r) == (result.Use{}) {
					return nan
				}
				return get(of(r))
			}
		}
		plain("user", "µs/call", "", per(func(u *result.Use) float64 { return float64(u.UserNs) / 1e3 }), significant, 0)
		plain("system", "µs/call", "", per(func(u *result.Use) float64 { return float64(u.SystemNs) / 1e3 }), significant, 0)
		plain("busy", "% of a CPU", "", busy.Of, significant, 0)
		plain("interrupts", "µs/call", "time of interrupts on its CPUs, whoever they were for", per(func(u *result.Use) float64 { return float64(u.InterruptNs) / 1e3 }), significant, 0)
		plain("instructions", "/call", "", per(func(u *result.Use) float64 { return counted(u.Instructions) }), count, 0)
		plain("cycles", "/call", "", per(func(u *result.Use) float64 { return counted(u.Cycles) }), count, 0)
		plain("switches", "/call", "voluntary context switches", per(func(u *result.Use) float64 { return float64(u.Voluntary) }), significant, 0)
		plain("preempted", "/round", "involuntary context switches", whole(func(u *result.Use) float64 { return float64(u.Involuntary) }), significant, 0)
		plain("collections", "/round", "of the garbage collector", whole(func(u *result.Use) float64 { return float64(u.GCs) }), significant, 0)
		plain("longest pause", "µs", "of the garbage collector", whole(func(u *result.Use) float64 { return u.GCMaxPauseUs }), significant, 0)
	}
	side("client", func(r *result.Round) *result.Use { return &r.Client }, result.ClientBusy)
	side("server", func(r *result.Round) *result.Use { return &r.Server }, result.ServerBusy)
	perOp := func(get func(*result.Network) float64) func(*result.Round) float64 {
		return func(r *result.Round) float64 {
			if r.Ops <= 0 || r.Network.Sent+r.Network.Received == 0 {
				return nan
			}
			return get(&r.Network) / float64(r.Ops)
		}
	}
	group = "network"
	plain("packets sent", "/call", "by the client's interface", perOp(func(n *result.Network) float64 { return float64(n.Sent) }), significant, 0)
	plain("received", "/call", "packets, by the client's interface", perOp(func(n *result.Network) float64 { return float64(n.Received) }), significant, 0)
	plain("sent again", "/round", "retransmissions", func(r *result.Round) float64 {
		if r.Network.Retransmissions == nil {
			return nan
		}
		return float64(*r.Network.Retransmissions)
	}, significant, 0)
	group = "packets dropped, a round"
	for _, cause := range s.dropCauses() {
		plain(cause, "", "", func(r *result.Round) float64 { return float64(r.Network.Drops[cause]) }, significant, 0)
	}
	group = "run"
	plain("unclear", "calls", "whose stamps could not be told apart: they are not in the stages", func(r *result.Round) float64 {
		if len(r.Stages) == 0 {
			return nan
		}
		return float64(r.Unclear)
	}, significant, 0)
	plain("steal", "%", "processor time that the hypervisor took away", func(r *result.Round) float64 { return r.Steal }, significant, 0)
	return cs
}

// counted is what a machine counted, if it did.
func counted(n *float64) float64 {
	if n == nil {
		return nan
	}
	return *n
}

func (s *section) dropCauses() []string {
	var out []string
	for _, r := range s.report.Results {
		for _, round := range r.Rounds {
			for cause := range round.Network.Drops {
				if !slices.Contains(out, cause) {
					out = append(out, cause)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// tables are those of the medians, and of the rounds.
func (s *section) tables() {
	cs := s.columns()
	where, along := ways[s.report.Run.Axis]
	medians := table{ID: s.ID + "-figures", Title: "All figures",
		Caption: "Medians over the rounds, below them the 95 % interval where there is one. Bold is the best of its column" + map[bool]string{true: " at each point"}[along] + ". Grey percentiles have fewer than ten samples beyond them in a round: they say little."}
	rounds := table{ID: s.ID + "-rounds", Title: "Round by round", Closed: true,
		Caption: "The columns of a round as it went; place is where in the round the system had its turn."}
	point := []head{}
	if along {
		point = []head{{Name: where.head, Title: where.name}}
	} else if len(s.points()) > 1 {
		point = []head{{Name: "point"}}
	}
	at := func(r *result.Result) []cell {
		switch {
		case along:
			return []cell{{Text: where.say(where.of(r))}}
		case len(point) > 0:
			return []cell{{Text: strings.Join(pointWords(r.Point, result.AxisNone), ", ")}}
		}
		return nil
	}
	used := slices.DeleteFunc(cs, func(c column) bool {
		return !slices.ContainsFunc(s.report.Results, func(r result.Result) bool { return slices.ContainsFunc(r.Values(c.figure()), finite) })
	})
	medians.Heads, rounds.Heads = slices.Clone(point), append(slices.Clone(point), head{Name: "round"}, head{Name: "place"})
	for _, c := range used {
		medians.Heads, rounds.Heads = append(medians.Heads, c.head), append(rounds.Heads, c.head)
	}
	medians.Heads = append(medians.Heads, head{group: "run", Name: "rounds"})
	medians.grouped()
	rounds.grouped()
	for i := range s.report.Results {
		r := &s.report.Results[i]
		m := row{Key: s.keys.of(r.System), System: r.System, Cells: at(r)}
		if len(r.Rounds) == 0 {
			m.Missing = "not measured: " + r.Error
			medians.Rows = append(medians.Rows, m)
			continue
		}
		for _, c := range used {
			e := r.Estimate(c.figure())
			d := cell{Text: c.say(e.Value), Best: s.best(c, r, e.Value), Few: c.few(r.Rounds)}
			if finite(e.Low) && finite(e.High) {
				d.Range = c.say(e.Low) + " … " + c.say(e.High)
			}
			m.Cells = append(m.Cells, d)
		}
		m.Cells = append(m.Cells, cell{Text: fmt.Sprintf("%d of %d", len(r.Rounds), s.report.Run.Rounds)})
		medians.Rows = append(medians.Rows, m)
		for j := range r.Rounds {
			one := r.Rounds[j : j+1]
			n := row{Key: m.Key, System: r.System, Cells: append(at(r), cell{Text: fmt.Sprint(one[0].Number)}, cell{Text: fmt.Sprint(one[0].Place)})}
			for _, c := range used {
				n.Cells = append(n.Cells, cell{Text: c.say(c.of(&one[0])), Few: c.few(one)})
			}
			rounds.Rows = append(rounds.Rows, n)
		}
	}
	for _, t := range []table{medians, s.pairs(), rounds} {
		if len(t.Rows) > 0 {
			s.Tables = append(s.Tables, t)
		}
	}
}

// manyPairs is how many systems a table of pairs holds.
const manyPairs = 24

// pairs is the table of the ratios of the median, pair by pair.
func (s *section) pairs() table {
	t := table{ID: s.ID + "-pairs", Title: "Ratios of the median latency, pair by pair", Closed: true,
		Caption: "Row by column: below one, the row is quicker. The median of the ratios within each round, since what disturbs the machine for a while disturbs both; below it the 95 % interval."}
	groups := s.points()
	if len(groups) != 1 {
		return t
	}
	rs := slices.DeleteFunc(groups[0], func(r *result.Result) bool { return !finite(r.Median(result.P50)) })
	if len(rs) < 2 || len(rs) > manyPairs {
		return t
	}
	for _, a := range rs {
		t.Heads = append(t.Heads, head{Name: a.System, group: "divided by"})
		line := row{Key: s.keys.of(a.System), System: a.System}
		for _, b := range rs {
			d := cell{Text: dash}
			if e := result.Ratio(a, b, result.P50); a != b && finite(e.Value) {
				d.Text = ratio(e.Value)
				if e.Interval() {
					d.Range = ratio(e.Low) + " … " + ratio(e.High)
				}
			}
			line.Cells = append(line.Cells, d)
		}
		t.Rows = append(t.Rows, line)
	}
	t.grouped()
	return t
}

// few tells whether a percentile of these rounds has fewer than ten samples beyond it.
func (c column) few(rounds []result.Round) bool {
	if c.beyond == 0 {
		return false
	}
	for i := range rounds {
		if l := c.measure(&rounds[i]); l != nil && float64(l.Count)*c.beyond < 10 {
			return true
		}
	}
	return false
}

// best tells whether no other system has a better figure at this point.
func (s *section) best(c column, r *result.Result, v float64) bool {
	others := 0
	for i := range s.report.Results {
		o := &s.report.Results[i]
		if w := o.Median(c.figure()); o.Point == r.Point && o != r && finite(w) {
			others++
			if float64(c.best)*w > float64(c.best)*v {
				return false
			}
		}
	}
	return c.best != 0 && others > 0 && finite(v)
}
