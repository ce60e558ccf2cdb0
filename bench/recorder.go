package bench

import (
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/fastrpc/fastrpc/bench/result"
)

// Recorder collects the latencies of one round, for one goroutine. Recording allocates nothing. Three significant figures: below 2,048 ns to
// the nanosecond, above to 0.1 %.
type Recorder struct {
	hist *hdrhistogram.Histogram
	max  time.Duration
}

// NewRecorder makes one without latencies.
func NewRecorder() *Recorder {
	return &Recorder{hist: result.NewHistogram()}
}

// Record takes the latency of one call. One longer than result.LongestLatency counts as that long, except in the maximum, which is exact.
func (r *Recorder) Record(d time.Duration) {
	d = max(d, 0)
	r.max = max(r.max, d)
	_ = r.hist.RecordValue(int64(min(d, result.LongestLatency))) // fails only for values out of the range
}

// Latency gives what was recorded, nil if nothing was. It allocates, so it waits until the measured loop's use was taken.
func (r *Recorder) Latency() *result.Latency { return result.NewLatency(r.hist, r.max) }

// Round counts what was recorded in a loop that took elapsed; without Latency.
func (r *Recorder) Round(elapsed time.Duration) result.Round {
	n := r.hist.TotalCount()
	return result.Round{Ops: n, Seconds: elapsed.Seconds(), PerSec: perSecond(n, elapsed)}
}

// perSecond gives a rate to one decimal.
func perSecond(n int64, elapsed time.Duration) float64 {
	if elapsed <= 0 {
		return 0
	}
	return math.Round(float64(n)/elapsed.Seconds()*10) / 10
}

// add takes all that another one has recorded.
func (r *Recorder) add(o *Recorder) {
	r.hist.Merge(o.hist)
	r.max = max(r.max, o.max)
}
