package text

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/fastrpc/fastrpc/bench/result"
)

// Perftest writes the columns of perftest's ib_send_lat, a table for each system with a line for each size: half of the round trip, as ib_send_lat has it
// (print_report_lat of perftest_parameters.c, where rtt_factor is 2), all rounds together. Two things differ: perftest leaves the two longest calls out,
// while t_max here is the longest; and it counts from one call's start to the next one's.
//
// Only round trips with one call outstanding are what ib_send_lat measures. Others stand as a comment with the reason.
func Perftest(w io.Writer, r *result.Report) error {
	var b strings.Builder
	done := map[string]bool{}
	for i := range r.Results {
		if system := r.Results[i].System; !done[system] {
			done[system] = true
			if err := perftestOf(&b, r, system); err != nil {
				return err
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// HasRoundTrips tells whether a workload measures what ib_send_lat does.
func HasRoundTrips(workload string) bool {
	return slices.Contains([]string{"latency", "sizes", "sessions", "loss"}, workload)
}

const perftestHead = " #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]    t_stdev[usec]   99% percentile[usec]   99.9% percentile[usec]"

func perftestOf(b *strings.Builder, r *result.Report, system string) error {
	headed := false
	for i := range r.Results {
		res := &r.Results[i]
		if res.System != system {
			continue
		}
		if why := noPingPong(r, res); why != "" {
			fmt.Fprintf(b, "# %s: %s\n", label(r, res), strings.ReplaceAll(why, "\n", "; "))
			continue
		}
		h, l, err := res.Merge(result.OfCalls)
		if err != nil {
			return err
		}
		if !headed {
			fmt.Fprintf(b, "# %s: one way, half of the round trip\n%s\n", system, perftestHead)
			headed = true
		}
		fmt.Fprintf(b, " %-7d %-10d     %-10.2f     %-10.2f   %-10.2f         %-10.2f     %-10.2f      %-10.2f             %-10.2f\n",
			res.Point.Size, l.Count, float64(h.Min())/2e3, l.Max/2, l.P50/2, l.Mean/2, l.StdDev/2, l.P99/2, l.P999/2)
	}
	return nil
}

// noPingPong says why a result is none that ib_send_lat has; empty if it is.
func noPingPong(r *result.Report, res *result.Result) string {
	has := slices.ContainsFunc(res.Rounds, func(round result.Round) bool { return round.Latency != nil })
	switch p := res.Point; {
	case len(res.Rounds) == 0:
		return cmp.Or(why(r, res), "not measured")
	case !HasRoundTrips(r.Run.Workload):
		return "workload " + r.Run.Workload + " is no ping-pong"
	case !has:
		return "packets one way, no round trips"
	case p.Outstanding > 1:
		return fmt.Sprintf("%d calls outstanding are no ping-pong", p.Outstanding)
	}
	return ""
}
