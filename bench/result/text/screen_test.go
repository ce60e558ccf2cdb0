package text

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/bench/result"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// sample is a report with everything in it: several rounds, a failed system, one that was not measured.
func sample() *result.Report {
	round := func(number int, p50, allocs float64) result.Round {
		return result.Round{
			Number: number, Place: 1, Ops: 20000, Seconds: 0.02 * p50, PerSec: 1e6 / p50,
			Latency: &result.Latency{Count: 20000, P50: p50, P90: 2 * p50, P99: 3 * p50, P999: 4 * p50, P9999: 5 * p50, P99999: 6 * p50, Max: 10 * p50, Mean: p50},
			Client:  result.Use{Calls: 20000, UserNs: int64(16e6 * p50), SystemNs: int64(4e6 * p50), Allocs: uint64(allocs * 20000)},
			Server:  result.Use{Calls: 20064, UserNs: int64(16e6 * p50), SystemNs: int64(4e6 * p50), GCs: 1, GCMaxPauseUs: 40.25},
		}
	}
	point := result.Point{Size: 64, Outstanding: 1}
	return &result.Report{
		Schema: result.Schema,
		Machine: result.Machine{
			Date: "2026-01-02T03:04:05Z", Revision: "0123456789abcdef", Go: "go1.26.0 linux/amd64", Kernel: "6.12.0", CPU: "Some CPU", Cores: 2,
			Hypervisor: "none", Governor: "performance", Network: "veth pair between two network namespaces", Pinning: "client on CPU 0, server on CPU 1",
			NIC: result.NIC{Driver: "veth", Queues: 2, XDPMode: "native", ZeroCopy: "no", BusyPoll: "no"}, StealPercent: 0.25,
		},
		Run: result.Run{Workload: "latency", Systems: []string{"ring", "xdp", "xdp-worker", "net-tcp"}, Rounds: 3, Requests: 20000},
		Results: []result.Result{
			{System: "ring", Point: point, Rounds: []result.Round{round(1, 4, 0), round(2, 2, 0), round(3, 3, 0)}},
			{System: "xdp", Point: point, Rounds: []result.Round{round(1, 3.5, 0.125)}, Error: "server: call 7: no echo within 5s"},
			{System: "xdp-worker", Point: point, Rounds: []result.Round{}, Error: "needs AF_XDP, which loopback does not have"},
			{System: "net-tcp", Point: point, Rounds: []result.Round{round(1, 40, 0), round(2, 30, 0), round(3, 35, 0)}},
		},
		Notes: []string{"no lab: missing CAP_NET_RAW"},
	}
}

// sampleLoad is one of another workload: a flood, which has no latencies, and a system that has not the workload.
func sampleLoad(workload string, outstanding, size int, gbit float64) *result.Report {
	r := sample()
	r.Run.Workload, r.Notes = workload, nil
	point := result.Point{Size: size, Outstanding: outstanding}
	round := func(perSec, p50 float64) result.Round {
		x := result.Round{Ops: int64(2 * perSec), Seconds: 2, PerSec: perSec, Gbit: gbit * perSec, Client: result.Use{Calls: 1}, Server: result.Use{Calls: 1}}
		if p50 > 0 {
			x.Latency = &result.Latency{P50: p50, P90: 2 * p50, P99: 3 * p50, P999: 4 * p50, Max: 10 * p50}
		}
		return x
	}
	r.Results = []result.Result{
		{System: "ring", Point: point, Rounds: []result.Round{round(1000, 0), round(1200, 0)}},
		{System: "xdp", Point: point, Rounds: []result.Round{round(1650, 50)}},
		{System: "net-tcp", Point: point, Rounds: []result.Round{round(550, 100)}},
		{System: "spin-tcp", Point: point, Error: "has no workload " + workload},
	}
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

func TestReportTable(t *testing.T) {
	var b bytes.Buffer
	if err := Screen(&b, sample()); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", b.Bytes())
}

func TestLoadReports(t *testing.T) {
	for _, r := range []*result.Report{sampleLoad("rate", 32, 64, 0), sampleLoad("bulk", 1, 8<<20, 0.01)} {
		var b bytes.Buffer
		if err := Screen(&b, r); err != nil {
			t.Fatal(err)
		}
		golden(t, r.Run.Workload+".txt", b.Bytes())
	}
}

// Without one of the two systems that the ratios refer to, the table has no ratio rather than a wrong one.
func TestRatioWithoutReference(t *testing.T) {
	r := sample()
	r.Results = r.Results[1:2]
	var b bytes.Buffer
	if err := Screen(&b, r); err != nil {
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
