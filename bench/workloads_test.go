package bench

import (
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
)

// What each workload is there for stands in its rounds. Real processes, over loopback; no time is judged.
func TestFiguresOfWorkloads(t *testing.T) {
	for _, c := range []Config{
		{Workload: Rate, Outstanding: 8, Clients: 3},
		{Workload: Rate, Outstanding: 8, Clients: 2, Blocking: true},
		{Workload: Open, Along: []float64{500}},
		{Workload: Open, Along: []float64{500}, Arrivals: Constant, Blocking: true, Clients: 2},
		{Workload: Sweep, Along: []float64{0.2, 2}},
		{Workload: Sizes, Along: []float64{1, 100_000}},
		{Workload: Incast, Along: []float64{3}},
		{Workload: Mixed},
		{Workload: Sessions, Along: []float64{5}, Outstanding: 2},
		{Workload: Idle, Along: []float64{1}},
		{Workload: Churn},
	} {
		c.Systems, c.Duration, c.Rounds, c.Child = []string{"udp", "net-tcp"}, 100*time.Millisecond, 1, childCommand(t)
		if c.Workload == Open || c.Workload == Sweep { // a machine that does something else for that long leaves no call in time
			c.Duration = 500 * time.Millisecond
		}
		if err := c.check(); err != nil {
			t.Fatal(err)
		}
		w, err := workloadOf(c.Workload)
		if err != nil {
			t.Fatal(err)
		}
		for _, res := range compareOnLoopback(t, c).Results {
			if res.Error != "" || len(res.Rounds) != 1 {
				t.Errorf("%s of %s: %d rounds, %s", c.Workload, res.System, len(res.Rounds), res.Error)
				continue
			}
			checkFigures(t, w, &res)
		}
	}
}

func checkFigures(t *testing.T, w *workload, res *result.Result) {
	t.Helper()
	r := &res.Rounds[0]
	if r.Ops <= 0 || r.Seconds <= 0 || r.PerSec <= 0 || r.Latency == nil || r.Latency.Count <= 0 || r.Client.Calls != r.Ops || r.Server.Calls < r.Ops {
		t.Errorf("%s of %s: %+v", w.name, res.System, r)
		return
	}
	for _, part := range w.parts {
		if l := r.Parts[part]; part != "late" && (l == nil || l.Count <= 0 || l.P50 <= 0) {
			t.Errorf("%s of %s: %q is %+v", w.name, res.System, part, l)
		}
	}
	if w.name != Mixed && (r.Gbit > 0) != (w.name == Incast || w.name == Bulk) { // a long message of Mixed may last longer than the round
		t.Errorf("%s of %s: %v Gbit/s", w.name, res.System, r.Gbit)
	}
	switch {
	case !w.open:
		if r.Uncorrected != nil || r.Offered != 0 || r.Latency.Count > r.Ops {
			t.Errorf("%s of %s offered %v, uncorrected %+v, recorded %d of %d calls", w.name, res.System, r.Offered, r.Uncorrected, r.Latency.Count, r.Ops)
		}
	case r.Uncorrected == nil || r.Offered <= 0 || r.Latency.Count < r.Ops || r.Latency.Count < r.Uncorrected.Count:
		t.Errorf("%s of %s offered %v, ended %d, recorded %d, sent %+v", w.name, res.System, r.Offered, r.Ops, r.Latency.Count, r.Uncorrected)
	case w.name == Open && float64(r.Latency.Count) != r.Offered*r.Seconds:
		t.Errorf("%d calls recorded of %v that came due", r.Latency.Count, r.Offered*r.Seconds)
	}
}
