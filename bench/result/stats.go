package result

import (
	"math"
	"slices"
)

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
