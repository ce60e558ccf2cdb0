package bench

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// sample is a report with everything in it: several rounds, a failed system, one that was not measured.
func sample() *Report {
	zero, some := 0.0, 0.125
	round := func(p50 float64) Round {
		return Round{P50: p50, P90: 2 * p50, P99: 3 * p50, P999: 4 * p50, Max: 10 * p50, Ops: 20000, Seconds: 0.02 * p50, PerSec: 1e6 / p50}
	}
	return &Report{
		Machine: Machine{
			Date: "2026-01-02T03:04:05Z", Revision: "0123456789abcdef", Go: "go1.26.0 linux/amd64", Kernel: "6.12.0", CPU: "Some CPU", Cores: 2,
			Hypervisor: "none", Governor: "performance", Network: "veth pair between two network namespaces", Driver: "veth", Queues: 2,
			XDPMode: "native", ZeroCopy: "no", BusyPoll: "no", Pinning: "client on CPU 0, server on CPU 1", StealPercent: 0.25,
			GC: GC{Cycles: 3, PauseUs: 90.5, MaxPauseUs: 40.25},
		},
		Results: []Result{
			{System: "ring", Workload: "latency", Size: 64, AllocsPerOp: &zero, Rounds: []Round{round(4), round(2), round(3)}},
			{System: "xdp", Workload: "latency", Size: 64, AllocsPerOp: &some, Rounds: []Round{round(3.5)}, Error: "server: call 7: no echo within 5s"},
			{System: "xdp-worker", Workload: "latency", Size: 64, Rounds: []Round{}, Error: "needs AF_XDP, which loopback does not have"},
			{System: "net-tcp", Workload: "latency", Size: 64, Rounds: []Round{round(40), round(30)}},
		},
		Notes: []string{"no lab: missing CAP_NET_RAW"},
	}
}

// sampleLoad is one of another workload: a flood, which has no latencies, and a system that has not the workload.
func sampleLoad(workload string, outstanding, size int, gbit float64) *Report {
	r := sample()
	allocs := 0.0
	round := func(perSec, p50 float64) Round {
		return Round{P50: p50, P90: 2 * p50, P99: 3 * p50, P999: 4 * p50, Max: 10 * p50, Ops: int64(2 * perSec), Seconds: 2, PerSec: perSec, Gbit: gbit * perSec}
	}
	of := func(system string) Result {
		return Result{System: system, Workload: workload, Outstanding: outstanding, Size: size, AllocsPerOp: &allocs, Rounds: []Round{}}
	}
	ring, xdp, tcp, spin := of("ring"), of("xdp"), of("net-tcp"), of("spin-tcp")
	ring.Rounds, xdp.Rounds, tcp.Rounds = []Round{round(1000, 0), round(1200, 0)}, []Round{round(1650, 50)}, []Round{round(550, 100)}
	spin.AllocsPerOp, spin.Error = nil, "has no workload "+workload
	r.Results, r.Notes = []Result{ring, xdp, tcp, spin}, nil
	return r
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update rewrites it); got:\n%s\nwant:\n%s", file, got, want)
	}
}

func TestReportJSON(t *testing.T) {
	var b bytes.Buffer
	if err := sample().JSON(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", b.Bytes())
}

func TestReportTable(t *testing.T) {
	var b bytes.Buffer
	if err := sample().Table(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", b.Bytes())
}

func TestLoadReports(t *testing.T) {
	for _, r := range []*Report{sampleLoad(Rate, 32, 64, 0), sampleLoad(Bulk, 1, 8<<20, 0.01)} {
		var table, text bytes.Buffer
		if err := errors.Join(r.Table(&table), r.JSON(&text)); err != nil {
			t.Fatal(err)
		}
		golden(t, r.Results[0].Workload+".txt", table.Bytes())
		golden(t, r.Results[0].Workload+".json", text.Bytes())
	}
}

// Without one of the two systems that the ratios refer to, the table has no ratio rather than a wrong one.
func TestRatioWithoutReference(t *testing.T) {
	r := sample()
	r.Results = r.Results[1:2]
	var b bytes.Buffer
	if err := r.Table(&b); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if f := strings.Fields(line); len(f) == 11 && f[0] == "xdp" {
			if f[8] != "-" || f[9] != "-" {
				t.Errorf("ratios %s and %s, want none", f[8], f[9])
			}
			return
		}
	}
	t.Errorf("no row of xdp in\n%s", b.String())
}

func TestAllocsPerOp(t *testing.T) {
	r, res := &Report{}, &Result{}
	r.add(res, outcome{round: Round{Ops: 1000}, client: use{Mallocs: 500}, server: use{Mallocs: 0}})
	r.add(res, outcome{round: Round{Ops: 1000}, client: use{Mallocs: 0}, server: use{Mallocs: 1000 + settleCalls}, uncounted: settleCalls})
	if res.AllocsPerOp == nil || *res.AllocsPerOp != 0.75 {
		t.Errorf("got %v, want the mean of 0.5 and 1", number3(res.AllocsPerOp))
	}
}
