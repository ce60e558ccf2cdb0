package result

import (
	"math"
	"testing"
)

func TestFigures(t *testing.T) {
	r := Round{
		Seconds: 2, PerSec: 50, Latency: &Latency{Count: 100_000, P50: 1, P90: 2, P99: 3, P999: 4, P9999: 5, P99999: 6, Max: 7, Mean: 8, StdDev: 9},
		Uncorrected: &Latency{Count: 100, P99: 0.5}, Parts: map[string]*Latency{"first": {Count: 2, P50: 77}},
		Client: Use{Calls: 100, UserNs: 2e5, SystemNs: 3e5, Allocs: 50, AllocBytes: 1000},
		Server: Use{Calls: 200, UserNs: 1e6, Allocs: 200, AllocBytes: 600},
	}
	r.SetBits(1e9)
	for _, c := range []struct {
		f    Figure
		want float64
	}{
		{P50, 1}, {P90, 2}, {P99, 3}, {P999, 4}, {P9999, 5}, {P99999, 6}, {Max, 7}, {Mean, 8}, {StdDev, 9}, {PerSec, 50}, {Gbit, 4},
		{ClientCPU, 5}, {ServerCPU, 5}, {CPU, 10}, {Allocs, 1.5}, {AllocBytes, 13}, {ClientBusy, 0.025}, {ServerBusy, 0.05},
		{Uncorrected(P99), 0.5}, {Part("first", P50), 77},
	} {
		if got := c.f.Of(&r); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%s is %v, want %v", c.f.Name, got, c.want)
		}
		if c.f.Name == "Gbit/s" || c.f.Name == "calls/s" {
			continue
		}
		if got := c.f.Of(&Round{}); !math.IsNaN(got) {
			t.Errorf("%s of a round without it is %v", c.f.Name, got)
		}
	}
	// A server that spins while the client makes itself ready is busy all of the time, and no more than that.
	r.Server = Use{Calls: 100, Seconds: 3, UserNs: 3e9}
	if got := ServerBusy.Of(&r); got != 100 {
		t.Errorf("the server took %v %% of a CPU, want 100", got)
	}
	if Part("first", P50).Name != "first p50" {
		t.Error(Part("first", P50).Name)
	}
}

// Each column is the median of its own figure, and rounds without it do not count.
func TestMediansAreByFigure(t *testing.T) {
	r := Result{Rounds: []Round{
		{PerSec: 9, Latency: &Latency{P50: 3, P99: 10}}, {PerSec: 7, Latency: &Latency{P50: 1, P99: 30}}, {PerSec: 8, Latency: &Latency{P50: 2, P99: 20}}, {PerSec: 1},
	}}
	if r.Median(P50) != 2 || r.Median(P99) != 20 || r.Median(PerSec) != 7.5 || !math.IsNaN(r.Median(Gbit)) {
		t.Errorf("%v, %v, %v, %v", r.Median(P50), r.Median(P99), r.Median(PerSec), r.Median(Gbit))
	}
}

func TestFind(t *testing.T) {
	r := Report{Results: []Result{{System: "a", Point: Point{Size: 1}}, {System: "a", Point: Point{Size: 2}}}}
	if got := r.Find("a", Point{Size: 2}); got != &r.Results[1] {
		t.Errorf("%+v", got)
	}
	if got := r.Find("b", Point{Size: 2}); got != nil {
		t.Errorf("%+v", got)
	}
}

// A percentile is unknown when no whole call is beyond it.
func TestPercentileOfTooFew(t *testing.T) {
	for _, c := range []struct {
		figure Figure
		calls  int64
		known  bool
	}{{P50, 1, false}, {P50, 2, true}, {P99, 99, false}, {P99, 100, true}, {P9999, 9_999, false}, {P9999, 10_000, true}, {P99999, 100_000, true}, {Max, 1, true}} {
		r := Round{Latency: &Latency{Count: c.calls, P50: 1, P99: 2, P9999: 3, P99999: 4, Max: 5}}
		if got := c.figure.Of(&r); math.IsNaN(got) == c.known {
			t.Errorf("%s of %d calls is %v", c.figure.Name, c.calls, got)
		}
	}
}
