package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
)

// The names of the workloads.
const (
	Latency  = "latency"
	Rate     = "rate"
	Open     = "open"
	Sweep    = "sweep"
	Sizes    = "sizes"
	Bulk     = "bulk"
	Incast   = "incast"
	Mixed    = "mixed"
	Sessions = "sessions"
	Loss     = "loss"
	Idle     = "idle"
	Churn    = "churn"
	Flood    = "flood"
	Anatomy  = "anatomy"
)

// A workload is what is measured. Each stands in a file of its own.
type workload struct {
	name  string
	about string // for people, in a few lines

	axis  result.Axis // along which it goes, point after point; it may have none
	along []float64   // where on the axis, unless Config.Along says

	// Of the payload, in bytes: the least, the most, and what it is unless Config says.
	least, most, size int

	// outstanding is how many calls are at once unless Config says; 0: it is not for Config to say.
	outstanding int

	// What a round is unless Config says: one of the two. Without counted a round cannot be so many requests.
	requests int
	duration time.Duration
	counted  bool
	rounds   int // 0: usualRounds

	parts []string // names of the times in result.Round.Parts
	open  bool     // latencies are counted from when calls were due, and also from when they were sent

	// connect readies what a client process needs, connections above all, which it has the client close. ctx bounds that alone.
	connect func(context.Context, *client) (load, error)
}

// A load is a workload, ready to run in a client's process.
type load interface {
	// goroutines is how many records run needs.
	goroutines() int

	// run makes calls until the bound is reached and notes them in the tally.
	run(b bound, t *tally) error
}

// A bound is where a measured loop ends: after so many calls, or so long. The other one is 0.
type bound struct {
	requests int
	duration time.Duration
}

// workloads in the order in which people read of them.
var workloads = []*workload{
	&latencyLoad, &rateLoad, &openLoad, &sweepLoad, &sizesLoad, &bulkLoad, &incastLoad, &mixedLoad, &sessionsLoad, &lossLoad, &idleLoad, &churnLoad, &floodLoad,
	&anatomyLoad,
}

// Workloads lists the names of the workloads.
func Workloads() []string {
	var names []string
	for _, w := range workloads {
		names = append(names, w.name)
	}
	return names
}

// AboutWorkload says in a few words what a workload measures.
func AboutWorkload(name string) string {
	w, err := workloadOf(name)
	if err != nil {
		return ""
	}
	return w.about
}

// AxisOf is the axis along which a workload goes; empty for one that has none, or that does not exist.
func AxisOf(name string) result.Axis {
	w, err := workloadOf(name)
	if err != nil {
		return result.AxisNone
	}
	return w.axis
}

func workloadOf(name string) (*workload, error) {
	i := slices.IndexFunc(workloads, func(w *workload) bool { return w.name == name })
	if i < 0 {
		return nil, fmt.Errorf("unknown workload %q; choose from %s", name, strings.Join(Workloads(), ", "))
	}
	return workloads[i], nil
}

// A Loader is a System that says which workloads it has; another one has latency alone. It heeds Endpoint.Workload.
type Loader interface {
	System

	// Has tells whether it has a workload.
	Has(workload string) bool
}

// has tells whether a system has a workload.
func has(s System, workload string) bool {
	if workload == Anatomy {
		_, ok := stampedSystem(s, nil)
		return ok
	}
	l, ok := s.(Loader)
	return ok && l.Has(workload) || !ok && workload == Latency
}
