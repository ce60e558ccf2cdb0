package bench

import (
	"math"
	"slices"
	"testing"
	"time"
)

// Constant arrivals are the same distance apart, exactly, also after hours.
func TestConstantArrivals(t *testing.T) {
	a := newArrivals(Constant, 1)
	a.setRate(8000)
	for _, i := range []uint64{0, 1, 2, 16383, 16384, 1 << 30} {
		if got, want := a.at(i), time.Duration(i)*125*time.Microsecond; got != want {
			t.Errorf("call %d is due at %v, want %v", i, got, want)
		}
	}
}

// Poisson arrivals have exponential gaps: the largest distance between their empirical distribution and that one stays under the critical value of
// the Kolmogorov-Smirnov test at 1 % (1.63/√n, for large n) with each of these seeds, and a gap says nothing of the next.
func TestPoissonArrivals(t *testing.T) {
	const perSecond, n = 100_000, repeat
	for _, seed := range []uint64{1, 2, 3, 4, 5} {
		a := newArrivals(Poisson, seed)
		a.setRate(perSecond)
		gaps := make([]float64, n) // in units of the mean
		last := time.Duration(0)
		for i := range gaps {
			at := a.at(uint64(i))
			gaps[i] = float64(at-last) * perSecond / float64(time.Second)
			last = at
		}
		if got := float64(last) * perSecond / float64(time.Second); math.Abs(got-n) > 1e-3 {
			t.Errorf("seed %d: %v mean gaps pass in %d calls", seed, got, n)
		}
		var together float64
		for i := range gaps[1:] {
			together += (gaps[i] - 1) * (gaps[i+1] - 1)
		}
		if r := together / n; math.Abs(r) > 3/math.Sqrt(n) { // the standard error of a correlation that is not there is 1/√n
			t.Errorf("seed %d: neighbouring gaps correlate by %v", seed, r)
		}
		slices.Sort(gaps)
		worst := 0.0
		for i, g := range gaps {
			f := 1 - math.Exp(-g)
			worst = max(worst, f-float64(i)/n, float64(i+1)/n-f)
		}
		if limit := 1.63 / math.Sqrt(n); worst > limit {
			t.Errorf("seed %d: the gaps are %v off an exponential distribution, critical value %v", seed, worst, limit)
		}
	}
}

// The gaps go on after the last that was drawn; the same seed gives the same ones, another one others.
func TestArrivalsRepeat(t *testing.T) {
	a, b, c := newArrivals(Poisson, 7), newArrivals(Poisson, 7), newArrivals(Poisson, 8)
	for _, x := range []*arrivals{a, b, c} {
		x.setRate(1000)
	}
	period := repeat * time.Millisecond
	for i := range uint64(1000) {
		if a.at(i) != b.at(i) {
			t.Fatalf("call %d is due at %v and at %v", i, a.at(i), b.at(i))
		}
		if d := a.at(i+3*repeat) - 3*period - a.at(i); d < -1 || d > 1 { // the last digits are rounded
			t.Fatalf("call %d is due %v off three periods later", i, d)
		}
		if i > 0 && a.at(i) < a.at(i-1) {
			t.Fatalf("call %d is due before the one in front of it", i)
		}
	}
	for _, n := range []int64{0, 1, 1000, repeat, 3*repeat + 7} {
		if got := a.before(a.at(uint64(n))); got != n {
			t.Errorf("%d calls come due before call %d", got, n)
		}
	}
	if a.at(0) == c.at(0) {
		t.Error("two seeds, one beginning")
	}
}
