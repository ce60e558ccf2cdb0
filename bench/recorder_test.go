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
	got, l := r.Round(5*time.Second), r.Latency()
	within(t, "p50", l.P50, 5000, 0.001)
	within(t, "p90", l.P90, 9000, 0.001)
	within(t, "p99", l.P99, 9900, 0.001)
	within(t, "p99.9", l.P999, 9990, 0.001)
	if l.Max != 10000 || got.Ops != 10000 || got.Seconds != 5 || got.PerSec != 2000 {
		t.Errorf("max %v, ops %d, seconds %v, rate %v; want 10000, 10000, 5, 2000", l.Max, got.Ops, got.Seconds, got.PerSec)
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
	l := r.Latency()
	for _, c := range []struct {
		name   string
		q, got float64
	}{{"p50", 0.5, l.P50}, {"p90", 0.9, l.P90}, {"p99", 0.99, l.P99}, {"p99.9", 0.999, l.P999}} {
		within(t, c.name+" against theory", c.got, -5*math.Log(1-c.q), 0.05)
		exact := samples[int(math.Ceil(c.q*n))-1]
		within(t, c.name+" against the samples", c.got, float64(exact)/1e3, 0.001)
	}
	if want := float64(samples[n-1]) / 1e3; l.Max != want {
		t.Errorf("max %v, want exactly %v", l.Max, want)
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
	l := r.Latency()
	if l.P50 != 3 && math.Abs(l.P50-3) > 0.003 {
		t.Errorf("p50 %v, want 3", l.P50)
	}
	within(t, "p99", l.P99, 3, 0.001)
	within(t, "p99.9", l.P999, 800, 0.001)
}

func TestRecorderBounds(t *testing.T) {
	r := NewRecorder()
	r.Record(-time.Second)
	r.Record(time.Hour)
	got, l := r.Round(time.Second), r.Latency()
	if got.Ops != 2 {
		t.Errorf("%d calls recorded, want 2: none may be dropped", got.Ops)
	}
	if l.Max != 3600e6 {
		t.Errorf("max %v µs, want an hour", l.Max)
	}
	empty, none := NewRecorder().Round(0), NewRecorder().Latency()
	if empty.Ops != 0 || empty.PerSec != 0 || none != nil {
		t.Errorf("an empty round gives %+v, %+v", empty, none)
	}
}

func TestRecordDoesNotAllocate(t *testing.T) {
	r, d := NewRecorder(), time.Duration(0)
	if n := testing.AllocsPerRun(1000, func() { d += 977; r.Record(d) }); n != 0 {
		t.Errorf("%v allocations a call, want 0", n)
	}
}
