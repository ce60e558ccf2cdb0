package page

import (
	"math"
	"strconv"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/fastrpc/fastrpc/bench/result"
)

// percentileFigure draws the distributions of the calls' time, one curve a system: over the share of calls that took at most so long, spread
// out towards the end as HdrHistogram's plotter does, since that is where systems differ.
func (s *section) percentileFigure(id, title, caption string, rs []*result.Result) {
	var all []spectrum
	for _, r := range rs {
		if v, ok := merge(r, result.OfCalls); ok {
			v.key = s.keys.of(r.System)
			all = append(all, v)
		}
		if v, ok := merge(r, result.OfUncorrected); ok {
			v.key, v.ghost = s.keys.of(r.System), true
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return
	}
	samples, coarse := 0.0, false
	for _, v := range all {
		samples = max(samples, float64(v.count))
		coarse = coarse || v.histogram == nil
	}
	x := ninesTo(samples)
	l := lines{id: id, title: title, x: axis{name: "calls that took at most so long", linear: x, logScale: x}, samples: quantiles(x.max)}
	var ys []float64
	for _, v := range all {
		c := v.curve(l.samples)
		for _, p := range c.points {
			ys = append(ys, p.y)
		}
		l.curves = append(l.curves, c)
	}
	l.y = latencyAxis("latency", ys)
	l.desc = "Curves of latency over percentiles. " + endings(all)
	if coarse {
		caption += " Where the report holds no histogram, straight lines join the percentiles that it has."
	}
	s.add(figure{ID: id, Title: title, Caption: caption, Full: true, Data: newStops(l, percentile)}, l)
}

// spectrum is one distribution of a system, of all rounds together.
type spectrum struct {
	key       key
	system    string
	ghost     bool
	count     int64
	max       float64
	histogram *hdrhistogram.Histogram // nil where a round lacks its own
	at        []point                 // instead of the histogram: quantiles and medians over the rounds
}

// merge joins the rounds' distributions. Without a histogram of each, it has the medians of their percentiles instead.
func merge(r *result.Result, of func(*result.Round) *result.Latency) (v spectrum, ok bool) {
	v.system = r.System
	for i := range r.Rounds {
		if l := of(&r.Rounds[i]); l != nil && l.Count > 0 {
			v.count += l.Count
			v.max = max(v.max, l.Max)
		}
	}
	if v.count == 0 {
		return v, false
	}
	h, _, err := r.Merge(of)
	if err == nil && h != nil {
		v.histogram, v.count = h, h.TotalCount()
		return v, true
	}
	for _, q := range latencyQuantiles {
		f := q.of
		y := r.Median(result.Figure{Of: func(round *result.Round) float64 {
			if l := of(round); l != nil {
				return f.Of(&result.Round{Latency: l})
			}
			return nan
		}})
		// A report without the far percentiles has them as zero.
		if last := len(v.at) - 1; q.at < 1-1/float64(v.count) && (last < 0 || y >= v.at[last].y) {
			v.at = append(v.at, point{q.at, y})
		}
	}
	return v, true
}

var latencyQuantiles = []struct {
	at float64
	of result.Figure
}{{.5, result.P50}, {.9, result.P90}, {.99, result.P99}, {.999, result.P999}, {.9999, result.P9999}, {.99999, result.P99999}}

// quantiles are those at which curves have points: twenty for each nine, and the median.
func quantiles(top float64) []float64 {
	var qs []float64
	end := math.Log10(1 / (1 - top))
	for i := 0; float64(i)/20 < end; i++ {
		if i == 7 { // just above 0.30103, the median's place
			qs = append(qs, 0.5)
		}
		qs = append(qs, 1-math.Pow(10, -float64(i)/20))
	}
	return append(qs, top)
}

// curve gives the points of the distribution. It ends at the largest sample, since beyond there are none.
func (v spectrum) curve(qs []float64) curve {
	c := curve{key: v.key, name: v.system, ghost: v.ghost}
	end := 1 - 1/float64(max(v.count, 2))
	for _, q := range qs {
		if v.histogram != nil && q < end {
			c.points = append(c.points, point{q, float64(v.histogram.ValueAtPercentile(q*100)) / 1e3})
		}
	}
	if v.histogram == nil {
		c.points = append(c.points, v.at...)
	}
	c.points = append(c.points, point{end, v.max})
	for _, p := range c.points {
		for _, q := range latencyQuantiles {
			if math.Abs(p.x-q.at) < 1e-9 {
				c.markers = append(c.markers, p)
			}
		}
	}
	return c
}

// percentile names a quantile with as many decimals as it has nines: p50, p99.87.
func percentile(q float64) string {
	decimals := 0
	if q < 1 {
		decimals = int(math.Ceil(-math.Log10(1 - q)))
	}
	return "p" + trim(strconv.FormatFloat(q*100, 'f', min(decimals, 9), 64))
}

// endings says in words where the curves end, for those who cannot see them.
func endings(all []spectrum) string {
	s := ""
	for _, v := range all {
		if !v.ghost {
			s += v.system + " ends at " + microseconds(v.max) + ". "
		}
	}
	return s
}

// latencyAxis is logarithmic or linear, over these microseconds.
func latencyAxis(name string, ys []float64) axis {
	top := 0.0
	for _, y := range ys {
		if finite(y) {
			top = max(top, y)
		}
	}
	return axis{name: name, linear: linearFromZero(top, microseconds), logScale: logOver(ys, microseconds), format: microseconds}
}
