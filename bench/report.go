package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// Report is a finished comparison. Its JSON form is stable; the results' order is that of Config.Systems.
type Report struct {
	Machine Machine  `json:"machine"`
	Results []Result `json:"results"`
	Notes   []string `json:"notes,omitempty"` // what the reader must know to read the figures
}

// Result is one system's figures.
type Result struct {
	System   string `json:"system"`
	Workload string `json:"workload"` // "latency": closed loop, one call outstanding
	Size     int    `json:"size"`     // payload, bytes

	// AllocsPerOp counts the heap allocations of client and server in the measured loops, by call, the mean of
	// all rounds to three decimals; nil where they were not measured.
	AllocsPerOp *float64 `json:"allocs_per_op"`

	Rounds []Round `json:"rounds"`
	Error  string  `json:"error,omitempty"` // why rounds are missing

	allocs []float64 // by call, of each round
}

func newReport(c *Config, p *place, notes []string) *Report {
	r := &Report{Machine: thisMachine(), Notes: notes}
	r.Machine.Network, r.Machine.Pinning = p.network, p.pinning
	for _, name := range c.Systems {
		res := Result{System: name, Workload: "latency", Size: c.Size, Rounds: []Round{}}
		if s, _ := lookup(name); s.Bypass() && !p.bypass {
			res.Error = "needs AF_XDP, which loopback does not have"
		}
		r.Results = append(r.Results, res)
	}
	return r
}

func (r *Report) add(res *Result, out outcome) {
	res.Rounds = append(res.Rounds, out.round)
	ops := float64(out.round.Ops)
	res.allocs = append(res.allocs, float64(out.client.Mallocs)/ops+float64(out.server.Mallocs)/(ops+settleCalls))
	perOp := math.Round(1e3*mean(res.allocs)) / 1e3
	res.AllocsPerOp = &perOp
	m := &r.Machine
	m.GC.add(&out.server)
	m.GC.add(&out.client)
	m.Driver, m.Queues = out.ready.Driver, out.ready.Queues
	for _, f := range []struct {
		to   *string
		from string
	}{{&m.XDPMode, out.ready.XDPMode}, {&m.ZeroCopy, out.ready.ZeroCopy}, {&m.BusyPoll, out.ready.BusyPoll}} {
		if f.from != "" {
			*f.to = f.from
		}
	}
}

// JSON writes the report, indented, with a final newline.
func (r *Report) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// Table writes the report for people: what was measured where, one line a system (medians over the rounds), and the notes.
func (r *Report) Table(w io.Writer) error {
	m := &r.Machine
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d cores, hypervisor %s, governor %s, kernel %s, %s\n", m.CPU, m.Cores, m.Hypervisor, m.Governor, m.Kernel, m.Go)
	fmt.Fprintf(&b, "%s (driver %s, queues %d, XDP %s, zero-copy %s, busy polling %s); %s\n",
		m.Network, m.Driver, m.Queues, m.XDPMode, m.ZeroCopy, m.BusyPoll, m.Pinning)
	fmt.Fprintf(&b, "steal %.2f %%, %d garbage collections in the measured loops, longest pause %.0f µs\n\n", m.StealPercent, m.GC.Cycles, m.GC.MaxPauseUs)
	if len(r.Results) > 0 {
		fmt.Fprintf(&b, "Round trip of %d bytes, one call outstanding; µs, medians over the rounds\n\n", r.Results[0].Size)
	}
	r.rows(&b)
	for i := range r.Results {
		if res := &r.Results[i]; res.Error != "" {
			fmt.Fprintf(&b, "\n%s: %s", res.System, strings.ReplaceAll(res.Error, "\n", "; "))
		}
	}
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "\nnote: %s", note)
	}
	text := strings.TrimRight(b.String(), "\n") + "\n"
	_, err := io.WriteString(w, text)
	return err
}

func (r *Report) rows(b *strings.Builder) {
	net, ring := r.p50("net-tcp"), r.p50("ring")
	tw := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "system\tp50\tp90\tp99\tp99.9\tmax\tcalls/s\tallocs/op\tp50/net-tcp\tp50/ring\trounds\t")
	for i := range r.Results {
		res := &r.Results[i]
		if len(res.Rounds) == 0 {
			fmt.Fprintf(tw, "%s\t-\t-\t-\t-\t-\t-\t-\t-\t-\t0\t\n", res.System)
			continue
		}
		m := medians(res.Rounds)
		fmt.Fprintf(tw, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.1f\t%.0f\t%s\t%s\t%s\t%d\t\n", res.System, m.P50, m.P90, m.P99, m.P999, m.Max, m.PerSec,
			number3(res.AllocsPerOp), ratio(m.P50, net), ratio(m.P50, ring), len(res.Rounds))
	}
	tw.Flush()
}

// p50 of a system, NaN when it has none.
func (r *Report) p50(system string) float64 {
	for i := range r.Results {
		if r.Results[i].System == system && len(r.Results[i].Rounds) > 0 {
			return medians(r.Results[i].Rounds).P50
		}
	}
	return math.NaN()
}

func ratio(a, b float64) string {
	if math.IsNaN(a) || math.IsNaN(b) || b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3f", a/b)
}

func number3(x *float64) string {
	if x == nil {
		return "-"
	}
	return fmt.Sprintf("%.3f", *x)
}
