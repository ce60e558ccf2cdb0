// Package diff tells what changed between two reports of the same benchmark, with the test that benchstat uses.
package diff

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"

	"golang.org/x/perf/benchmath"

	"github.com/fastrpc/fastrpc/bench/result"
)

// Options say what counts.
type Options struct {
	// Alpha is the probability with which rounds of equal systems may look different; what is less likely is a difference.
	Alpha float64

	// Worse is the share by which a figure may get worse: 0.1 is a tenth.
	Worse float64

	// RelativeTo names a system of both reports; each figure but the allocations is then compared as its ratio to that system's in the same round, which
	// leaves out what disturbed all systems of a run alike. Empty: the figures themselves.
	RelativeTo string

	// Anyway compares reports of different machines.
	Anyway bool
}

// What Compare takes unless it is told otherwise. The harness is made to repeat ratios of medians within a tenth.
const (
	DefaultAlpha = 0.05
	DefaultWorse = 0.10
)

// Why reports cannot be compared, for errors.Is.
var (
	ErrMachine  = errors.New("the reports are of different machines")
	ErrWorkload = errors.New("the reports are of different workloads")
	ErrNothing  = errors.New("the reports have nothing in common")
)

// Diff is what changed.
type Diff struct {
	Options Options
	Rows    []Row
	Failed  []Failed
	Notes   []string
}

// Row is one figure of one system at one point.
type Row struct {
	Figure   result.Figure
	Old, New *result.Result
	Before   result.Estimate
	After    result.Estimate
	P        float64 // of rounds of equal systems to differ as much
	Least    float64 // the smallest P that so many rounds can give
	Verdict  Verdict
}

// Failed is a system that was measured before and is not any more.
type Failed struct {
	Result *result.Result
	Why    string
}

// Verdict is what a row says.
type Verdict int

// The verdicts. A change that is significant, but by no more than Options.Worse, is Changed.
const (
	Same Verdict = iota
	Changed
	Better
	Worse
	FewRounds // no difference, however large, could be significant
)

// Change is the relative change, 0.1 being a tenth more; infinite from zero to something, NaN without a change from zero.
func (r *Row) Change() float64 { return r.After.Value/r.Before.Value - 1 }

// figures that are compared; those that a report lacks are left out.
var figures = []result.Figure{result.P50, result.P99, result.PerSec, result.CPU, result.Allocs}

// leastAllocs is a change in the allocations of a call that says something: less is the runtime's own.
const leastAllocs = 0.05

// Compare compares what both reports have. The error says why it does not, and what would help.
func Compare(old, now *result.Report, o Options) (*Diff, error) {
	if old.Run.Workload != now.Run.Workload {
		return nil, fmt.Errorf("%w: %s and %s", ErrWorkload, old.Run.Workload, now.Run.Workload)
	}
	d := &Diff{Options: o}
	if others := machines(old, now); len(others) > 0 {
		if !o.Anyway {
			return nil, fmt.Errorf("%w: %s; --anyway compares them all the same", ErrMachine, strings.Join(others, "; "))
		}
		d.Notes = append(d.Notes, "different machines: "+strings.Join(others, "; "))
	}
	if o.RelativeTo != "" && (!has(old, o.RelativeTo) || !has(now, o.RelativeTo)) {
		return nil, fmt.Errorf("%w: system %s, which the others are to be compared to, is not in both", ErrNothing, o.RelativeTo)
	}
	common := 0
	for i := range old.Results {
		before := &old.Results[i]
		after := now.Find(before.System, before.Point)
		switch {
		case len(before.Rounds) == 0:
			continue // there is nothing to compare with
		case after == nil:
			d.note(before, "only in the old report")
		case len(after.Rounds) == 0 && after.Absent:
			d.note(before, "missing in the new report: "+after.Error)
		case len(after.Rounds) == 0:
			d.Failed = append(d.Failed, Failed{Result: before, Why: after.Error})
			common++
		default:
			d.rows(old, now, before, after)
			common++
		}
	}
	if common == 0 {
		return nil, fmt.Errorf("%w: no system at the same size and load; the old one has %s, the new one %s", ErrNothing, points(old), points(now))
	}
	for i := range now.Results {
		if after := &now.Results[i]; len(after.Rounds) > 0 {
			if before := old.Find(after.System, after.Point); before == nil || len(before.Rounds) == 0 {
				d.note(after, "only in the new report")
			}
		}
	}
	d.settings(old, now)
	slices.SortStableFunc(d.Rows, func(a, b Row) int { return rank(a.Figure) - rank(b.Figure) })
	return d, nil
}

