package bench

import (
	"math"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Round is what one run of one system gave: latencies of single calls in microseconds, and the calls' rate. A flood has packets in the
// place of calls, and no latencies.
type Round struct {
	P50     float64 `json:"p50_us,omitempty"`
	P90     float64 `json:"p90_us,omitempty"`
	P99     float64 `json:"p99_us,omitempty"`
	P999    float64 `json:"p999_us,omitempty"`
	Max     float64 `json:"max_us,omitempty"`
	Ops     int64   `json:"ops"`
	Seconds float64 `json:"seconds"`
	PerSec  float64 `json:"ops_per_s"`
	Gbit    float64 `json:"gbit_per_s,omitempty"` // one way: of payload with workload bulk, of whole IP packets with flood
}

// SetBits works out Gbit from the bytes of the round.
func (r *Round) SetBits(bytes int64) {
	if r.Seconds > 0 {
		r.Gbit = math.Round(8*float64(bytes)/r.Seconds/1e6) / 1e3
	}
}

// Recorder collects the latencies of one round, for one goroutine. Recording allocates nothing. Three significant figures: below 2,048 ns to
// the nanosecond, above to 0.1 %.
type Recorder struct {
	hist *hdrhistogram.Histogram
	max  int64
}

// maxLatency is the histogram's end. A longer call counts as this long, except in the maximum, which is exact.
const maxLatency = int64(time.Minute)

// NewRecorder makes one without latencies.
func NewRecorder() *Recorder {
	return &Recorder{hist: hdrhistogram.New(1, maxLatency, 3)}
}

// Record takes the latency of one call.
func (r *Recorder) Record(d time.Duration) {
	ns := max(int64(d), 0)
	r.max = max(r.max, ns)
	_ = r.hist.RecordValue(min(ns, maxLatency)) // fails only for values out of the range
}

// Round is what was recorded in a loop that took elapsed.
func (r *Recorder) Round(elapsed time.Duration) Round {
	us := func(ns int64) float64 { return float64(ns) / 1e3 }
	// A histogram answers with the upper end of the cell that holds the value, which may lie above the largest value seen.
	at := func(p float64) float64 { return us(min(r.hist.ValueAtPercentile(p), r.max)) }
	n := r.hist.TotalCount()
	return Round{
		P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: us(r.max),
		Ops: n, Seconds: elapsed.Seconds(), PerSec: perSecond(n, elapsed),
	}
}

// perSecond gives a rate to one decimal.
func perSecond(n int64, elapsed time.Duration) float64 {
	if elapsed <= 0 {
		return 0
	}
	return math.Round(float64(n)/elapsed.Seconds()*10) / 10
}

// medians gives the median of each figure over the rounds; not of one round, so they need not fit together.
func medians(rounds []Round) Round {
	of := func(get func(*Round) float64) float64 {
		xs := make([]float64, len(rounds))
		for i := range rounds {
			xs[i] = get(&rounds[i])
		}
		return median(xs)
	}
	return Round{
		P50:     of(func(r *Round) float64 { return r.P50 }),
		P90:     of(func(r *Round) float64 { return r.P90 }),
		P99:     of(func(r *Round) float64 { return r.P99 }),
		P999:    of(func(r *Round) float64 { return r.P999 }),
		Max:     of(func(r *Round) float64 { return r.Max }),
		Ops:     int64(of(func(r *Round) float64 { return float64(r.Ops) })),
		Seconds: of(func(r *Round) float64 { return r.Seconds }),
		PerSec:  of(func(r *Round) float64 { return r.PerSec }),
		Gbit:    of(func(r *Round) float64 { return r.Gbit }),
	}
}

// median of xs, which it sorts; of an even number the mean of the middle two; of none NaN.
func median(xs []float64) float64 {
	n := len(xs)
	if n == 0 {
		return math.NaN()
	}
	slices.Sort(xs)
	return (xs[(n-1)/2] + xs[n/2]) / 2
}

func mean(xs []float64) float64 {
	sum := 0.0
	for _, x := range xs {
		sum += x
	}
	return sum / float64(len(xs))
}
