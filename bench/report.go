package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
)

// Report is a finished comparison. Its JSON form is stable; the results' order is that of Config.Systems.
type Report struct {
	Machine Machine  `json:"machine"`
	Results []Result `json:"results"`
	Notes   []string `json:"notes,omitempty"` // what the reader must know to read the figures
}

// Result is one system's figures.
type Result struct {
	System      string `json:"system"`
	Workload    string `json:"workload"`              // see Workloads
	Outstanding int    `json:"outstanding,omitempty"` // calls at once; left out with Latency, which has one
	Size        int    `json:"size"`                  // payload, bytes

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
		res := Result{System: name, Workload: c.Workload, Size: c.Size, Rounds: []Round{}}
		if c.Workload != Latency {
			res.Outstanding = c.Outstanding
		}
		switch s, _ := Lookup(name); {
		case !has(s, c.Workload):
			res.Error = "has no workload " + c.Workload
		case s.Bypass() && !p.bypass:
			res.Error = "needs AF_XDP, which loopback does not have"
		}
		r.Results = append(r.Results, res)
	}
	return r
}

func (r *Report) add(res *Result, out outcome) {
	res.Rounds = append(res.Rounds, out.round)
	ops := float64(out.round.Ops)
	res.allocs = append(res.allocs, float64(out.client.Mallocs)/ops+float64(out.server.Mallocs)/(ops+float64(out.uncounted)))
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
		r.Results[0].describe(&b)
		tables[r.Results[0].Workload](r, &b)
	}
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
