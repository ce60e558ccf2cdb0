package bench

import (
	"runtime"
	"time"
)

// use is what the Go runtime did over the measured loop.
type use struct {
	Mallocs  uint64        `json:"mallocs"`
	GCs      uint32        `json:"gcs"`
	Pause    time.Duration `json:"pause_ns"`     // of all collections
	MaxPause time.Duration `json:"max_pause_ns"` // of one
}

// meter counts allocations and collections between start and stop.
type meter struct {
	before, after runtime.MemStats
}

func (m *meter) start() { runtime.ReadMemStats(&m.before) }

func (m *meter) stop() use {
	runtime.ReadMemStats(&m.after)
	u := use{
		Mallocs: m.after.Mallocs - m.before.Mallocs,
		GCs:     m.after.NumGC - m.before.NumGC,
		Pause:   time.Duration(m.after.PauseTotalNs - m.before.PauseTotalNs),
	}
	for i := range min(u.GCs, uint32(len(m.after.PauseNs))) {
		p := time.Duration(m.after.PauseNs[(m.after.NumGC-1-i)%uint32(len(m.after.PauseNs))])
		u.MaxPause = max(u.MaxPause, p)
	}
	return u
}
