package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/bench/result"
)

// reportFile writes a report of one system, whose calls take about us microseconds.
func reportFile(t *testing.T, us float64, change func(*result.Report)) string {
	t.Helper()
	r := &result.Report{Schema: result.Schema, Machine: result.Machine{CPU: "x"}, Run: result.Run{Workload: "latency"}}
	res := result.Result{System: "xdp", Point: result.Point{Size: 64}}
	for i := range 5 {
		res.Rounds = append(res.Rounds, result.Round{Number: i + 1, PerSec: 1, Latency: &result.Latency{P50: us + float64(i)/10, P99: 20}})
	}
	r.Results = append(r.Results, res)
	if change != nil {
		change(r)
	}
	f, err := os.CreateTemp(t.TempDir(), "*.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := r.Write(f); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func TestBenchDiff(t *testing.T) {
	old, other := reportFile(t, 10, nil), func(r *result.Report) { r.Machine.CPU = "y" }
	notes := filepath.Join(t.TempDir(), "notes.json")
	if err := os.WriteFile(notes, []byte(`{"schema": 9, "results": []}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"equal", []string{old, old}, exitOK, "nothing is worse by more than 10.0 %"},
		{"worse", []string{old, reportFile(t, 12, nil)}, exitFailure, "WORSE by more than 10.0 %: p50 of xdp, +19.6 %"},
		{"better", []string{reportFile(t, 12, nil), old}, exitOK, "better"},
		{"a little worse", []string{old, reportFile(t, 10.8, nil)}, exitOK, "+7.8 %"},
		{"more than asked", []string{"--worse", "5%", old, reportFile(t, 10.8, nil)}, exitFailure, "WORSE by more than 5.0 %"},
		{"not probable enough", []string{"--alpha", "0.001", old, reportFile(t, 12, nil)}, exitOK, "too few rounds"},
		{"another machine", []string{old, reportFile(t, 10, other)}, exitUsage, "different machines: cpu is y, was x; --anyway"},
		{"anyway", []string{"--anyway", old, reportFile(t, 10, other)}, exitOK, "note: different machines"},
		{"another workload", []string{"--anyway", old, reportFile(t, 10, func(r *result.Report) { r.Run.Workload = "rate" })}, exitUsage, "latency and rate"},
		{"failed", []string{old, reportFile(t, 10, func(r *result.Report) { r.Results[0].Rounds, r.Results[0].Error = nil, "boom" })}, exitFailure, "FAILED: xdp, which was measured before: boom"},
		{"no such file", []string{old, "/nonexistent"}, exitUsage, "/nonexistent"},
		{"another schema", []string{old, notes}, exitUsage, notes + ": a report of another schema: it has schema 9"},
		{"one file", []string{old}, exitUsage, "accepts 2 arg"},
		{"no share", []string{"--worse", "lots", old, old}, exitUsage, `"lots" is no share; write 5% or 0.05`},
		{"too much", []string{"--worse", "500%", old, old}, exitUsage, "below 100%"},
	} {
		code, out, errOut := fast(t, append([]string{"bench", "diff"}, c.args...)...)
		if code != c.code || !strings.Contains(out+errOut, c.says) {
			t.Errorf("%s: exit code %d, want %d, and %q in\n%s%s", c.name, code, c.code, c.says, out, errOut)
		}
	}
}
