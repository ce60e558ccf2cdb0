package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const sampleReports = "../../bench/page/testdata/"

// TestBenchReport makes a page of two reports, a picture of one, and prints them.
func TestBenchReport(t *testing.T) {
	dir := t.TempDir()
	html, svg := filepath.Join(dir, "report.html"), filepath.Join(dir, "latency.svg")
	code, out, errOut := fast(t, "bench", "report", sampleReports+"sample-latency.json", sampleReports+"sample-sweep.json", "--html", html)
	if code != exitOK || out != "" || errOut != "" {
		t.Fatalf("code %d, out %q, errors %q", code, out, errOut)
	}
	for _, want := range []string{"<!doctype html>", "Latency of one call at a time", "Latency under rising load", "From sample-sweep.json", "</html>"} {
		if !strings.Contains(readFile(t, html), want) {
			t.Errorf("no %q on the page", want)
		}
	}
	code, _, errOut = fast(t, "bench", "report", sampleReports+"sample-latency.json", "--svg", svg)
	if got := readFile(t, svg); code != exitOK || got != readFile(t, sampleReports+"sample-latency.svg") {
		t.Errorf("code %d, errors %q, picture of %d bytes", code, errOut, len(got))
	}
	code, out, _ = fast(t, "bench", "report", sampleReports+"sample-latency.json", sampleReports+"sample-loss.json")
	if code != exitOK || !strings.Contains(out, "net-tcp") || !strings.Contains(out, "\n\n") {
		t.Errorf("code %d, out %q", code, out)
	}
	code, out, _ = fast(t, "bench", "report", sampleReports+"sample-latency.json", "--html", "-")
	if code != exitOK || !strings.HasPrefix(out, "<!doctype html>") {
		t.Errorf("code %d, out %.100q", code, out)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, ".*")); names != nil {
		t.Errorf("left behind: %v", names)
	}
}

// TestBenchReportRefuses names what is wrong, and leaves no half of a file.
func TestBenchReportRefuses(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "old.json")
	if err := os.WriteFile(old, []byte(`{"results":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	svg := filepath.Join(dir, "x.svg")
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{nil, exitUsage, "requires at least 1 arg"},
		{[]string{"/nonexistent.json"}, exitFailure, "/nonexistent.json"},
		{[]string{old}, exitFailure, "measure again"},
		{[]string{sampleReports + "sample-latency.json", "--html", "/nonexistent/x.html"}, exitFailure, "--html /nonexistent/x.html"},
		{[]string{sampleReports + "sample-latency.json", sampleReports + "sample-loss.json", "--svg", svg}, exitUsage, "one report"},
		{[]string{sampleReports + "sample-latency.json", "--svg", svg, "--html", svg}, exitUsage, "name two files"},
	} {
		code, _, errOut := fast(t, append([]string{"bench", "report"}, test.args...)...)
		if code != test.code || !strings.Contains(errOut, test.want) {
			t.Errorf("%v: code %d, %q", test.args, code, errOut)
		}
	}
	if _, err := os.Stat(svg); err == nil {
		t.Error("a picture was written all the same")
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
