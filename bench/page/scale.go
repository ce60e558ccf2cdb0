package page

import (
	"math"
)

// scale maps the values of an axis to 0 (its start) … 1 (its end).
type scale struct {
	kind     scaleKind
	min, max float64
	ticks    []tick
}

type scaleKind int

const (
	linear scaleKind = iota
	logarithmic
	logarithmicFromZero // logarithmic, with a place for zero one step before the smallest value
	nines               // of quantiles: 1/(1-q), logarithmic, as HdrHistogram's plotter has it
)

// tick is a place on an axis. Those without a label are only drawn.
type tick struct {
	at    float64
	label string
}

// Axes end here, whatever a report says: nothing that is measured is smaller or larger, in its unit. What is stands at the axis' end.
const leastValue, mostValue = 1e-9, 1e15

// zeroStep is the part of the axis that logarithmicFromZero gives to the way from zero to the smallest value.
const zeroStep = 0.12

func (s scale) at(v float64) float64 {
	var x float64
	switch s.kind {
	case linear:
		x = (v - s.min) / (s.max - s.min)
	case logarithmic:
		x = math.Log(v/s.min) / math.Log(s.max/s.min)
	case logarithmicFromZero:
		if v <= 0 {
			return 0
		}
		x = zeroStep + (1-zeroStep)*math.Log(v/s.min)/math.Log(s.max/s.min)
	case nines:
		x = math.Log10(1/(1-v)) / math.Log10(1/(1-s.max))
	}
	if math.IsNaN(x) {
		return 0
	}
	return min(max(x, 0), 1)
}

// linearFromZero reaches from 0 to a round number at or above top, in steps of 1, 2 or 5.
func linearFromZero(top float64, f format) scale {
	if !finite(top) || top <= 0 {
		top = 1
	}
	top = min(max(top, leastValue), mostValue)
	step := roundUp(top / 5)
	s := scale{kind: linear, max: step * math.Ceil(top/step-1e-9)}
	for i := 0; float64(i)*step <= s.max*(1+1e-9); i++ {
		s.ticks = append(s.ticks, tick{float64(i) * step, trim(f(float64(i) * step))})
	}
	return s
}

// logOver reaches over all positive values, from and to one of 1, 2, 5 times a power of ten. With less than two and a half decades those in
// between are labelled, too.
func logOver(vs []float64, f format) scale {
	lo, hi := positiveRange(vs)
	lo, hi = roundDown(lo), roundUp(hi)
	if hi <= lo {
		hi = lo * 10
	}
	s := scale{kind: logarithmic, min: lo, max: hi}
	few := hi/lo <= 300
	for e := math.Floor(math.Log10(lo)); e <= math.Ceil(math.Log10(hi)); e++ {
		for _, m := range []float64{1, 2, 5} {
			v := m * math.Pow(10, e)
			if v < lo*(1-1e-9) || v > hi*(1+1e-9) {
				continue
			}
			t := tick{at: v}
			if m == 1 || few {
				t.label = trim(f(v))
			}
			s.ticks = append(s.ticks, t)
		}
	}
	return s
}

// logAt has its ticks where the values are: what was measured is what is labelled.
func logAt(vs []float64, f format) scale {
	lo, hi := positiveRange(vs)
	s := scale{kind: logarithmic, min: lo, max: hi}
	if hi <= lo {
		s.min, s.max = lo/2, hi*2
	}
	for _, v := range vs {
		if v <= 0 {
			s.kind = logarithmicFromZero
		}
		s.ticks = append(s.ticks, tick{v, f(v)})
	}
	return s
}

// ninesTo reaches to the quantile of the largest of so many samples.
func ninesTo(samples float64) scale {
	s := scale{kind: nines, max: 1 - 1/min(max(samples, 100), 1e9)}
	for _, t := range []tick{{0, "0 %"}, {.5, "50 %"}, {.9, "90 %"}, {.99, "99 %"}, {.999, "99.9 %"}, {.9999, "99.99 %"}, {.99999, "99.999 %"},
		{.999999, "99.9999 %"}, {.9999999, "99.99999 %"}, {.99999999, "99.999999 %"}} {
		if t.at <= s.max+1e-12 {
			s.ticks = append(s.ticks, t)
		}
	}
	return s
}

func positiveRange(vs []float64) (lo, hi float64) {
	lo, hi = math.Inf(1), 0
	for _, v := range vs {
		if v > 0 && finite(v) {
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	if hi == 0 {
		return 1, 10
	}
	return max(min(lo, mostValue), leastValue), min(max(hi, leastValue), mostValue)
}

// roundUp gives the smallest of 1, 2, 5 times a power of ten that is at least v; roundDown the largest that is at most v. v is positive.
func roundUp(v float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if v <= m*p*(1+1e-9) {
			return m * p
		}
	}
	return 10 * p
}

func roundDown(v float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{5, 2} {
		if v >= m*p*(1-1e-9) {
			return m * p
		}
	}
	return p
}
