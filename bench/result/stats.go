package result

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Confidence of the intervals.
const Confidence = 0.95

// LeastRounds is how many rounds an interval takes. Between the smallest and the largest of n rounds lies the true median with a probability of
// 1-2^(1-n), whatever the distribution: 50 % of two rounds, 88 % of four, 94 % of five. So of fewer than five nobody can give an interval of 95 %.
const LeastRounds = 5

// Estimate is a median over rounds with its confidence interval.
type Estimate struct {
	Value     float64 // NaN: nothing was measured
	Low, High float64 // NaN with fewer than LeastRounds rounds
	Rounds    int     // that it is of
}

// Interval tells whether there is one.
func (e Estimate) Interval() bool { return !math.IsNaN(e.Low) }

// Apart tells whether two estimates differ by more than their intervals say that rounds do.
func (e Estimate) Apart(other Estimate) bool { return e.High < other.Low || other.High < e.Low }

// Estimate of the figure over the rounds that have it.
func (r *Result) Estimate(f Figure) Estimate { return EstimateOf(r.Values(f)) }

// Ratio of a figure of a to that of b: the median of the ratios within each round that both have, since what disturbs a machine for a while
// disturbs both. It need not be the ratio of the medians. a and b may be nil.
func Ratio(a, b *Result, f Figure) Estimate { return EstimateOf(Ratios(a, b, f)) }

// Ratios are those of the rounds, of which [Ratio] is the median.
func Ratios(a, b *Result, f Figure) []float64 {
	if a == nil || b == nil {
		return nil
	}
	of := make(map[int]float64, len(b.Rounds))
	for i := range b.Rounds {
		of[b.Rounds[i].Number] = f.Of(&b.Rounds[i])
	}
	var xs []float64
	for i := range a.Rounds {
		if y, ok := of[a.Rounds[i].Number]; ok {
			if x := f.Of(&a.Rounds[i]) / y; !math.IsNaN(x) && !math.IsInf(x, 0) {
				xs = append(xs, x)
			}
		}
	}
	return xs
}

// The bootstrap draws as many samples as make its own error small beside that of some rounds, from a fixed seed: the same rounds always give
// the same interval.
const (
	resamples = 2000
	seed1     = 0x9e3779b97f4a7c15
	seed2     = 0xbf58476d1ce4e5b9
)

// EstimateOf gives the median of xs with the percentile bootstrap's interval (Efron 1979): the medians of samples drawn from xs with replacement,
// as many values each as xs has, the 2.5 % lowest and the 2.5 % highest left out.
func EstimateOf(xs []float64) Estimate {
	n := len(xs)
	e := Estimate{Value: Median(xs), Low: math.NaN(), High: math.NaN(), Rounds: n}
	if n < LeastRounds {
		return e
	}
	s := slices.Sorted(slices.Values(xs))
	rng := rand.New(rand.NewPCG(seed1, seed2))
	drawn, medians := make([]int, n), make([]float64, resamples)
	for i := range medians {
		clear(drawn)
		for range n {
			drawn[rng.IntN(n)]++
		}
		medians[i] = (nth(s, drawn, (n-1)/2) + nth(s, drawn, n/2)) / 2
	}
	slices.Sort(medians)
	cut := int(resamples * (1 - Confidence) / 2)
	e.Low, e.High = medians[cut], medians[resamples-1-cut]
	return e
}

// nth gives the value of rank k, from 0, among the values of s taken as often as drawn says.
func nth(s []float64, drawn []int, k int) float64 {
	for i, times := range drawn {
		if k -= times; k < 0 {
			return s[i]
		}
	}
	return math.NaN() // k is no rank
}

// Median of xs; of an even number the mean of the middle two, of none NaN.
func Median(xs []float64) float64 {
	n := len(xs)
	if n == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(xs))
	return (s[(n-1)/2] + s[n/2]) / 2
}

// round3 rounds to three decimals: nanoseconds of a time in microseconds.
func round3(x float64) float64 { return math.Round(x*1e3) / 1e3 }
