package result

import "math"

// A Figure is a number of a round: what tables, bars and comparisons over time are made of.
type Figure struct {
	Name string // as the tables have it
	Unit string
	More bool // more is better, not less

	// Of gives it, NaN where the round has it not.
	Of func(*Round) float64
}

// Figures of the calls' latency; of an open loop from the moment that a call was due.
var (
	P50    = percentile("p50", 0.5, func(l *Latency) float64 { return l.P50 })
	P90    = percentile("p90", 0.9, func(l *Latency) float64 { return l.P90 })
	P99    = percentile("p99", 0.99, func(l *Latency) float64 { return l.P99 })
	P999   = percentile("p99.9", 0.999, func(l *Latency) float64 { return l.P999 })
	P9999  = percentile("p99.99", 0.9999, func(l *Latency) float64 { return l.P9999 })
	P99999 = percentile("p99.999", 0.99999, func(l *Latency) float64 { return l.P99999 })
	Max    = latencyFigure("max", func(l *Latency) float64 { return l.Max })
	Mean   = latencyFigure("mean", func(l *Latency) float64 { return l.Mean })
	StdDev = latencyFigure("stddev", func(l *Latency) float64 { return l.StdDev })
)

// Figures of what was moved, and at what cost. The cost of a call is that of both processes, each by the calls that it saw.
var (
	PerSec = Figure{Name: "calls/s", Unit: "1/s", More: true, Of: func(r *Round) float64 { return r.PerSec }}

	Gbit = Figure{Name: "Gbit/s", Unit: "Gbit/s", More: true, Of: func(r *Round) float64 { return orNaN(r.Gbit) }}

	CPU       = Figure{Name: "CPU/call", Unit: "µs", Of: func(r *Round) float64 { return perCall(&r.Client, cpuTime) + perCall(&r.Server, cpuTime) }}
	ClientCPU = Figure{Name: "client CPU", Unit: "µs", Of: func(r *Round) float64 { return perCall(&r.Client, cpuTime) }}
	ServerCPU = Figure{Name: "server CPU", Unit: "µs", Of: func(r *Round) float64 { return perCall(&r.Server, cpuTime) }}

	Allocs     = Figure{Name: "allocs/op", Of: func(r *Round) float64 { return perCall(&r.Client, allocs) + perCall(&r.Server, allocs) }}
	AllocBytes = Figure{Name: "B/op", Unit: "bytes", Of: func(r *Round) float64 { return perCall(&r.Client, allocBytes) + perCall(&r.Server, allocBytes) }}

	// ClientBusy and ServerBusy are the share of one CPU that the process took, in percent: what it costs to wait.
	ClientBusy = Figure{Name: "client busy", Unit: "%", Of: func(r *Round) float64 { return busy(r, &r.Client) }}
	ServerBusy = Figure{Name: "server busy", Unit: "%", Of: func(r *Round) float64 { return busy(r, &r.Server) }}
)

// Uncorrected is a figure of Round.Uncorrected instead of Round.Latency.
func Uncorrected(f Figure) Figure {
	return f.from("sent-", func(r *Round) *Latency { return r.Uncorrected })
}

// Part is a figure of Round.Parts[name] instead of Round.Latency.
func Part(name string, f Figure) Figure {
	return f.from(name+" ", func(r *Round) *Latency { return r.Parts[name] })
}

// from gives the figure of another latency of the round.
func (f Figure) from(prefix string, get func(*Round) *Latency) Figure {
	of := f.Of
	f.Name = prefix + f.Name
	f.Of = func(r *Round) float64 { return of(&Round{Latency: get(r)}) }
	return f
}

// percentile is a latency that a share of the calls did not exceed. It is unknown where less than one call is beyond it: it would be the
// longest call's by another name.
func percentile(name string, share float64, get func(*Latency) float64) Figure {
	return latencyFigure(name, func(l *Latency) float64 {
		if l.Count > 0 && math.Round(float64(l.Count)*(1-share)*1e6) < 1e6 {
			return math.NaN()
		}
		return get(l)
	})
}

func latencyFigure(name string, get func(*Latency) float64) Figure {
	return Figure{Name: name, Unit: "µs", Of: func(r *Round) float64 {
		if r.Latency == nil {
			return math.NaN()
		}
		return get(r.Latency)
	}}
}

func cpuTime(u *Use) float64    { return float64(u.UserNs+u.SystemNs) / 1e3 }
func allocs(u *Use) float64     { return float64(u.Allocs) }
func allocBytes(u *Use) float64 { return float64(u.AllocBytes) }

func perCall(u *Use, get func(*Use) float64) float64 { return get(u) / orNaN(float64(u.Calls)) }

func busy(r *Round, u *Use) float64 {
	seconds := u.Seconds
	if seconds == 0 { // a report of before it was noted
		seconds = r.Seconds
	}
	return cpuTime(u) / orNaN(seconds*1e6) * 100
}

func orNaN(x float64) float64 {
	if x == 0 {
		return math.NaN()
	}
	return x
}

// SetBits works out Gbit from the bytes of the round.
func (r *Round) SetBits(bytes int64) {
	if r.Seconds > 0 {
		r.Gbit = round3(8 * float64(bytes) / r.Seconds / 1e9)
	}
}

// Values are the figure of each round of the result that has it.
func (r *Result) Values(f Figure) []float64 {
	var xs []float64
	for i := range r.Rounds {
		if x := f.Of(&r.Rounds[i]); !math.IsNaN(x) {
			xs = append(xs, x)
		}
	}
	return xs
}

// Median of the figure over the rounds; NaN where none has it. Each figure has a median of its own: they need not be of one round.
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
