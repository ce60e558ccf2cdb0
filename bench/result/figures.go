package result

import "math"

// SetBits works out Gbit from the bytes of the round.
func (r *Round) SetBits(bytes int64) {
	if r.Seconds > 0 {
		r.Gbit = round3(8 * float64(bytes) / r.Seconds / 1e9)
	}
}

// A Figure is a number of a round; NaN where the round has it not.
type Figure func(*Round) float64

// The figures that tables, bars and comparisons are made of.
var (
	P50    = ofLatency(func(l *Latency) float64 { return l.P50 })
	P90    = ofLatency(func(l *Latency) float64 { return l.P90 })
	P99    = ofLatency(func(l *Latency) float64 { return l.P99 })
	P999   = ofLatency(func(l *Latency) float64 { return l.P999 })
	P9999  = ofLatency(func(l *Latency) float64 { return l.P9999 })
	P99999 = ofLatency(func(l *Latency) float64 { return l.P99999 })
	Max    = ofLatency(func(l *Latency) float64 { return l.Max })
	Mean   = ofLatency(func(l *Latency) float64 { return l.Mean })
	StdDev = ofLatency(func(l *Latency) float64 { return l.StdDev })

	PerSec Figure = func(r *Round) float64 { return r.PerSec }
	Gbit   Figure = func(r *Round) float64 { return r.Gbit }

	// Allocs are the heap allocations of both processes for a call.
	Allocs Figure = func(r *Round) float64 { return both(r, func(u *Use) float64 { return float64(u.Allocs) }) }

	// AllocBytes are the bytes of Allocs.
	AllocBytes Figure = func(r *Round) float64 { return both(r, func(u *Use) float64 { return float64(u.AllocBytes) }) }

	// ClientCPU and ServerCPU are the time of a process, user and system, for a call, in microseconds; CPU is both.
	ClientCPU Figure = func(r *Round) float64 { return perCall(&r.Client, cpuTime) / 1e3 }
	ServerCPU Figure = func(r *Round) float64 { return perCall(&r.Server, cpuTime) / 1e3 }
	CPU       Figure = func(r *Round) float64 { return both(r, cpuTime) / 1e3 }
)

func ofLatency(get func(*Latency) float64) Figure {
	return func(r *Round) float64 {
		if r.Latency == nil {
			return math.NaN()
		}
		return get(r.Latency)
	}
}

func cpuTime(u *Use) float64 { return float64(u.UserNs + u.SystemNs) }

// perCall divides by the calls of the process that used it.
func perCall(u *Use, get func(*Use) float64) float64 {
	if u.Calls == 0 {
		return math.NaN()
	}
	return get(u) / float64(u.Calls)
}

func both(r *Round, get func(*Use) float64) float64 {
	return perCall(&r.Client, get) + perCall(&r.Server, get)
}

// Values are the figure of each round of the result that has it.
func (r *Result) Values(f Figure) []float64 {
	var xs []float64
	for i := range r.Rounds {
		if x := f(&r.Rounds[i]); !math.IsNaN(x) {
			xs = append(xs, x)
		}
	}
	return xs
}

// Median of the figure over the rounds; NaN where none has it.
func (r *Result) Median(f Figure) float64 { return Median(r.Values(f)) }

// Find gives the result of a system at a point, nil if there is none.
func (r *Report) Find(system string, at Point) *Result {
	for i := range r.Results {
		if r.Results[i].System == system && r.Results[i].Point == at {
			return &r.Results[i]
		}
	}
	return nil
}
