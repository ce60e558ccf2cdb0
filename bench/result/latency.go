package result

import (
	"fmt"
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The cells of the histograms: nanoseconds, three significant figures. Up to 2,047 ns a cell is a nanosecond wide, above at most 0.1 % of its value.
const (
	LongestLatency     = time.Minute // a longer time counts as this long, except in the maximum, which is exact
	significantFigures = 3
)

// NewHistogram makes an empty histogram with the cells that all histograms of reports have. Recording into it allocates nothing.
func NewHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(LongestLatency), significantFigures)
}

// NewLatency gives the figures of a histogram of nanoseconds, nil if it is empty. longest is the longest time that was recorded, which the
// histogram only knows to its last cell.
func NewLatency(h *hdrhistogram.Histogram, longest time.Duration) *Latency {
	if h.TotalCount() == 0 {
		return nil
	}
	// A histogram answers with the upper end of the cell that holds the value, which may lie above the longest time seen.
	at := func(percentile float64) float64 {
		return float64(min(h.ValueAtPercentile(percentile), int64(longest))) / 1e3
	}
	l := &Latency{
		Count: h.TotalCount(),
		P50:   at(50), P90: at(90), P99: at(99), P999: at(99.9), P9999: at(99.99), P99999: at(99.999),
		Max: float64(longest) / 1e3, Mean: round3(h.Mean() / 1e3), StdDev: round3(h.StdDev() / 1e3),
	}
	b, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		panic(fmt.Sprintf("result: encode a histogram in memory: %v", err))
	}
	l.Histogram = string(b)
	return l
}

// maxEncoded bounds a histogram's text; one with the cells of [NewHistogram], all of them in use, has some 100 kB.
const maxEncoded = 1 << 20

// Decode gives the histogram that the figures are from, in nanoseconds. An error says that the report does not hold it, or not intact.
func (l *Latency) Decode() (*hdrhistogram.Histogram, error) {
	if len(l.Histogram) > maxEncoded {
		return nil, fmt.Errorf("result: a histogram of %d bytes, more than %d", len(l.Histogram), maxEncoded)
	}
	h, err := hdrhistogram.Decode([]byte(l.Histogram))
	if err != nil {
		return nil, fmt.Errorf("result: histogram: %w", err)
	}
	return h, nil
}

// The latencies of a round, for Merge.
var (
	OfCalls       = func(r *Round) *Latency { return r.Latency }
	OfUncorrected = func(r *Round) *Latency { return r.Uncorrected }
	OfPart        = func(name string) func(*Round) *Latency { return func(r *Round) *Latency { return r.Parts[name] } }
)

// Merge gives the distribution of all rounds of the result together, and its figures, whose percentiles are those of all calls, not medians over the
// rounds. Rounds without it are passed over; the histogram is nil where none has it.
func (r *Result) Merge(of func(*Round) *Latency) (*hdrhistogram.Histogram, *Latency, error) {
	all, longest := NewHistogram(), 0.0
	for i := range r.Rounds {
		l := of(&r.Rounds[i])
		if l == nil {
			continue
		}
		h, err := l.Decode()
		if err != nil {
			return nil, nil, fmt.Errorf("round %d of %s: %w", r.Rounds[i].Number, r.System, err)
		}
		if dropped := all.Merge(h); dropped > 0 {
			return nil, nil, fmt.Errorf("round %d of %s: result: %d latencies beyond %v", r.Rounds[i].Number, r.System, dropped, LongestLatency)
		}
		longest = max(longest, l.Max)
	}
	if all.TotalCount() == 0 {
		return nil, nil, nil
	}
	return all, NewLatency(all, time.Duration(math.Round(longest*1e3))), nil
}
