package text

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/fastrpc/fastrpc/bench/result"
)

// widestGrid is how many points of an axis stand side by side; more, or other ones for each system, stand below each other.
const widestGrid = 12

// table writes what was measured as the workload has it.
func table(b *strings.Builder, r *result.Report) {
	if len(r.Results) == 0 {
		return
	}
	l := layoutOf(r)
	fmt.Fprintf(b, "\n%s\nmedians of %s, times in µs", l.title, plural(r.Run.Rounds, "round"))
	points := pointsOf(r)
	switch {
	case r.Run.Axis == result.AxisNone || len(points) == 1:
		l.list(b, r, l.columns)
	case len(points) > widestGrid:
		l.list(b, r, l.along)
	default:
		b.WriteByte('\n')
		for _, f := range l.along {
			grid(b, &l, r, points, f)
		}
	}
	if k := knees(r, l.order(r)); k != "" {
		b.WriteString("\n" + k)
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// pointsOf lists the points of a report in the order in which they first occur.
func pointsOf(r *result.Report) []result.Point {
	var points []result.Point
	for i := range r.Results {
		if p := r.Results[i].Point; !slices.Contains(points, p) {
			points = append(points, p)
		}
	}
	return points
}

// list writes a line for each system and point that was measured: figures that any has, and the main figure's ratio to the references.
func (l *layout) list(b *strings.Builder, r *result.Report, columns figures) {
	ordered := slices.DeleteFunc(l.order(r), func(res *result.Result) bool { return len(res.Rounds) == 0 })
	if len(ordered) == 0 {
		b.WriteByte('\n')
		return
	}
	columns = slices.DeleteFunc(slices.Clone(columns), func(f result.Figure) bool {
		return !slices.ContainsFunc(ordered, func(res *result.Result) bool { return !math.IsNaN(res.Median(f)) })
	})
	var refs []string
	for _, name := range references {
		if slices.ContainsFunc(ordered, func(res *result.Result) bool { return res.System == name }) {
			refs = append(refs, name)
		}
	}
	if r.Run.Rounds >= result.LeastRounds && len(refs) > 0 {
		fmt.Fprintf(b, "; ratios with %.0f %% intervals", 100*result.Confidence)
	}
	b.WriteString("\n\n")
	tw := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(tw, "system\t")
	for _, f := range columns {
		fmt.Fprintf(tw, "%s\t", f.Name)
	}
	for _, name := range refs {
		if l.main.More {
			fmt.Fprintf(tw, "of %s\t", name)
		} else {
			fmt.Fprintf(tw, "%s/%s\t", l.main.Name, name)
		}
	}
	fmt.Fprintln(tw)
	for _, res := range ordered {
		fmt.Fprintf(tw, "%s\t", label(r, res))
		for _, f := range columns {
			fmt.Fprintf(tw, "%s\t", number(res.Median(f)))
		}
		for _, name := range refs {
			to := reference(r, name, res.Point)
			if to == res {
				fmt.Fprint(tw, "1\t")
				continue
			}
			fmt.Fprintf(tw, "%s\t", ratio(result.Ratio(res, to, l.main)))
		}
		fmt.Fprintln(tw)
	}
	tw.Flush()
}

// reference finds a system's result at a point, or its only one.
func reference(r *result.Report, system string, at result.Point) *result.Result {
	if res := r.Find(system, at); res != nil {
		return res
	}
	var only *result.Result
	for i := range r.Results {
		if res := &r.Results[i]; res.System == system {
			if only != nil {
				return nil
			}
			only = res
		}
	}
	return only
}

// grid writes a figure along the axis, a line for each system.
func grid(b *strings.Builder, l *layout, r *result.Report, points []result.Point, f result.Figure) {
	var systems []string // that have it anywhere
	for _, res := range l.order(r) {
		if !math.IsNaN(res.Median(f)) && !slices.Contains(systems, res.System) {
			systems = append(systems, res.System)
		}
	}
	if len(systems) == 0 {
		return
	}
	unit := ""
	if f.Unit == "%" {
		unit = ", % of a CPU"
	}
	fmt.Fprintf(b, "\n%s%s\n", f.Name, unit)
	tw := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(tw, "system\t")
	for _, p := range points {
		fmt.Fprintf(tw, "%s\t", OnAxis(r.Run.Axis, p))
	}
	fmt.Fprintln(tw)
	for _, system := range systems {
		fmt.Fprintf(tw, "%s\t", system)
		for _, p := range points {
			cell := "-"
			if res := r.Find(system, p); res != nil {
				cell = number(res.Median(f))
			}
			fmt.Fprintf(tw, "%s\t", cell)
		}
		fmt.Fprintln(tw)
	}
	tw.Flush()
}

// order puts the best first, whoever it is, and what has no figures last. Along an axis a system's first point decides, and its points stay together.
func (l *layout) order(r *result.Report) []*result.Result {
	key, out := map[*result.Result]float64{}, []*result.Result{}
	ofSystem := map[string]float64{}
	for i := range r.Results {
		res := &r.Results[i]
		x := res.Median(l.main)
		if l.main.More {
			x = -x
		}
		if math.IsNaN(x) {
			x = math.Inf(1)
		}
		if first, ok := ofSystem[res.System]; ok && r.Run.Axis != result.AxisNone {
			x = first
		} else if !math.IsInf(x, 1) {
			ofSystem[res.System] = x
		}
		key[res] = x
		out = append(out, res)
	}
	slices.SortStableFunc(out, func(a, b *result.Result) int { return cmp.Compare(key[a], key[b]) })
	return out
}

// label names a result in a report: its system, and what tells it from the system's others.
func label(r *result.Report, res *result.Result) string {
	at := OnAxis(r.Run.Axis, res.Point)
	for i := range r.Results {
		if other := &r.Results[i]; other.System == res.System && other.Point.Blocking != res.Point.Blocking && res.Point.Blocking {
			at += " blocking"
		}
	}
	return strings.TrimSpace(res.System + " " + at)
}
