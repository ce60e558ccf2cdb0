package result

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		xs   []float64
		want float64
	}{
		{[]float64{7}, 7},
		{[]float64{9, 1}, 5},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 100, 1, 2}, 3},
	} {
		before := slices.Clone(c.xs)
		if got := Median(c.xs); got != c.want || !slices.Equal(c.xs, before) {
			t.Errorf("median of %v is %v, want %v", before, got, c.want)
		}
	}
	if !math.IsNaN(Median(nil)) {
		t.Error("the median of nothing is not NaN")
	}
}

// exactBootstrap gives the ranks, from 1, of the bootstrap's 2.5 % and 97.5 % points for the median of n values, n odd, without drawing anything:
// the median of a sample is at most the i-th of the n values if more than half of the n draws, each with probability i/n, are at most that.
func exactBootstrap(n int) (low, high int) {
	atMost := func(i int) float64 {
		p, sum := float64(i)/float64(n), 0.0
		for k := (n + 1) / 2; k <= n; k++ {
			lg := func(x int) float64 { v, _ := math.Lgamma(float64(x + 1)); return v }
			sum += math.Exp(lg(n)-lg(k)-lg(n-k)) * math.Pow(p, float64(k)) * math.Pow(1-p, float64(n-k))
		}
		return sum
	}
	for low = 1; atMost(low) < 0.025; low++ {
	}
	for high = 1; atMost(high) < 0.975; high++ {
	}
	return low, high
}

func TestEstimateIsTheBootstrap(t *testing.T) {
	for _, n := range []int{5, 7, 9, 11, 15, 21, 31} {
		xs := make([]float64, n)
		for i := range xs {
			xs[i] = float64(i+1) * float64(i+1) // rank i+1
		}
		rand.New(rand.NewPCG(1, uint64(n))).Shuffle(n, func(i, j int) { xs[i], xs[j] = xs[j], xs[i] })
		low, high := exactBootstrap(n)
		e := EstimateOf(xs)
		if e.Low != float64(low*low) || e.High != float64(high*high) || e.Value != float64((n+1)*(n+1))/4 || e.Rounds != n {
			t.Errorf("%d rounds: %+v, want ranks %d and %d", n, e, low, high)
		}
		if again := EstimateOf(xs); again != e {
			t.Errorf("%d rounds: %+v, then %+v", n, e, again)
		}
	}
}

// Of many repetitions with rounds from a skewed distribution, about as many intervals as promised hold the true median. Five rounds can give 93.75 %.
func TestIntervalHoldsTheMedian(t *testing.T) {
	for _, c := range []struct {
		rounds   int
		from, to float64
	}{{5, 0.92, 0.96}, {8, 0.91, 0.97}, {15, 0.93, 0.98}} {
		const repetitions = 500
		rng, held := rand.New(rand.NewPCG(7, uint64(c.rounds))), 0
		for range repetitions {
			xs := make([]float64, c.rounds)
			for i := range xs {
				xs[i] = 5 + rng.ExpFloat64()
			}
			if e := EstimateOf(xs); e.Low <= 5+math.Ln2 && 5+math.Ln2 <= e.High {
				held++
			}
		}
		if share := float64(held) / repetitions; share < c.from || share > c.to {
			t.Errorf("%d rounds: %.1f %% of the intervals hold the median, want %.1f to %.1f %%", c.rounds, 100*share, 100*c.from, 100*c.to)
		}
	}
}

func TestFewRounds(t *testing.T) {
	for n := range LeastRounds {
		xs := []float64{1, 2, 3, 4}[:n]
		if e := EstimateOf(xs); e.Interval() || e.Rounds != n || n > 0 && e.Value != Median(xs) || n == 0 && !math.IsNaN(e.Value) {
			t.Errorf("%d rounds: %+v", n, e)
		}
	}
	a := &Result{Rounds: []Round{{Number: 1, PerSec: 5}}}
	if e := Ratio(a, nil, PerSec); !math.IsNaN(e.Value) || e.Rounds != 0 {
		t.Errorf("a ratio to nothing: %+v", e)
	}
	if e := Ratio(a, &Result{}, PerSec); !math.IsNaN(e.Value) {
		t.Errorf("a ratio to no rounds: %+v", e)
	}
}

// A machine that drifts by a factor of three leaves the ratio of two systems alone, and its interval narrow; rounds that one of the two lacks, and
// figures that it lacks, are passed over.
func TestRatioGoesByRounds(t *testing.T) {
	var a, b Result
	for i := range 9 {
		slow := 1 + float64(i%3)
		round := Round{Number: i + 1, PerSec: 100, Latency: &Latency{P50: 4 * slow}}
		b.Rounds = append(b.Rounds, round)
		round.Latency = &Latency{P50: slow * (1 + 0.001*float64(i))}
		a.Rounds = append(a.Rounds, round)
	}
	a.Rounds = slices.Delete(a.Rounds, 2, 3)
	b.Rounds = slices.Delete(b.Rounds, 5, 6)
	b.Rounds[0].Latency = nil
	e := Ratio(&a, &b, P50)
	if e.Rounds != 6 || e.Value != 0.25*(1.004+1.006)/2 || e.Low < 0.25*1.001 || e.High > 0.25*1.008 {
		t.Errorf("%+v", e)
	}
	if inf := Ratio(&a, &Result{Rounds: []Round{{Number: 1}}}, PerSec); inf.Rounds != 0 {
		t.Errorf("a ratio to 0: %+v", inf)
	}
}

func TestApart(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		a, b Estimate
		want bool
	}{
		{Estimate{Low: 1, High: 2}, Estimate{Low: 3, High: 4}, true},
		{Estimate{Low: 3, High: 4}, Estimate{Low: 1, High: 2}, true},
		{Estimate{Low: 1, High: 3}, Estimate{Low: 3, High: 4}, false},
		{Estimate{Low: nan, High: nan}, Estimate{Low: 3, High: 4}, false},
	} {
		if got := c.a.Apart(c.b); got != c.want {
			t.Errorf("%+v and %+v: %v", c.a, c.b, got)
		}
	}
}
