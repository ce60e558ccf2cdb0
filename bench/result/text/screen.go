// Package text gives reports as text: tables for people, and the line formats that other tools read.
package text

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/fastrpc/fastrpc/bench/result"
)

// Screen writes the report for people: what was measured where, one line a system (medians over the rounds), and the notes.
func Screen(w io.Writer, r *result.Report) error {
	m := &r.Machine
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d cores, hypervisor %s, governor %s, kernel %s, %s\n", m.CPU, m.Cores, m.Hypervisor, m.Governor, m.Kernel, m.Go)
	fmt.Fprintf(&b, "%s (driver %s, queues %d, XDP %s, zero-copy %s, busy polling %s); %s\n",
		m.Network, m.NIC.Driver, m.NIC.Queues, m.NIC.XDPMode, m.NIC.ZeroCopy, m.NIC.BusyPoll, m.Pinning)
	gcs, pause := collections(r)
	fmt.Fprintf(&b, "steal %.2f %%, %d garbage collections in the measured loops, longest pause %.0f µs\n\n", m.StealPercent, gcs, pause)
	if len(r.Results) > 0 {
		describe(r, &b)
		tables[r.Run.Workload](r, &b)
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

// collections counts the garbage collections in the measured loops, and gives the longest pause, in microseconds.
func collections(r *result.Report) (n uint32, longest float64) {
	for i := range r.Results {
		for j := range r.Results[i].Rounds {
			for _, u := range []*result.Use{&r.Results[i].Rounds[j].Client, &r.Results[i].Rounds[j].Server} {
				n += u.GCs
				longest = max(longest, u.GCMaxPauseUs)
			}
		}
	}
	return n, longest
}

func ratio(a, b float64) string {
	if math.IsNaN(a) || math.IsNaN(b) || b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3f", a/b)
}

func number(format string, x float64) string {
	if math.IsNaN(x) {
		return "-"
	}
	return fmt.Sprintf(format, x)
}
