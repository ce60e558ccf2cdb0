package result

import "testing"

// TestKnee finds the last load that is carried, in whatever order the loads stand, and none where all or none are.
func TestKnee(t *testing.T) {
	loaded := func(system string, offered, done float64) Result {
		return Result{System: system, Rounds: []Round{{Number: 1, Offered: offered, PerSec: done}}}
	}
	r := &Report{Results: []Result{
		loaded("a", 300, 200), loaded("a", 100, 100), loaded("a", 200, 195), loaded("a", 400, 399), // carried again, past the knee
		loaded("all", 100, 100), loaded("all", 200, 199),
		loaded("none", 100, 50),
		{System: "asked", Point: Point{RPS: 10}, Rounds: []Round{{PerSec: 10}}}, {System: "asked", Point: Point{RPS: 20}, Rounds: []Round{{PerSec: 12}}},
		{System: "closed", Rounds: []Round{{PerSec: 10}}},
		{System: "failed", Point: Point{RPS: 10}},
	}}
	for system, want := range map[string]float64{"a": 200, "all": 0, "none": 0, "asked": 10, "closed": 0, "failed": 0, "unknown": 0} {
		got := 0.0
		if k := r.Knee(system); k != nil {
			got = k.OfferedLoad()
		}
		if got != want {
			t.Errorf("knee of %s at %v, not %v", system, got, want)
		}
	}
}

// A report says where the knees are of those systems that have one.
func TestNoteKnees(t *testing.T) {
	at := func(system string, offered, done, p50 float64) Result {
		return Result{System: system, Rounds: []Round{{Offered: offered, PerSec: done, Latency: &Latency{P50: p50, P99: 2 * p50}}}}
	}
	r := &Report{Run: Run{Systems: []string{"a", "all"}}, Results: []Result{at("all", 100, 100, 1), at("a", 100, 99, 10), at("a", 200, 150, 1000)}}
	r.NoteKnees()
	if want := (Knee{System: "a", Offered: 100, P50: 10, P99: 20}); len(r.Knees) != 1 || r.Knees[0] != want {
		t.Errorf("%+v, want %+v alone", r.Knees, want)
	}
}