// Worse are the rows that got worse by more than Options.Worse; what failed is worse, too.
func (d *Diff) Worse() []Row {
	return slices.DeleteFunc(slices.Clone(d.Rows), func(r Row) bool { return r.Verdict != Worse })
}

// OK tells that nothing is worse.
func (d *Diff) OK() bool { return len(d.Failed) == 0 && len(d.Worse()) == 0 }

func (d *Diff) rows(old, now *result.Report, before, after *result.Result) {
	for _, f := range figures {
		var to [2]*result.Result
		if d.Options.RelativeTo != "" && f.Name != result.Allocs.Name {
			if before.System == d.Options.RelativeTo {
				continue
			}
			to = [2]*result.Result{old.Find(d.Options.RelativeTo, before.Point), now.Find(d.Options.RelativeTo, after.Point)}
			if to[0] == nil || to[1] == nil {
				continue
			}
		}
		xs, ys := values(before, to[0], f), values(after, to[1], f)
		if len(xs) > 0 && len(ys) > 0 {
			d.Rows = append(d.Rows, d.row(f, before, after, xs, ys))
		}
	}
}

// values of a figure, or of its ratio to another system's.
func values(res, to *result.Result, f result.Figure) []float64 {
	if to == nil {
		return res.Values(f)
	}
	return result.Ratios(res, to, f)
}

func (d *Diff) row(f result.Figure, before, after *result.Result, xs, ys []float64) Row {
	r := Row{Figure: f, Old: before, New: after, Before: result.EstimateOf(xs), After: result.EstimateOf(ys), Least: leastP(len(xs), len(ys))}
	t := benchmath.DefaultThresholds
	t.CompareAlpha = d.Options.Alpha
	// Mann and Whitney's U test: no assumption about how rounds are distributed. It sorts its samples.
	r.P = benchmath.AssumeNothing.Compare(benchmath.NewSample(slices.Clone(xs), &t), benchmath.NewSample(slices.Clone(ys), &t)).P
	r.Verdict = d.judge(&r)
	return r
}

func (d *Diff) judge(r *Row) Verdict {
	change := r.Change()
	worse := change > 0 != r.Figure.More
	switch {
	case r.Least > d.Options.Alpha:
		return FewRounds
	case r.P > d.Options.Alpha, math.IsNaN(change), change == 0:
		return Same
	case r.Figure.Name == result.Allocs.Name && math.Abs(r.After.Value-r.Before.Value) < leastAllocs:
		return Same
	case math.Abs(change) <= d.Options.Worse:
		return Changed
	case worse:
		return Worse
	}
	return Better
}

// leastP is the smallest two-sided P of the U test with samples of n and m values: all of one above all of the other, which is 2 of the n+m over n
// orders.
func leastP(n, m int) float64 {
	orders, _ := new(big.Float).SetInt(new(big.Int).Binomial(int64(n+m), int64(n))).Float64()
	return min(2/orders, 1)
}

func rank(f result.Figure) int {
	return slices.IndexFunc(figures, func(g result.Figure) bool { return g.Name == f.Name })
}

func has(r *result.Report, system string) bool {
	return slices.ContainsFunc(r.Results, func(res result.Result) bool { return res.System == system && len(res.Rounds) > 0 })
}
