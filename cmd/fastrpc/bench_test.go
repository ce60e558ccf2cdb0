package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The shape that other tools read.
type comparison struct {
	Schema  int            `json:"schema"`
	Machine map[string]any `json:"machine"`
	Run     struct {
		Workload string `json:"workload"`
	} `json:"run"`
	Results []struct {
		System string             `json:"system"`
		Point  map[string]float64 `json:"point"`
		Rounds []map[string]any   `json:"rounds"`
	} `json:"results"`
}

// numberOf finds a number of a round: of its own, else of its latency; 0 if there is none.
func numberOf(round map[string]any, key string) float64 {
	if x, ok := round[key].(float64); ok {
		return x
	}
	latency, _ := round["latency"].(map[string]any)
	x, _ := latency[key].(float64)
	return x
}

func TestBenchCompare(t *testing.T) {
	file := filepath.Join(t.TempDir(), "result.json")
	code, out, errOut := fast(t, "bench", "compare", "--systems", "spin-tcp,net-tcp", "--size", "100", "--requests", "200", "--rounds", "2", "--json", file)
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	for _, want := range []string{"spin-tcp", "net-tcp", "allocs/op", "p50/net-tcp"} {
		if !strings.Contains(out, want) {
			t.Errorf("the table lacks %s:\n%s", want, out)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var c comparison
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Results) != 2 || c.Results[0].System != "spin-tcp" || c.Machine["kernel"] == "" || c.Schema != 1 {
		t.Fatalf("%s", b)
	}
	for _, r := range c.Results {
		if c.Run.Workload != "latency" || r.Point["size"] != 100 || len(r.Rounds) != 2 {
			t.Errorf("%+v", r)
		}
		for _, round := range r.Rounds {
			for _, key := range []string{"p50_us", "p90_us", "p99_us", "p999_us", "max_us", "ops", "seconds", "ops_per_s"} {
				if numberOf(round, key) <= 0 {
					t.Errorf("%s: %s is %v", r.System, key, numberOf(round, key))
				}
			}
		}
	}
}

func TestBenchCompareWorkloads(t *testing.T) {
	for _, test := range []struct {
		args []string
		keys []string
		want string
	}{
		{[]string{"--workload", "rate", "--outstanding", "8"}, []string{"p50_us", "ops", "seconds", "ops_per_s"}, "calls/s"},
		{[]string{"--workload", "bulk", "--size", "100000"}, []string{"p50_us", "ops", "seconds", "ops_per_s", "gbit_per_s"}, "Gbit/s"},
	} {
		args := append([]string{"bench", "compare", "--systems", "net-tcp", "--duration", "50ms", "--rounds", "1", "--json", "-"}, test.args...)
		code, out, errOut := fast(t, args...)
		var c comparison
		if err := json.Unmarshal([]byte(out), &c); code != exitOK || err != nil {
			t.Fatalf("%v: exit code %d, %v: %s", test.args, code, err, errOut)
		}
		if !strings.Contains(errOut, test.want) {
			t.Errorf("the table lacks %s:\n%s", test.want, errOut)
		}
		r := c.Results[0]
		for _, key := range test.keys {
			if c.Run.Workload != test.args[1] || r.Point["outstanding"] == 0 || numberOf(r.Rounds[0], key) <= 0 {
				t.Errorf("%s of %+v is not there", key, r)
			}
		}
	}
}

func TestBenchCompareToStdout(t *testing.T) {
	code, out, errOut := fast(t, "bench", "compare", "--systems", "spin-tcp", "--duration", "20ms", "--rounds", "1", "--json", "-")
	var c comparison
	if err := json.Unmarshal([]byte(out), &c); code != exitOK || err != nil {
		t.Fatalf("exit code %d, %v: %s", code, err, errOut)
	}
	if !strings.Contains(errOut, "p50") || !slices.ContainsFunc(strings.Split(errOut, "\n"), func(l string) bool { return strings.Contains(l, "spin-tcp") }) {
		t.Errorf("the table is not on standard error: %s", errOut)
	}
}

func TestBenchCompareCannotWrite(t *testing.T) {
	code, _, errOut := fast(t, "bench", "compare", "--systems", "spin-tcp", "--requests", "10", "--rounds", "1", "--json", "/nonexistent/x.json")
	if code != exitFailure || !strings.Contains(errOut, "/nonexistent/x.json") {
		t.Errorf("exit code %d, error %q", code, errOut)
	}
}
