package bench

import (
	"fmt"
	"math"
	"strings"
	"text/tabwriter"
)

// tables writes the lines of the systems, medians over the rounds, for each workload.
var tables = map[string]func(*Report, *strings.Builder){
	Latency: (*Report).latencyRows,
	Rate:    (*Report).rateRows,
	Bulk:    (*Report).bulkRows,
	Flood:   (*Report).floodRows,
}

// describe says in a line what the table under it shows.
func (r *Result) describe(b *strings.Builder) {
	switch r.Workload {
	case Rate:
		fmt.Fprintf(b, "Calls of %d bytes, %d outstanding from one goroutine; latency in µs, medians over the rounds\n", r.Size, r.Outstanding)
		fmt.Fprint(b, "ring: packets a second that the bare ring receives in a flood one way\n\n")
	case Bulk:
		fmt.Fprintf(b, "Messages of %d bytes one way, %d outstanding; time of a message in µs, medians over the rounds\n", r.Size, r.Outstanding)
		fmt.Fprint(b, "ring: payload of the packets that the bare ring receives in a flood one way, as large as the link takes\n\n")
	case Flood:
		fmt.Fprintf(b, "Packets of %d bytes (IP) in a flood one way; those that arrive, medians over the rounds\n\n", r.Size)
	default:
		fmt.Fprintf(b, "Round trip of %d bytes, one call outstanding; µs, medians over the rounds\n\n", r.Size)
	}
}

func (r *Report) latencyRows(b *strings.Builder) {
	net, ring := r.of("net-tcp").P50, r.of("ring").P50
	r.rows(b, "p50\tp90\tp99\tp99.9\tmax\tcalls/s\tallocs/op\tp50/net-tcp\tp50/ring", func(tw *tabwriter.Writer, m *Round, allocs string) {
		fmt.Fprintf(tw, "%.2f\t%.2f\t%.2f\t%.2f\t%.1f\t%.0f\t%s\t%s\t%s\t", m.P50, m.P90, m.P99, m.P999, m.Max, m.PerSec,
			allocs, ratio(m.P50, net), ratio(m.P50, ring))
	})
}

func (r *Report) rateRows(b *strings.Builder) {
	net, ring := r.of("net-tcp").PerSec, r.of("ring").PerSec
	r.rows(b, "calls/s\tof net-tcp\tof ring\tp50\tp99\tp99.9\tmax\tallocs/op", func(tw *tabwriter.Writer, m *Round, allocs string) {
		fmt.Fprintf(tw, "%.0f\t%s\t%s\t%s\t%s\t", m.PerSec, ratio(m.PerSec, net), ratio(m.PerSec, ring), latencies(m), allocs)
	})
}

func (r *Report) bulkRows(b *strings.Builder) {
	net, ring := r.of("net-tcp").Gbit, r.of("ring").Gbit
	r.rows(b, "Gbit/s\tof net-tcp\tof ring\tmessages/s\tp50\tp99\tp99.9\tmax\tallocs/op", func(tw *tabwriter.Writer, m *Round, allocs string) {
		perSec := "-"
		if m.Max > 0 {
			perSec = fmt.Sprintf("%.0f", m.PerSec)
		}
		fmt.Fprintf(tw, "%.2f\t%s\t%s\t%s\t%s\t%s\t", m.Gbit, ratio(m.Gbit, net), ratio(m.Gbit, ring), perSec, latencies(m), allocs)
	})
}

func (r *Report) floodRows(b *strings.Builder) {
	ring := r.of("ring").PerSec
	r.rows(b, "packets/s\tof ring\tGbit/s", func(tw *tabwriter.Writer, m *Round, _ string) {
		fmt.Fprintf(tw, "%.0f\t%s\t%.2f\t", m.PerSec, ratio(m.PerSec, ring), m.Gbit)
	})
}

// latencies of calls; a flood has none.
func latencies(m *Round) string {
	if m.Max == 0 {
		return "-\t-\t-\t-"
	}
	return fmt.Sprintf("%.1f\t%.1f\t%.1f\t%.1f", m.P50, m.P99, m.P999, m.Max)
}

// rows writes a line for each system: its name, the columns, and the number of rounds.
func (r *Report) rows(b *strings.Builder, columns string, row func(tw *tabwriter.Writer, m *Round, allocs string)) {
	tw := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "system\t%s\trounds\t\n", columns)
	none := strings.Repeat("-\t", strings.Count(columns, "\t")+1)
	for i := range r.Results {
		res := &r.Results[i]
		fmt.Fprintf(tw, "%s\t", res.System)
		if len(res.Rounds) == 0 {
			fmt.Fprint(tw, none)
		} else {
			m := medians(res.Rounds)
			row(tw, &m, number3(res.AllocsPerOp))
		}
		fmt.Fprintf(tw, "%d\t\n", len(res.Rounds))
	}
	tw.Flush()
}

// of gives a system's medians, NaN when it has none.
func (r *Report) of(system string) Round {
	for i := range r.Results {
		if r.Results[i].System == system && len(r.Results[i].Rounds) > 0 {
			return medians(r.Results[i].Rounds)
		}
	}
	return Round{P50: math.NaN(), PerSec: math.NaN(), Gbit: math.NaN()}
}
