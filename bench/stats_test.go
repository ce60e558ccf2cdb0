package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func within(t *testing.T, what string, got, want, relative float64) {
	t.Helper()
	if math.Abs(got-want) > relative*want {
		t.Errorf("%s = %v, want %v within %v %%", what, got, want, 100*relative)
	}
}

// Latencies of 1 to 10,000 µs, once each, in any order: the p-th percentile is p hundreds of µs.
func TestPercentilesOfUniform(t *testing.T) {
	r := NewRecorder()
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(10000) {
		r.Record(time.Duration(i+1) * time.Microsecond)
	}
	got := r.Round(5 * time.Second)
	within(t, "p50", got.P50, 5000, 0.001)
	within(t, "p90", got.P90, 9000, 0.001)
	within(t, "p99", got.P99, 9900, 0.001)
	within(t, "p99.9", got.P999, 9990, 0.001)
	if got.Max != 10000 || got.Ops != 10000 || got.Seconds != 5 || got.PerSec != 2000 {
		t.Errorf("max %v, ops %d, seconds %v, rate %v; want 10000, 10000, 5, 2000", got.Max, got.Ops, got.Seconds, got.PerSec)
	}
}

// Exponential latencies with mean 5 µs: the q-quantile is -ln(1-q) means. Compared also with the sorted samples themselves.
func TestPercentilesOfExponential(t *testing.T) {
	const n = 200000
	r, rng, samples := NewRecorder(), rand.New(rand.NewPCG(3, 4)), make([]time.Duration, n)
	for i := range samples {
		samples[i] = time.Duration(rng.ExpFloat64() * 5000)
		r.Record(samples[i])
	}
	slices.Sort(samples)
	got := r.Round(time.Second)
	for _, c := range []struct {
		name   string
		q, got float64
	}{{"p50", 0.5, got.P50}, {"p90", 0.9, got.P90}, {"p99", 0.99, got.P99}, {"p99.9", 0.999, got.P999}} {
		within(t, c.name+" against theory", c.got, -5*math.Log(1-c.q), 0.05)
		exact := samples[int(math.Ceil(c.q*n))-1]
		within(t, c.name+" against the samples", c.got, float64(exact)/1e3, 0.001)
	}
	if want := float64(samples[n-1]) / 1e3; got.Max != want {
		t.Errorf("max %v, want exactly %v", got.Max, want)
	}
}

// A few slow calls among many must show in the tail and only there.
func TestPercentilesOfTail(t *testing.T) {
	r := NewRecorder()
	for i := range 10000 {
		d := 3 * time.Microsecond
		if i%500 == 0 { // 20 of them: 0.2 %
			d = 800 * time.Microsecond
		}
		r.Record(d)
	}
	got := r.Round(time.Second)
	if got.P50 != 3 && math.Abs(got.P50-3) > 0.003 {
		t.Errorf("p50 %v, want 3", got.P50)
	}
	within(t, "p99", got.P99, 3, 0.001)
	within(t, "p99.9", got.P999, 800, 0.001)
}

func TestRecorderBounds(t *testing.T) {
	r := NewRecorder()
	r.Record(-time.Second)
	r.Record(time.Hour)
	got := r.Round(time.Second)
	if got.Ops != 2 {
		t.Errorf("%d calls recorded, want 2: none may be dropped", got.Ops)
	}
	if got.Max != 3600e6 {
		t.Errorf("max %v µs, want an hour", got.Max)
	}
	empty := NewRecorder().Round(0)
	if empty != (Round{}) {
		t.Errorf("an empty round gives %+v", empty)
	}
}

func TestRecordDoesNotAllocate(t *testing.T) {
	r, d := NewRecorder(), time.Duration(0)
	if n := testing.AllocsPerRun(1000, func() { d += 977; r.Record(d) }); n != 0 {
		t.Errorf("%v allocations a call, want 0", n)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		xs   []float64
		want float64
	}{
		{[]float64{7}, 7},
		{[]float64{9, 1}, 5},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 100, 1, 2}, 3},
	} {
		if got := median(slices.Clone(c.xs)); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.xs, got, c.want)
		}
	}
	if !math.IsNaN(median(nil)) {
		t.Error("the median of nothing is not NaN")
	}
}

func TestMediansAreByFigure(t *testing.T) {
	got := medians([]Round{
		{P50: 3, P99: 10, Max: 50, Ops: 100, PerSec: 9},
		{P50: 1, P99: 30, Max: 70, Ops: 100, PerSec: 7},
		{P50: 2, P99: 20, Max: 60, Ops: 100, PerSec: 8},
	})
	if want := (Round{P50: 2, P99: 20, Max: 60, Ops: 100, PerSec: 8}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
