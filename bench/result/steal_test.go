package result

import (
	"strings"
	"testing"
)

// From which share on what is said, and of which round. What rounding to ticks may have made says nothing.
func TestStealWarning(t *testing.T) {
	for _, c := range []struct {
		name    string
		run     float64 // percent
		seconds float64 // of each of two rounds
		rounds  [2]float64
		says    []string // nothing: no warning
	}{
		{"none", 0, 10, [2]float64{}, nil},
		{"a little", 0.04, 100, [2]float64{0.04, 0.04}, nil},
		{"a tick or two", 10, 0.1, [2]float64{0, 20}, nil},
		{"some", 0.05, 100, [2]float64{0.1, 0}, []string{"p99.9 and beyond"}},
		{"more", 0.5, 10, [2]float64{1, 0}, []string{"p99 and beyond"}},
		{"much", 7, 10, [2]float64{4, 10}, []string{"no figure", "10 % in round 2 of xdp"}},
		{"in one round alone", 0.04, 1, [2]float64{0, 6}, []string{"6 % in round 2 of xdp", "that round"}},
	} {
		r := Report{Machine: Machine{StealPercent: c.run}, Results: []Result{{System: "xdp"}}}
		for i, steal := range c.rounds {
			r.Results[0].Rounds = append(r.Results[0].Rounds, Round{Number: i + 1, Seconds: c.seconds, Steal: steal})
		}
		got := r.StealWarning(func(res *Result) string { return res.System })
		if (got == "") != (c.says == nil) {
			t.Errorf("%s: %q", c.name, got)
		}
		for _, s := range c.says {
			if !strings.Contains(got, s) {
				t.Errorf("%s: %q does not say %q", c.name, got, s)
			}
		}
	}
}
