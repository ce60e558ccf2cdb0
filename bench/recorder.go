package bench

import (
	"math"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/fastrpc/fastrpc/bench/result"
)

// Recorder collects the latencies of one round, for one goroutine. Recording allocates nothing. Three significant figures: below 2,048 ns to
// the nanosecond, above to 0.1 %.
//
// It keeps the last few latencies by themselves and then counts them together: the cells are hundreds of KiB, and each look at one that
// others have pushed out of the cache would take longer than all else that the harness does for a call.
type Recorder struct {
	cells  *cells
	recent [64]time.Duration
	n      int // of recent
}

// cells count latencies, for any number of Recorders.
type cells struct {
	mu   sync.Mutex
	hist *hdrhistogram.Histogram
	max  time.Duration
}

// NewRecorder makes one without latencies.
func NewRecorder() *Recorder { return &Recorder{cells: &cells{hist: result.NewHistogram()}} }

// beside makes a Recorder for another goroutine that counts in the same cells.
func (r *Recorder) beside() *Recorder { return &Recorder{cells: r.cells} }

// Record takes the latency of one call. One longer than result.LongestLatency counts as that long, except in the maximum, which is exact.
func (r *Recorder) Record(d time.Duration) {
	r.recent[r.n] = d
	if r.n++; r.n == len(r.recent) {
		r.flush()
	}
}

// flush counts what was kept by itself.
func (r *Recorder) flush() {
	r.cells.mu.Lock()
	for _, d := range r.recent[:r.n] {
		d = max(d, 0)
		r.cells.max = max(r.cells.max, d)
		_ = r.cells.hist.RecordValue(int64(min(d, result.LongestLatency))) // fails only for values out of the range
	}
	r.cells.mu.Unlock()
	r.n = 0
}

// Latency gives what was recorded, by those beside it as far as they have flushed; nil if nothing was. It allocates, so it waits until the
// measured loop's use was taken.
func (r *Recorder) Latency() *result.Latency {
	r.flush()
	return result.NewLatency(r.cells.hist, r.cells.max)
}

// Round counts what was recorded in a loop that took elapsed; without Latency.
func (r *Recorder) Round(elapsed time.Duration) result.Round {
	r.flush()
	n := r.cells.hist.TotalCount()
	return result.Round{Ops: n, Seconds: elapsed.Seconds(), PerSec: perSecond(n, elapsed)}
}

// perSecond gives a rate to one decimal.
func perSecond(n int64, elapsed time.Duration) float64 {
	if elapsed <= 0 {
		return 0
	}
	return math.Round(float64(n)/elapsed.Seconds()*10) / 10
}
