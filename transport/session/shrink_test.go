package session_test

import (
	"fmt"
	"runtime/debug"
	"slices"
	"testing"
	"time"
)

// verdict stands in for the test while a world runs, so that a world that fails can be run again with less in it.
type verdict struct {
	testing.TB
	kind string // of the first failure: what stays the same when the numbers in it change
	all  []string
}

type stopped struct{} // what a verdict panics with

const mostFailures = 5

func (v *verdict) fail(kind, text string) {
	if v.kind == "" {
		v.kind = kind
	}
	v.all = append(v.all, text)
}

func (v *verdict) Errorf(format string, args ...any) {
	v.fail(format, fmt.Sprintf(format, args...))
	if len(v.all) == mostFailures {
		panic(stopped{})
	}
}

func (v *verdict) Fatalf(format string, args ...any) {
	v.fail(format, fmt.Sprintf(format, args...))
	panic(stopped{})
}

func (v *verdict) Error(args ...any) { v.Errorf("%s", fmt.Sprint(args...)) }
func (v *verdict) Fatal(args ...any) { v.Fatalf("%s", fmt.Sprint(args...)) }
func (v *verdict) Failed() bool      { return v.kind != "" }
func (v *verdict) Helper()           {}

// hangs is a thousand times what a world takes: an endpoint does not come back from one of its methods.
const hangs = 30 * time.Second

// play runs the world of some lines of a schedule. A panic is a failure; an endless loop, from which there is no way back, ends everything.
func play(t testing.TB, items []item, keep []int, network uint64, tr *tracer) (v *verdict) {
	v = &verdict{TB: t}
	watchdog := time.AfterFunc(hangs, func() {
		debug.SetTraceback("all")
		panic(fmt.Sprintf("a world hangs (below: where); its network's seed is %d, its schedule\n%s", network, describeItems(items, keep)))
	})
	defer watchdog.Stop()
	defer func() {
		if r := recover(); r != nil && r != (stopped{}) {
			v.fail(fmt.Sprint("panic: ", r), fmt.Sprintf("panic: %v\n%s", r, debug.Stack()))
		}
	}()
	newChaos(v, newPlan(items, keep), network, tr).play()
	return v
}

// shrink looks for a small part of keep, in order, that fails still, by leaving out ever smaller runs of it (after Zeller and Hildebrandt, Simplifying and
// Isolating Failure-Inducing Input, 2002). It calls fails at most budget times.
func shrink(keep []int, budget int, fails func([]int) bool) []int {
	for size := max(len(keep)/2, 1); ; size = max(size/2, 1) {
		before := len(keep)
		for at := 0; at < len(keep); {
			if budget == 0 {
				return keep
			}
			budget--
			if less := slices.Delete(slices.Clone(keep), at, min(at+size, len(keep))); fails(less) {
				keep = less
			} else {
				at += size
			}
		}
		if size == 1 && len(keep) == before {
			return keep
		}
	}
}

// TestShrink leaves of two hundred lines the three that make the failure, and stops when its budget is spent.
func TestShrink(t *testing.T) {
	want := []int{3, 70, 150}
	runs := 0
	fails := func(keep []int) bool {
		runs++
		for _, i := range want {
			if !slices.Contains(keep, i) {
				return false
			}
		}
		return true
	}
	all := make([]int, 200)
	for i := range all {
		all[i] = i
	}
	if got := shrink(all, 1000, fails); !slices.Equal(got, want) || runs > 100 {
		t.Errorf("%v is left after %d runs, want %v", got, runs, want)
	}
	runs = 0
	if got := shrink(all, 5, fails); !fails(got) || runs != 6 {
		t.Errorf("%v is left, after %d runs", got, runs)
	}
	if got := shrink(all[:1], 5, func([]int) bool { return true }); len(got) != 0 {
		t.Errorf("%v is left, and nothing is needed", got)
	}
}
