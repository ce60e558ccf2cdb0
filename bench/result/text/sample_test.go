package text

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

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

// latency has 970 calls that take us microseconds, 20 that take three times as long, 9 ten times and 1 a hundred times as long.
func latency(us float64) *result.Latency {
	h := result.NewHistogram()
	at := func(times float64, n int64) time.Duration {
		d := time.Duration(us * times * 1e3)
		_ = h.RecordValues(int64(d), n)
		return d
	}
	at(1, 970)
	at(3, 20)
	at(10, 9)
	return result.NewLatency(h, at(100, 1))
}

// rounds of a system whose calls take us microseconds, in one round more than in the other.
func roundsOf(us, allocs float64, n int) []result.Round {
	out := []result.Round{}
	for i := range n {
		slow := us * (1 + 0.1*float64((i*3+int(us))%5))
		out = append(out, result.Round{
			Number: i + 1, Place: 1 + i%2, Ops: 1000, Seconds: slow / 1e3, PerSec: 1e6 / slow, Latency: latency(slow), Steal: 0.1,
			Client: result.Use{Calls: 1000, UserNs: int64(8e5 * slow), SystemNs: int64(2e5 * slow), Allocs: uint64(1000 * allocs)},
			Server: result.Use{Calls: 1064, UserNs: int64(5e5 * slow), SystemNs: int64(5.64e5 * slow), GCs: 1, GCPauseUs: 40.25, GCMaxPauseUs: 40.25},
		})
	}
	return out
}

func machineOf(cpu string) result.Machine {
	return result.Machine{
		Date: "2026-01-02T03:04:05Z", Revision: "0123456789abcdef", Go: "go1.26.0 linux/amd64", Kernel: "6.12.0", CPU: cpu, Cores: 2,
		Hypervisor: "none", Governor: "performance", Network: "veth pair between two network namespaces", Pinning: "client on CPU 0, server on CPU 1",
		NIC: result.NIC{Driver: "veth", Queues: 2, XDPMode: "native", ZeroCopy: "no", BusyPoll: "no"}, StealPercent: 0.02,
	}
}

// sample has everything in it: several rounds, a system that failed on the way, one that is not there, and two without the workload.
func sample() *result.Report {
	at := result.Point{Size: 64, Outstanding: 1}
	return &result.Report{
		Schema: result.Schema, Machine: machineOf("Some CPU"),
		Run: result.Run{Workload: "latency", Systems: []string{"net-tcp", "xdp", "ring", "udp", "grpc", "a", "b"}, Rounds: 5, Requests: 1000},
		Results: []result.Result{
			{System: "net-tcp", Point: at, Rounds: roundsOf(40, 0, 5)},
			{System: "xdp", Point: at, Rounds: roundsOf(5, 0.125, 5)},
			{System: "ring", Point: at, Rounds: roundsOf(3, 0, 5)},
			{System: "udp", Point: at, Rounds: roundsOf(30, 0, 2), Error: "server: call 7:\nno echo within 5s"},
			{System: "grpc", Point: at, Rounds: []result.Round{}, Error: "fastrpc-peers is not built; 'make peers' builds it", Absent: true},
			{System: "a", Point: at, Rounds: []result.Round{}, Error: "has no workload latency"},
			{System: "b", Point: at, Rounds: []result.Round{}, Error: "has no workload latency"},
		},
		Notes: []string{"no lab: missing CAP_NET_RAW"},
	}
}

// loaded is one of another workload: the ring's flood, which has no latencies, and two systems.
func loaded(workload string, at result.Point, gbit float64) *result.Report {
	r := sample()
	r.Run.Workload, r.Run.Rounds, r.Run.Systems, r.Notes = workload, 5, []string{"ring", "xdp", "net-tcp"}, nil
	r.Results = []result.Result{
		{System: "ring", Point: at, Rounds: roundsOf(0.5, 0, 5)},
		{System: "xdp", Point: at, Rounds: roundsOf(0.2, 0, 5)},
		{System: "net-tcp", Point: at, Rounds: roundsOf(3, 0, 5)},
	}
	for i := range r.Results {
		for j := range r.Results[i].Rounds {
			round := &r.Results[i].Rounds[j]
			round.Gbit = gbit * round.PerSec
			if i == 0 {
				round.Latency = nil
			}
		}
	}
	return r
}

// along is one that goes along an axis, where ring ends early.
func along(workload string, axis result.Axis, points ...result.Point) *result.Report {
	r := sample()
	r.Run.Workload, r.Run.Axis, r.Notes, r.Results = workload, axis, nil, nil
	for i, p := range points {
		for j, name := range []string{"net-tcp", "xdp", "ring"} {
			res := result.Result{System: name, Point: p, Rounds: []result.Round{}}
			if name == "ring" && i > 0 {
				res.Error = "has no packets of several buffers"
			} else {
				res.Rounds = roundsOf(float64(30-10*j)*(1+float64(i)), 0, 3)
			}
			for k := range res.Rounds {
				round := &res.Rounds[k]
				round.Uncorrected, round.Offered = latency(1), 1e5*p.Load
				round.Parts = map[string]*result.Latency{"first": latency(7 * float64(i+1))}
				for l, part := range []string{"dial", "call", "close", "bulk", "late"} {
					if workload == "churn" && l < 3 || workload == "mixed" && l == 3 || (workload == "open" || workload == "sweep") && l == 4 {
						round.Parts[part] = latency(float64(2 * (l + 1)))
					}
				}
			}
			r.Results = append(r.Results, res)
		}
	}
	return r
}
