package main

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/bench/result"
)

// short is a comparison that takes little time.
func short(args ...string) []string {
	return append([]string{"bench", "compare", "--systems", "spin-tcp,net-tcp", "--requests", "200", "--rounds", "2"}, args...)
}

func TestBenchOutputs(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	code, out, errOut := fast(t, short("--json", at("a.json"), "--csv", at("a.csv"), "--hlog", at("a.hlog"), "--hgrm", at("deep/er"))...)
	if code != exitOK || !strings.Contains(out, "allocs/op") {
		t.Fatalf("exit code %d: %s%s", code, out, errOut)
	}
	r, err := result.Load(at("a.json"))
	if err != nil || len(r.Results) != 2 || len(r.Results[1].Rounds) != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	lines, err := csv.NewReader(strings.NewReader(content(t, at("a.csv")))).ReadAll()
	if err != nil || len(lines) != 5 {
		t.Errorf("%d lines of CSV, %v", len(lines), err)
	}
	if n := strings.Count(content(t, at("a.hlog")), "\nTag="); n != 4 {
		t.Errorf("%d intervals in the log, want 4", n)
	}
	if got := listed(t, at("deep/er")); got != "net-tcp.hgrm spin-tcp.hgrm" {
		t.Errorf("percentiles in %s", got)
	}
	if got := listed(t, dir); got != "a.csv a.hlog a.json deep" {
		t.Errorf("files %s", got)
	}
}

func TestBenchPerftest(t *testing.T) {
	code, out, errOut := fast(t, short("--perftest")...)
	if code != exitOK || strings.Count(out, "t_typical[usec]") != 2 || strings.Contains(out, "allocs/op") {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	code, _, errOut = fast(t, "bench", "compare", "--workload", "rate", "--perftest")
	if code != exitUsage || !strings.Contains(errOut, "workload rate is not") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

// One output that cannot be written takes none of the others along.
func TestBenchFullDisk(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a.json")
	code, out, errOut := fast(t, short("--csv", "/dev/full", "--json", name)...)
	if code != exitFailure || !strings.Contains(errOut, "--csv /dev/full") || !strings.Contains(errOut, "no space left on device") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	if r, err := result.Load(name); err != nil || len(r.Results) != 2 || !strings.Contains(out, "allocs/op") {
		t.Errorf("%v; %s", err, out)
	}
}

// What cannot be written is known before anything is measured, all of it at once, and nothing is left.
func TestBenchUnwritable(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := fast(t, short("--json", filepath.Join(dir, "x"), "--csv", dir, "--hlog", "/nonexistent/x", "--hgrm", filepath.Join(dir, "file"))...)
	if code != exitFailure || out != "" {
		t.Errorf("exit code %d: %s", code, out)
	}
	for _, want := range []string{"--csv: ", "is a directory", "--hlog: /nonexistent/x cannot be written", "--hgrm: ", "not a directory"} {
		if !strings.Contains(errOut, want) {
			t.Errorf("%q does not say %s", errOut, want)
		}
	}
	if got := listed(t, dir); got != "file" {
		t.Errorf("left behind: %s", got)
	}
	code, _, errOut = fast(t, short("--json", "-", "--csv", "-")...)
	if code != exitUsage || !strings.Contains(errOut, "another output has that name") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

// A standard output that is full, or gone, keeps nothing from the files.
func TestBenchFullStandardOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	name := filepath.Join(t.TempDir(), "a.json")
	var errOut strings.Builder
	if code := run(t.Context(), short("--json", name), strings.NewReader(""), full, &errOut); code != exitFailure || !strings.Contains(errOut.String(), "no space left on device") {
		t.Errorf("exit code %d: %s", code, errOut.String())
	}
	if r, err := result.Load(name); err != nil || len(r.Results) != 2 {
		t.Error(err)
	}
}
