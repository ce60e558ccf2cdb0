package result

import (
	"cmp"
	"math"
	"slices"
)

// Offered is the load that an open loop offered: calls that came due a second.
var Offered = Figure{Name: "offered/s", Unit: "1/s", Of: func(r *Round) float64 { return orNaN(r.Offered) }}

// Carried is the share of the offered load that a system must still complete for the load not to lie past its knee.
const Carried = 0.95

// OfferedLoad is the load that was offered at the result: what the rounds say, at the median, else what was asked for; NaN without either.
func (r *Result) OfferedLoad() float64 {
	if load := r.Median(Offered); !math.IsNaN(load) {
		return load
	}
	return orNaN(r.Point.RPS)
}

// Knee is the result at the highest load that the system still carried before the first that it did not. It is nil if the report has no loads that
// rise, if the system carried all of them, so that its knee was not reached, or none.
func (r *Report) Knee(system string) *Result {
	var rising []*Result
	for i := range r.Results {
		res := &r.Results[i]
		if res.System == system && !math.IsNaN(res.OfferedLoad()) && !math.IsNaN(res.Median(PerSec)) {
			rising = append(rising, res)
		}
	}
	slices.SortStableFunc(rising, func(a, b *Result) int { return cmp.Compare(a.OfferedLoad(), b.OfferedLoad()) })
	var last *Result
	for _, res := range rising {
		if res.Median(PerSec) < Carried*res.OfferedLoad() {
			return last
		}
		last = res
	}
	return nil
}

// CarriedAll tells whether a system carried all loads that it was offered, so that its knee, if it has one, lies beyond the highest of them.
func (r *Report) CarriedAll(system string) (highest float64, all bool) {
	for i := range r.Results {
		res := &r.Results[i]
		if res.System != system || math.IsNaN(res.OfferedLoad()) || math.IsNaN(res.Median(PerSec)) {
			continue
		}
		if res.Median(PerSec) < Carried*res.OfferedLoad() {
			return 0, false
		}
		highest = max(highest, res.OfferedLoad())
	}
	return highest, highest > 0
}

// Knee is where the latency of a system takes off: the highest load that it carried, as [Report.Knee] finds it.
type Knee struct {
	System  string  `json:"system"`
	Offered float64 `json:"offered_per_s"`
	P50     float64 `json:"p50_us"` // there, as P99; medians over the rounds
	P99     float64 `json:"p99_us"`
}

// NoteKnees notes in the report the knees that were reached.
func (r *Report) NoteKnees() {
	r.Knees = nil
	for _, system := range r.Run.Systems {
		if k := r.Knee(system); k != nil {
			r.Knees = append(r.Knees, Knee{System: system, Offered: k.OfferedLoad(), P50: k.Median(P50), P99: k.Median(P99)})
		}
	}
}
