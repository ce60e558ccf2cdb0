package bench

import (
	"math/rand/v2"
	"sort"
	"time"
)

// How the calls of an open loop come due.
const (
	Poisson  = "poisson"  // independent of each other, as those of many users: exponential gaps
	Constant = "constant" // one after the other, with the same gap between them
)

// arrivals say when calls of an open loop are due. They are a function of the call's number, so that goroutines share them without a lock.
type arrivals struct {
	gap  float64   // mean, nanoseconds
	sums []float64 // of the first gaps, in units of the mean; nil: all gaps are the same
}

// repeat is after how many gaps they begin anew: their sums fit into a processor's cache.
const repeat = 1 << 14

// newArrivals makes those of a kind; how many a second is yet to be said. The same seed gives the same ones.
func newArrivals(kind string, seed uint64) *arrivals {
	a := &arrivals{}
	if kind == Constant {
		return a
	}
	random := rand.New(rand.NewPCG(seed, 0x6172726976616c73))
	a.sums = make([]float64, repeat)
	sum := 0.0
	for i := range a.sums {
		sum += random.ExpFloat64()
		a.sums[i] = sum
	}
	for i := range a.sums { // the drawn gaps' mean is not quite 1, but the load shall be what was asked for
		a.sums[i] *= repeat / sum
	}
	return a
}

func (a *arrivals) setRate(perSecond float64) { a.gap = float64(time.Second) / perSecond }

// at is when the i-th call is due, from 0, after the loop's begin.
func (a *arrivals) at(i uint64) time.Duration {
	if a.sums == nil {
		return time.Duration(a.gap * float64(i))
	}
	return time.Duration(a.gap * (float64(i/repeat*repeat) + a.sums[i%repeat]))
}

// before is how many calls come due before a moment.
func (a *arrivals) before(end time.Duration) int64 {
	return int64(sort.Search(2*int(float64(end)/a.gap)+2*repeat, func(i int) bool { return a.at(uint64(i)) >= end })) // those of Poisson are ahead by less than repeat
}
