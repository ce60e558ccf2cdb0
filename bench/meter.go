package bench

import (
	"runtime"

	"github.com/fastrpc/fastrpc/bench/result"
)

// meter counts allocations and collections between start and stop.
type meter struct {
	before, after runtime.MemStats
}

func (m *meter) start() { runtime.ReadMemStats(&m.before) }

// stop gives what was used since start; the caller knows how many calls that was for.
func (m *meter) stop() result.Use {
	runtime.ReadMemStats(&m.after)
	u := result.Use{
		Allocs:     m.after.Mallocs - m.before.Mallocs,
		AllocBytes: m.after.TotalAlloc - m.before.TotalAlloc,
		GCs:        m.after.NumGC - m.before.NumGC,
		GCPauseUs:  float64(m.after.PauseTotalNs-m.before.PauseTotalNs) / 1e3,
	}
	for i := range min(u.GCs, uint32(len(m.after.PauseNs))) {
		p := m.after.PauseNs[(m.after.NumGC-1-i)%uint32(len(m.after.PauseNs))]
		u.GCMaxPauseUs = max(u.GCMaxPauseUs, float64(p)/1e3)
	}
	return u
}
