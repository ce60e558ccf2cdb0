package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/bench/stamp"
)

// anatomyLoad is the workload Latency with stamps on both sides, which split each round trip into its stages.
//
// A round makes half of its calls without stamps, then all of them with, and half without again, in the same two processes: so it can say what
// the stamps cost.
var anatomyLoad = workload{
	name:  Anatomy,
	about: "a round trip with one call outstanding, split into its stages by stamps on both sides",
	least: MinAnatomy, most: MaxSize, size: 64,
	requests: 20000, counted: true,
	connect: connectShared,
}

// Bounds of a Config for workload Anatomy: a call's number stands in its payload, and its stamps go through the control channel as one answer.
const (
	MinAnatomy      = 8
	MaxAnatomyCalls = 50000
)

// anatomize is measure for workload Anatomy. oneClock: both sides are on one machine.
func anatomize(ctx context.Context, c *Config, server, client *process, out *outcome, oneClock bool, tell func(Step)) error {
	tell(WarmingUp)
	plain := result.Result{}
	unstamped := func(requests int) error {
		o := order{Do: "run", Requests: requests}
		a, err := client.ask(ctx, o, limitOf(&o))
		if err == nil && a.Round == nil {
			err = errNoFigures
		}
		if err == nil {
			plain.Rounds = append(plain.Rounds, *a.Round)
		}
		return err
	}
	if err := unstamped(max(c.Requests/10, min(c.Requests, 500))); err != nil {
		return err
	}
	plain.Rounds = nil
	tell(Measuring)
	if err := unstamped(c.Requests/2 + 1); err != nil {
		return err
	}
	var notes []string
	if !oneClock {
		notes = append(notes, "the clocks of two machines differ: each way on the wire is half of what neither side spent")
	}
	for _, side := range []*process{server, client} {
		a, err := side.ask(ctx, order{Do: "stamp"}, setupLimit)
		if err != nil {
			return err
		}
		for _, why := range a.Unstamped {
			notes = append(notes, side.role+": "+why)
		}
	}
	if err := measureWarm(ctx, c, server, client, out, 0, tell); err != nil {
		return err
	}
	out.note = strings.Join(notes, "; ")
	for _, side := range []*process{server, client} {
		if _, err := side.ask(ctx, order{Do: "unstamp"}, setupLimit); err != nil {
			return err
		}
	}
	if err := unstamped(c.Requests/2 + 1); err != nil {
		return err
	}
	_, l, err := plain.Merge(result.OfCalls)
	if err != nil {
		return err
	}
	out.round.Parts = map[string]*result.Latency{result.PartUnstamped: l}
	return dissect(ctx, server, client, out, oneClock)
}

// dissect collects the stamps and splits the round trips.
func dissect(ctx context.Context, server, client *process, out *outcome, oneClock bool) error {
	var events [2][]stamp.Event
	for i, side := range []*process{client, server} {
		a, err := side.ask(ctx, order{Do: "stamps"}, setupLimit)
		if err != nil {
			return err
		}
		if events[i], err = stamp.Decode(a.Stamps); err != nil {
			return fmt.Errorf("%s: %w", side.role, err)
		}
	}
	spans, unclear, err := stamp.Split(events[0], events[1], oneClock)
	if err != nil {
		return err
	}
	out.round.Unclear = int64(unclear)
	for i := range spans {
		out.round.Stages = append(out.round.Stages, stageOf(&spans[i]))
	}
	return nil
}

func stageOf(s *stamp.Span) result.Stage {
	stage := result.Stage{Name: s.Name, Side: s.Side}
	if s.Kernel != nil {
		slices.Sort(s.Kernel)
		k := percentile(s.Kernel, 50)
		stage.KernelP50 = &k
	}
	slices.Sort(s.Ns)
	stage.P50, stage.P99 = percentile(s.Ns, 50), percentile(s.Ns, 99)
	var sum int64
	for _, ns := range s.Ns {
		sum += ns
	}
	stage.Mean = float64(sum) / float64(len(s.Ns)) / 1e3
	return stage
}

// percentile of sorted nanoseconds, in µs: the least value that so many percent do not exceed.
func percentile(sorted []int64, percent int) float64 {
	i := (len(sorted)*percent + 99) / 100
	return float64(time.Duration(sorted[max(i, 1)-1]).Nanoseconds()) / 1e3
}

// AnatomySystems are the names of the systems whose round trips can be stamped.
func AnatomySystems() []string {
	return slices.DeleteFunc(Names(), func(name string) bool { return !has(systems[name], Anatomy) })
}
