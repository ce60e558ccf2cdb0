package session_test

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

var (
	seeds       = flag.Int("seeds", 2000, "how many worlds TestChaos runs")
	oneSeed     = flag.Int64("seed", -1, "run this one world of TestChaos")
	keepLines   = flag.String("keep", "", "of the schedule of -seed, only these lines: 3,17,20")
	networkSeed = flag.Uint64("network", 0, "with -keep: the seed of what the network does, 0 for the schedule's own")
)

// TestChaos runs many small worlds, each by a schedule that is drawn from its seed: what the network does to packets, how the ends are sized,
// which calls are made, how long handlers take, who gives up when, who pauses, crashes, or is cut off. What holds in each of them stands at
// the type chaos. The schedule of a world that fails is shrunk and shown, with the packets that it takes.
func TestChaos(t *testing.T) {
	if *keepLines != "" {
		replay(t, uint64(*oneSeed))
		return
	}
	first, last := int64(1), int64(*seeds)
	if *oneSeed >= 0 {
		first, last = *oneSeed, *oneSeed
	}
	var mu sync.Mutex
	shown := map[string]bool{} // kinds of failures
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			items := draw(uint64(seed))
			v := play(t, items, whole(items), uint64(seed), nil)
			if !v.Failed() {
				return
			}
			mu.Lock()
			known := shown[v.kind]
			shown[v.kind] = true
			mu.Unlock()
			if known { // the cause is likely to be the same
				t.Errorf("%s\nagain, and shrunk: %s -seed %d", v.all[0], again, seed)
			} else {
				t.Error(diagnose(t, uint64(seed), items, v))
			}
		})
	}
}

const again = "go test ./transport/session -run TestChaos"

// whole is all lines of a schedule.
func whole(items []item) []int {
	keep := make([]int, len(items))
	for i := range keep {
		keep[i] = i
	}
	return keep
}

const (
	shrinkBudget = 300 // schedules; those that do not fail take networkTries runs each
	networkTries = 3   // luck changes with what is left out: as many seeds of the network are tried before a line counts as needed
)

// diagnose shrinks the schedule of a seed that failed and shows what is left of it, its packets, and how to run it again.
func diagnose(t testing.TB, seed uint64, items []item, failed *verdict) string {
	network, runs := seed, 0
	keep := shrink(whole(items), shrinkBudget, func(keep []int) bool {
		for try := range uint64(networkTries) {
			runs++
			if play(t, items, keep, network+try<<32, nil).kind == failed.kind {
				network += try << 32
				return true
			}
		}
		return false
	})
	tr := new(tracer)
	v := play(t, items, keep, network, tr)
	list := strings.Trim(strings.ReplaceAll(fmt.Sprint(keep), " ", ","), "[]")
	return fmt.Sprintf("seed %d: %s\n\nThe schedule, shrunk from %d lines to %d in %d runs:\n%s\nIts packets:\n%v\n\nIts failures:\n%s\n\n"+
		"again: %s -seed %d -keep %s -network %d\nwhole: %s -seed %d",
		seed, strings.Join(failed.all, "\n"), len(items), len(keep), runs, describeItems(items, keep), tr, strings.Join(v.all, "\n"),
		again, seed, list, network, again, seed)
}

// replay runs what diagnose left of a schedule.
func replay(t *testing.T, seed uint64) {
	items := draw(seed)
	var keep []int
	for _, s := range strings.Split(*keepLines, ",") {
		i, err := strconv.Atoi(s)
		if err != nil || i < 0 || i >= len(items) || slices.Contains(keep, i) {
			t.Fatalf("-keep: %q is no line of the schedule of seed %d, which has %d", s, seed, len(items))
		}
		keep = append(keep, i)
	}
	if *networkSeed == 0 {
		*networkSeed = seed
	}
	tr := new(tracer)
	v := play(t, items, keep, *networkSeed, tr)
	t.Logf("The schedule:\n%s\nIts packets:\n%v", describeItems(items, keep), tr)
	if v.Failed() {
		t.Error(strings.Join(v.all, "\n"))
	}
}
