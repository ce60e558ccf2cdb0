package result

import (
	"fmt"
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

// Decode gives the histogram that the figures are from, in nanoseconds. An error says that the report does not hold it, or not intact.
func (l *Latency) Decode() (*hdrhistogram.Histogram, error) {
	h, err := hdrhistogram.Decode([]byte(l.Histogram))
	if err != nil {
		return nil, fmt.Errorf("result: histogram: %w", err)
	}
	return h, nil
}
