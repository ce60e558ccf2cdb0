package text

import (
	"fmt"
	"math"
	"strings"
	"text/tabwriter"

	"github.com/fastrpc/fastrpc/bench/result"
)

// tables writes the lines of the systems, medians over the rounds, for each workload.
var tables = map[string]func(*result.Report, *strings.Builder){
	"latency": latencyRows,
	"rate":    rateRows,
	"bulk":    bulkRows,
	"flood":   floodRows,
}

// describe says in a line what the table under it shows.
func describe(r *result.Report, b *strings.Builder) {
	at := r.Results[0].Point
	switch r.Run.Workload {
	case "rate":
		fmt.Fprintf(b, "Calls of %d bytes, %d outstanding from one goroutine; latency in µs, medians over the rounds\n", at.Size, at.Outstanding)
		fmt.Fprint(b, "ring: packets a second that the bare ring receives in a flood one way\n\n")
	case "bulk":
		fmt.Fprintf(b, "Messages of %d bytes one way, %d outstanding; time of a message in µs, medians over the rounds\n", at.Size, at.Outstanding)
		fmt.Fprint(b, "ring: payload of the packets that the bare ring receives in a flood one way, as large as the link takes\n\n")
	case "flood":
		fmt.Fprintf(b, "Packets of %d bytes (IP) in a flood one way; those that arrive, medians over the rounds\n\n", at.Size)
	default:
		fmt.Fprintf(b, "Round trip of %d bytes, one call outstanding; µs, medians over the rounds\n\n", at.Size)
	}
}

func latencyRows(r *result.Report, b *strings.Builder) {
	net, ring := of(r, "net-tcp", result.P50), of(r, "ring", result.P50)
	rows(r, b, "p50\tp90\tp99\tp99.9\tmax\tcalls/s\tallocs/op\tp50/net-tcp\tp50/ring", func(tw *tabwriter.Writer, m *result.Result) {
		p50 := m.Median(result.P50)
		fmt.Fprintf(tw, "%.2f\t%.2f\t%.2f\t%.2f\t%.1f\t%.0f\t%s\t%s\t%s\t", p50, m.Median(result.P90), m.Median(result.P99),
			m.Median(result.P999), m.Median(result.Max), m.Median(result.PerSec), number("%.3f", m.Median(result.Allocs)), ratio(p50, net), ratio(p50, ring))
	})
}

func rateRows(r *result.Report, b *strings.Builder) {
	net, ring := of(r, "net-tcp", result.PerSec), of(r, "ring", result.PerSec)
	rows(r, b, "calls/s\tof net-tcp\tof ring\tp50\tp99\tp99.9\tmax\tallocs/op", func(tw *tabwriter.Writer, m *result.Result) {
		rate := m.Median(result.PerSec)
		fmt.Fprintf(tw, "%.0f\t%s\t%s\t%s\t%s\t", rate, ratio(rate, net), ratio(rate, ring), latencies(m), number("%.3f", m.Median(result.Allocs)))
	})
}

func bulkRows(r *result.Report, b *strings.Builder) {
	net, ring := of(r, "net-tcp", result.Gbit), of(r, "ring", result.Gbit)
	rows(r, b, "Gbit/s\tof net-tcp\tof ring\tmessages/s\tp50\tp99\tp99.9\tmax\tallocs/op", func(tw *tabwriter.Writer, m *result.Result) {
		perSec := "-"
		if !math.IsNaN(m.Median(result.Max)) {
			perSec = fmt.Sprintf("%.0f", m.Median(result.PerSec))
		}
		gbit := m.Median(result.Gbit)
		fmt.Fprintf(tw, "%.2f\t%s\t%s\t%s\t%s\t%s\t", gbit, ratio(gbit, net), ratio(gbit, ring), perSec, latencies(m), number("%.3f", m.Median(result.Allocs)))
	})
}

func floodRows(r *result.Report, b *strings.Builder) {
	ring := of(r, "ring", result.PerSec)
	rows(r, b, "packets/s\tof ring\tGbit/s", func(tw *tabwriter.Writer, m *result.Result) {
		rate := m.Median(result.PerSec)
		fmt.Fprintf(tw, "%.0f\t%s\t%.2f\t", rate, ratio(rate, ring), m.Median(result.Gbit))
	})
}

// latencies of calls; a flood has none.
func latencies(m *result.Result) string {
	var b strings.Builder
	for i, f := range []result.Figure{result.P50, result.P99, result.P999, result.Max} {
		if i > 0 {
			b.WriteByte('\t')
		}
		b.WriteString(number("%.1f", m.Median(f)))
	}
	return b.String()
}

// rows writes a line for each system: its name, the columns, and the number of rounds.
func rows(r *result.Report, b *strings.Builder, columns string, row func(tw *tabwriter.Writer, m *result.Result)) {
	tw := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "system\t%s\trounds\t\n", columns)
	none := strings.Repeat("-\t", strings.Count(columns, "\t")+1)
	for i := range r.Results {
		res := &r.Results[i]
		fmt.Fprintf(tw, "%s\t", res.System)
		if len(res.Rounds) == 0 {
			fmt.Fprint(tw, none)
		} else {
			row(tw, res)
		}
		fmt.Fprintf(tw, "%d\t\n", len(res.Rounds))
	}
	tw.Flush()
}

// of gives a system's median, NaN when it has none.
func of(r *result.Report, system string, f result.Figure) float64 {
	for i := range r.Results {
		if r.Results[i].System == system {
			return r.Results[i].Median(f)
		}
	}
	return math.NaN()
}
