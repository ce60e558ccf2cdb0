package page

import (
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
)

var update = flag.Bool("update", false, "write testdata anew")

// The samples are invented: round numbers and smooth distributions, in the form of reports. They are no measurements.
var samples = map[string]func() *result.Report{
	"sample-latency": sampleLatency,
	"sample-open":    sampleOpen,
	"sample-sweep":   sampleSweep,
	"sample-sizes":   sampleSizes,
	"sample-loss":    sampleLoss,
	"sample-anatomy": sampleAnatomy,
}

// TestSamples keeps testdata equal to what is invented here.
func TestSamples(t *testing.T) {
	for name, make := range samples {
		file := filepath.Join("testdata", name+".json")
		f, err := os.CreateTemp(t.TempDir(), name)
		if err != nil {
			t.Fatal(err)
		}
		if err := make().Write(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
		golden(t, file, read(t, f.Name()))
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// golden compares with a file of the tree, or writes it.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := read(t, file); string(want) != string(got) {
		t.Errorf("%s differs from what is made now; if that is meant: go test ./bench/page -update", file)
	}
}

func sampleMachine() result.Machine {
	return result.Machine{
		Date: "2026-01-02T03:04:05Z", Revision: "0123456789ab", Go: "go1.26.0 linux/amd64", GoGC: "GOGC=100", MaxProcs: 2, Kernel: "6.18.0-sample",
		CPU: "Sample CPU", Cores: 2, SMT: "off", Governor: "performance", CStates: "C1", Isolated: "none", NUMANodes: 1, Mitigations: "default",
		Hypervisor: "none", Pinning: "client on CPU 0, server on CPU 1", Network: "veth pair between two network namespaces",
		NIC: result.NIC{Driver: "veth", MTU: 1500, NUMANode: -1, Queues: 2, XDPMode: "native", ZeroCopy: "no", BusyPoll: "no"},
	}
}

// invented is a system with its median in microseconds, how heavy its tail is, and what it costs.
type invented struct {
	name          string
	p50, tail     float64
	client, serve float64 // processor time, µs a call
	knee          float64 // calls a second
}

var inventions = []invented{
	{"ring", 3.8, .05, 3.9, 3.9, 900e3},
	{"xdp", 5.3, .07, 5.4, 5.4, 700e3},
	{"xdp-worker", 6.1, .08, 6.2, 6.4, 520e3},
	{"udp", 11, .10, 11.2, 11.4, 260e3},
	{"spin-tcp", 8.3, .09, 8.4, 8.5, 300e3},
	{"net-tcp", 61, .12, 16, 15, 90e3},
	{"grpc", 92, .16, 48, 51, 38e3},
	{"connect", 118, .18, 66, 70, 30e3},
	{"drpc", 72, .15, 27, 29, 60e3},
	{"kitex", 66, .14, 22, 24, 80e3},
	{"rpcx", 70, .15, 25, 26, 70e3},
	{"arpc", 64, .13, 19, 19, 95e3},
	{"net-rpc", 75, .15, 31, 33, 55e3},
}

func pick(names ...string) []invented {
	var out []invented
	for _, n := range names {
		for _, v := range inventions {
			if v.name == n {
				out = append(out, v)
			}
		}
	}
	return out
}

// distribution draws n times around a median, with one in two hundred slower by several times.
func distribution(rng *rand.Rand, n int, p50, tail float64) *result.Latency {
	h, longest := result.NewHistogram(), time.Duration(0)
	for range n {
		v := p50 * math.Exp(tail*math.Abs(rng.NormFloat64())-tail*.6)
		if rng.IntN(200) == 0 {
			v += p50 * (1 + 3*rng.ExpFloat64())
		}
		if rng.IntN(2000) == 0 {
			v += 20 + 30*rng.ExpFloat64()
		}
		d := time.Duration(v * 1e3)
		longest = max(longest, d)
		_ = h.RecordValue(int64(d))
	}
	return result.NewLatency(h, longest)
}

func (v invented) use(calls int64, cpu float64) result.Use {
	return result.Use{Calls: calls, UserNs: int64(cpu * .6e3 * float64(calls)), SystemNs: int64(cpu * .4e3 * float64(calls)), Allocs: uint64(v.p50 / 4 * float64(calls) / 10),
		AllocBytes: uint64(v.p50 * 6 * float64(calls)), Voluntary: calls / 3, Involuntary: 3}
}

func (v invented) round(number, place, n int, l *result.Latency) result.Round {
	seconds := l.Mean * float64(n) / 1e6
	r := result.Round{Number: number, Place: place, Ops: int64(n), Seconds: math.Round(seconds*1e6) / 1e6, PerSec: math.Round(float64(n) / seconds), Latency: l,
		Client: v.use(int64(n), v.client), Server: v.use(int64(n), v.serve), Network: result.Network{Sent: uint64(n), Received: uint64(n)}}
	return r
}

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

func names(vs []invented) (out []string) {
	for _, v := range vs {
		out = append(out, v.name)
	}
	return out
}

func sampleLatency() *result.Report {
	rng := seeded(1)
	r := &result.Report{Schema: result.Schema, Machine: sampleMachine(), Run: result.Run{Workload: "latency", Rounds: 5, Seed: 1, Requests: 5000, Systems: append(names(inventions), "asavie")},
		Notes: []string{"A sample: these figures are invented."}}
	r.Machine.StealPercent = 2.5
	r.Machine.Advice = []string{"isolate the two CPUs: isolcpus=0,1 on the kernel's command line"}
	for place, v := range inventions {
		res := result.Result{System: v.name, Point: result.Point{Size: 64, Outstanding: 1}}
		for n := 1; n <= 5; n++ {
			res.Rounds = append(res.Rounds, v.round(n, place+1, 5000, distribution(rng, 5000, v.p50, v.tail)))
		}
		r.Results = append(r.Results, res)
	}
	r.Results[5].Error = "round 5: server ended: exit status 1"
	r.Results[5].Rounds = r.Results[5].Rounds[:4]
	r.Results = append(r.Results, result.Result{System: "asavie", Point: result.Point{Size: 64, Outstanding: 1}, Absent: true, Error: "the program fastrpc-peers is not built; run 'make peers'"})
	return r
}

func sampleOpen() *result.Report {
	rng := seeded(2)
	vs := pick("xdp", "udp", "net-tcp", "grpc")
	r := &result.Report{Schema: result.Schema, Machine: sampleMachine(), Run: result.Run{Workload: "open", Rounds: 2, Seed: 2, Seconds: 2, Systems: names(vs)},
		Notes: []string{"A sample: these figures are invented."}}
	server := sampleMachine()
	server.CPU, server.NIC.Driver, server.NIC.XDPMode, server.NIC.ZeroCopy = "Another sample CPU", "ice", "native", "yes"
	r.Server = &server
	r.Server.Advice = []string{"governor performance: cpupower frequency-set -g performance"}
	for place, v := range vs {
		res := result.Result{System: v.name, Point: result.Point{Size: 64, RPS: 20000, Arrivals: "poisson"}}
		for n := 1; n <= 2; n++ {
			round := v.round(n, place+1, 20000, distribution(rng, 20000, v.p50*1.6, v.tail*5))
			round.Uncorrected = distribution(rng, 20000, v.p50, v.tail)
			round.PerSec = 20000
			res.Rounds = append(res.Rounds, round)
		}
		r.Results = append(r.Results, res)
	}
	return r
}

func sampleSweep() *result.Report {
	vs := pick("xdp", "udp", "net-tcp", "grpc", "arpc")
	r := &result.Report{Schema: result.Schema, Machine: sampleMachine(), Run: result.Run{Workload: "sweep", Axis: result.AxisLoad, Rounds: 2, Seed: 3, Seconds: 1, Systems: names(vs)},
		Notes: []string{"A sample: these figures are invented."}}
	for place, v := range vs {
		for _, part := range []float64{.1, .25, .5, .7, .8, .9, 1, 1.1, 1.3} {
			res := result.Result{System: v.name, Point: result.Point{Size: 64, Load: part, Arrivals: "poisson"}}
			for n := 1; n <= 2; n++ {
				queue := 1 / (1 - min(part, .98))
				wait := v.p50 * (1 + .3*queue)
				if part > 1 {
					wait = 2e5 * (part - 1)
				}
				flat := func(p50 float64) *result.Latency {
					return &result.Latency{Count: 100000, P50: p50, P90: p50 * 1.3, P99: p50 * 2, P999: p50 * 4, P9999: p50 * 7, P99999: p50 * 9, Max: p50 * 10, Mean: p50 * 1.1, StdDev: p50 * .2}
				}
				round := v.round(n, place+1, 100000, flat(wait))
				round.Uncorrected = flat(v.p50 * (1 + .1*queue))
				round.Offered, round.PerSec = math.Round(v.knee*part), math.Round(v.knee*min(part, 1.01))
				round.Parts = map[string]*result.Latency{partLate: flat(1)}
				res.Rounds = append(res.Rounds, round)
			}
			r.Results = append(r.Results, res)
		}
	}
	return r
}

func sampleSizes() *result.Report {
	vs := pick("xdp", "udp", "net-tcp", "grpc")
	r := &result.Report{Schema: result.Schema, Machine: sampleMachine(), Run: result.Run{Workload: "sizes", Axis: result.AxisSize, Rounds: 1, Seed: 4, Seconds: 1, Systems: names(vs)},
		Notes: []string{"A sample: these figures are invented."}, Interrupted: "signal: interrupt in round 1 of 3"}
	for place, v := range vs {
		for size := 64; size <= 8<<20; size *= 4 {
			perByte := map[string]float64{"xdp": .0014, "udp": .003, "net-tcp": .0004, "grpc": .0011}[v.name]
			at := v.p50 + float64(size)*perByte
			l := &result.Latency{Count: 5000, P50: at, P90: at * 1.2, P99: at * 1.5, P999: at * 3, P9999: at * 4, P99999: at * 5, Max: at * 5, Mean: at * 1.05, StdDev: at * .1}
			round := v.round(1, place+1, 5000, l)
			round.Gbit = math.Round(round.PerSec*float64(size)*8/1e6) / 1e3
			r.Results = append(r.Results, result.Result{System: v.name, Point: result.Point{Size: size, Outstanding: 1}, Rounds: []result.Round{round}})
		}
	}
	return r
}

func sampleLoss() *result.Report {
	vs := pick("xdp", "udp")
	r := &result.Report{Schema: result.Schema, Machine: sampleMachine(), Run: result.Run{Workload: "loss", Axis: result.AxisLoss, Rounds: 1, Seed: 5, Seconds: 1, Systems: names(vs)},
		Notes: []string{"A sample: these figures are invented."}}
	for place, v := range vs {
		for _, loss := range []float64{0, .0001, .001, .01, .05} {
			l := &result.Latency{Count: 50000, P50: v.p50, P90: v.p50 * 1.1, P99: v.p50 + loss*90000, P999: v.p50*3 + loss*200000, P9999: v.p50*6 + loss*300000, P99999: v.p50*10 + loss*400000, Max: v.p50*10 + loss*400000, Mean: v.p50 + loss*4000, StdDev: 1 + loss*9000}
			round := v.round(1, place+1, 50000, l)
			again := uint64(loss * 50000 * 1.2)
			round.Network.Retransmissions = &again
			if again > 0 {
				round.Network.Drops = map[string]uint64{"on purpose": uint64(loss * 50000)}
			}
			r.Results = append(r.Results, result.Result{System: v.name, Point: result.Point{Size: 64, Outstanding: 1, Loss: loss}, Rounds: []result.Round{round}})
		}
	}
	return r
}

func sampleAnatomy() *result.Report {
	vs := pick("xdp", "udp", "net-tcp")
	r := &result.Report{Schema: result.Schema, Machine: sampleMachine(), Run: result.Run{Workload: "anatomy", Rounds: 1, Seed: 6, Requests: 20000, Systems: names(vs)},
		Notes: []string{"A sample: these figures are invented."}}
	parts := []struct {
		name, side    string
		share, kernel float64
	}{{result.StageSession, result.SideClient, .07, 0}, {result.StageTX, result.SideClient, .12, .8}, {result.StageWire, result.SideWire, .14, 1},
		{result.StageRX, result.SideServer, .09, .5}, {result.StageSession, result.SideServer, .07, 0}, {result.StageHandler, result.SideServer, .02, 0},
		{result.StageSession, result.SideServer, .06, 0}, {result.StageTX, result.SideServer, .12, .8}, {result.StageWire, result.SideWire, .14, 1},
		{result.StageRX, result.SideClient, .09, .5}, {result.StageSession, result.SideClient, .06, 0}, {result.StageApplication, result.SideClient, .02, 0}}
	for place, v := range vs {
		l := &result.Latency{Count: 20000, P50: v.p50, P90: v.p50 * 1.1, P99: v.p50 * 1.4, P999: v.p50 * 4, P9999: v.p50 * 12, P99999: v.p50 * 20, Max: v.p50 * 20, Mean: v.p50 * 1.05, StdDev: 1}
		round := v.round(1, place+1, 20000, l)
		for _, p := range parts {
			took := v.p50 * p.share
			kernel := math.Round(took*p.kernel*1e3) / 1e3
			round.Stages = append(round.Stages, result.Stage{Name: p.name, Side: p.side, P50: math.Round(took*1e3) / 1e3, P99: math.Round(took*1.6e3) / 1e3,
				Mean: math.Round(took*1.05e3) / 1e3, KernelP50: &kernel})
		}
		r.Results = append(r.Results, result.Result{System: v.name, Point: result.Point{Size: 64, Outstanding: 1}, Rounds: []result.Round{round}})
	}
	return r
}
