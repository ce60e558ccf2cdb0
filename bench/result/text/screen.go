// Package text gives reports as text: tables for people, and the line formats that other tools read.
package text

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/fastrpc/fastrpc/bench/result"
)

// Screen writes the report for people: what was measured where, a line for each system with the medians over its rounds, best first, and what is
// missing, and why.
func Screen(w io.Writer, r *result.Report) error {
	var b strings.Builder
	header(&b, r)
	table(&b, r)
	anatomies(&b, r)
	lines := append(failures(r), warnings(r)...)
	for _, note := range r.Notes {
		lines = append(lines, "note: "+note)
	}
	if r.Interrupted != "" {
		lines = append(lines, "interrupted: "+r.Interrupted+"; what was measured until then is above")
	}
	if len(lines) > 0 {
		b.WriteByte('\n')
	}
	for _, line := range lines {
		b.WriteString(strings.ReplaceAll(line, "\n", "; ") + "\n")
	}
	_, err := io.WriteString(w, strings.TrimLeft(b.String(), "\n"))
	return err
}

// shownAdvice is how many pieces of advice have room on the screen; the JSON has all.
const shownAdvice = 3

func header(b *strings.Builder, r *result.Report) {
	m := &r.Machine
	who := ""
	if r.Server != nil {
		who = "client: "
	}
	machine(b, who, m)
	if r.Server != nil {
		machine(b, "server: ", r.Server)
	}
	if m.Network != "" || m.Pinning != "" {
		n := &m.NIC
		fmt.Fprintf(b, "%s (driver %s, queues %d, XDP %s, zero-copy %s, busy polling %s); %s\n",
			m.Network, orUnknown(n.Driver), n.Queues, orUnknown(n.XDPMode), orUnknown(n.ZeroCopy), orUnknown(n.BusyPoll), m.Pinning)
	}
	gcs, pause := collections(r)
	fmt.Fprintf(b, "steal %.2f %%, %d garbage collections in the measured loops, longest pause %.0f µs\n", m.StealPercent, gcs, pause)
	for i, advice := range m.Advice {
		if i == shownAdvice {
			fmt.Fprintf(b, "advice: %d more in the JSON\n", len(m.Advice)-i)
			break
		}
		fmt.Fprintf(b, "advice: %s\n", advice)
	}
}

func machine(b *strings.Builder, who string, m *result.Machine) {
	fmt.Fprintf(b, "%s%s, %d cores, hypervisor %s, governor %s, kernel %s, %s\n", who, orUnknown(m.CPU), m.Cores, orUnknown(m.Hypervisor),
		orUnknown(m.Governor), orUnknown(m.Kernel), m.Go)
	for _, r := range m.RDMA {
		fmt.Fprintf(b, "%sRDMA %v\n", who, r)
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
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

// failures names the systems that lack rounds, with the reason, those with the same reason together.
func failures(r *result.Report) []string {
	points := map[string]int{} // of a system
	alike := map[[2]string]int{}
	for i := range r.Results {
		points[r.Results[i].System]++
		alike[[2]string{r.Results[i].System, why(r, &r.Results[i])}]++
	}
	var reasons []string
	names := map[string][]string{}
	for i := range r.Results {
		res := &r.Results[i]
		reason := why(r, res)
		if reason == "" {
			continue
		}
		name := label(r, res)
		switch n, of := alike[[2]string{res.System, reason}], points[res.System]; {
		case n == of:
			name = res.System
		case n > 2:
			name = fmt.Sprintf("%s at %d of %d points", res.System, n, of)
		}
		if names[reason] == nil {
			reasons = append(reasons, reason)
		}
		if !slices.Contains(names[reason], name) {
			names[reason] = append(names[reason], name)
		}
	}
	lines := make([]string, len(reasons))
	for i, reason := range reasons {
		lines[i] = strings.Join(names[reason], ", ") + ": " + reason
	}
	return lines
}

// why a result lacks rounds; empty if it does not.
func why(r *result.Report, res *result.Result) string {
	switch n := len(res.Rounds); {
	case res.Error == "":
		return ""
	case res.Absent:
		return "missing: " + res.Error
	case n > 0:
		return fmt.Sprintf("%d of %d rounds: %s", n, r.Run.Rounds, res.Error)
	}
	return res.Error
}

func warnings(r *result.Report) []string {
	w := r.StealWarning(func(res *result.Result) string { return label(r, res) })
	if w == "" {
		return nil
	}
	return []string{"warning: " + w}
}
