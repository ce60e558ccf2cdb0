package text

import "github.com/fastrpc/fastrpc/bench/result"

// stamped is a report of workload anatomy: a system that is stamped everywhere, one that is not, one whose rounds differ, and one without any.
func stamped() *result.Report {
	r := sample()
	r.Run.Workload = "anatomy"
	part := func(share float64) *float64 { return &share }
	stages := []result.Stage{
		{Name: result.StageSession, Side: result.SideClient, P50: 0.19, P99: 0.4, KernelP50: part(0)},
		{Name: result.StageTX, Side: result.SideClient, P50: 1.13, P99: 1.7, KernelP50: part(1.05)},
		{Name: result.StageWire, Side: result.SideWire, P50: 0.74, P99: 1.1, KernelP50: part(0.74)},
		{Name: result.StageRX, Side: result.SideServer, P50: 0.83, P99: 2, KernelP50: part(0.45)},
		{Name: result.StageHandler, Side: result.SideServer, P50: 0.03, P99: 0.1, KernelP50: part(0)},
		{Name: result.StageTX, Side: result.SideServer, P50: 1.05, P99: 1.7},
		{Name: result.StageWire, Side: result.SideWire, P50: 0, P99: 0},
	}
	for i := range r.Results {
		rounds := r.Results[i].Rounds
		for j := range rounds {
			round := &rounds[j]
			round.Parts = map[string]*result.Latency{result.PartUnstamped: latency(round.Latency.P50 * 0.8)}
			switch i {
			case 0:
				round.Stages, round.Unclear = stages, int64(j)
			case 1:
				round.Parts = nil
				if round.Stages = stages[:6]; j == 1 {
					round.Stages = stages[:3] // not counted: others than the first's
				}
			}
		}
	}
	return r
}
