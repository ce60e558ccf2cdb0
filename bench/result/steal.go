package result

import "fmt"

// leastStolen is, in seconds, the least that is told from the kernel's rounding to ticks of 10 ms at both ends of each round.
const leastStolen = 0.03

// roundSpoilt is the share, in percent, from which a single round of one system is named.
const roundSpoilt = 5

// stealShows are the shares, in percent, from which figures are more the hypervisor's than the system's. A share of s stops some s of all calls
// for as long as the others run, so that this is about what lies beyond the percentile 1-s.
var stealShows = []struct {
	from float64
	what string
}{
	{5, "no figure is the systems' alone"},
	{0.5, "p99 and beyond are as much its as the systems'"},
	{0.05, "p99.9 and beyond are as much its as the systems'"},
	{0, "the figures of that round are as much its as the system's"},
}

// StealWarning says how far the figures are the hypervisor's, which took CPU time for others; "" where no figure shows it. label names a
// result for people.
func (r *Report) StealWarning(label func(*Result) string) string {
	seconds, worst, where := 0.0, 0.0, ""
	for i := range r.Results {
		for _, round := range r.Results[i].Rounds {
			seconds += round.Seconds
			if round.Steal > max(worst, roundSpoilt) && round.Steal/100*round.Seconds >= leastStolen {
				worst, where = round.Steal, fmt.Sprintf(", and %.2g %% in round %d of %s", round.Steal, round.Number, label(&r.Results[i]))
			}
		}
	}
	share := r.Machine.StealPercent
	if share/100*seconds < leastStolen {
		share = 0
	}
	for _, s := range stealShows {
		if share >= s.from && (s.from > 0 || where != "") {
			return fmt.Sprintf("the hypervisor took %.2g %% of the CPUs' time%s: %s; trust the ratios, and measure again", r.Machine.StealPercent, where, s.what)
		}
	}
	return ""
}
