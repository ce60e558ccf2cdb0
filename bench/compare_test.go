package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
)

func TestConfig(t *testing.T) {
	good := Config{Systems: []string{"net-tcp"}, Size: 64, Requests: 1, Rounds: 1, Child: []string{"x"}}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no systems":   func(c *Config) { c.Systems = nil },
		"twice":        func(c *Config) { c.Systems = []string{"net-tcp", "net-tcp"} },
		"empty":        func(c *Config) { c.Size = 0 },
		"too large":    func(c *Config) { c.Size = MaxSize + 1 },
		"no rounds":    func(c *Config) { c.Rounds = 0 },
		"no bound":     func(c *Config) { c.Requests = 0 },
		"two bounds":   func(c *Config) { c.Duration = time.Second },
		"negative":     func(c *Config) { c.Requests = -1 },
		"nobody to do": func(c *Config) { c.Child = nil },
		"no workload":  func(c *Config) { c.Workload = "leisure" },
		"two at once":  func(c *Config) { c.Outstanding = 2 },
		"none at once": func(c *Config) { c.Workload, c.Requests, c.Duration, c.Outstanding = Rate, 0, time.Second, -1 },
		"counted rate": func(c *Config) { c.Workload = Rate },
		"long calls":   func(c *Config) { c.Workload, c.Requests, c.Duration, c.Size = Rate, 0, time.Second, MaxSize+1 },
		"short bulk":   func(c *Config) { c.Workload, c.Requests, c.Duration, c.Size = Bulk, 0, time.Second, MinBulk-1 },
		"much bulk": func(c *Config) {
			c.Workload, c.Requests, c.Duration, c.Size, c.Outstanding = Bulk, 0, time.Second, MaxBulk, 2
		},
	} {
		c := good
		change(&c)
		if err := c.check(); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v, want ErrConfig", name, err)
		}
	}
	c := good
	c.Systems = []string{"net-tcp", "carrier-pigeon"}
	_, err := Compare(context.Background(), c)
	if !errors.Is(err, ErrUnknownSystem) || !errors.Is(err, ErrConfig) {
		t.Fatalf("%v, want ErrUnknownSystem", err)
	}
	for _, name := range append(Default(Latency), "carrier-pigeon") {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not name %s", err, name)
		}
	}
}

// A comparison that names no systems takes those that have the workload.
func TestDefault(t *testing.T) {
	for _, workload := range Workloads() {
		names := Default(workload)
		if !slices.Contains(names, "ring") || slices.Contains(names, "spin-tcp") != (workload == Latency) {
			t.Errorf("workload %s: %v", workload, names)
		}
	}
}

// What a user runs, small: in a lab of its own as root, over loopback otherwise, which must be said.
func TestCompare(t *testing.T) {
	var steps []string
	c := Config{
		Systems: []string{"ring", "xdp", "xdp-worker", "udp", "net-tcp", "spin-tcp"}, Size: 64, Requests: 1000, Rounds: 2, Child: childCommand(t),
		Progress: func(p Progress) { steps = append(steps, p.System) },
	}
	r, err := Compare(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	noLab(t)
	privileged := missingCapabilities() == ""
	if privileged != (len(r.Notes) == 0) {
		t.Errorf("notes %q", r.Notes)
	}
	ran := c.Systems
	if !privileged {
		ran = ran[3:]
	}
	if want := slices.Concat(ran, ran); !slices.Equal(steps, want) {
		t.Errorf("ran %v, want %v: interleaved", steps, want)
	}
	for _, res := range r.Results {
		if !slices.Contains(ran, res.System) {
			if res.Error == "" || len(res.Rounds) != 0 {
				t.Errorf("%+v: want a reason and no rounds", res)
			}
			continue
		}
		checkResult(t, &res, c.Rounds, c.Requests)
	}
	if privileged && (r.Machine.NIC.Driver != "veth" || r.Machine.NIC.XDPMode != "native" || r.Machine.NIC.ZeroCopy != "no") {
		t.Errorf("machine %+v: want what the kernel granted on veth", r.Machine)
	}
}

func checkResult(t *testing.T, res *result.Result, rounds, ops int) {
	t.Helper()
	if res.Error != "" || len(res.Rounds) != rounds {
		t.Fatalf("%s: %d rounds, error %q", res.System, len(res.Rounds), res.Error)
	}
	// A process has a handful of allocations of its own; one in a call would be 1.
	if allocs := res.Median(result.Allocs); !(allocs < 0.2) && !raceDetector {
		t.Errorf("%s: %v allocations a call", res.System, allocs)
	}
	for _, round := range res.Rounds {
		if l := round.Latency; l == nil || round.Ops != int64(ops) || l.P50 <= 0 || l.P50 > l.P99 || l.P99 > l.P999 || l.P999 > l.Max || round.PerSec <= 0 {
			t.Errorf("%s: implausible %+v", res.System, round)
		}
	}
}

// noLab checks that no comparison of this process left its lab behind.
func noLab(t *testing.T) {
	t.Helper()
	left, err := filepath.Glob(fmt.Sprintf("/run/netns/%s%d-*", labPrefix, os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// compareOnLoopback runs c as Compare does where there are no privileges.
func compareOnLoopback(t *testing.T, c Config) *result.Report {
	t.Helper()
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	p := onLoopback()
	r := newReport(&c, p, nil)
	if err := fill(t.Context(), &c, p, r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLoopback(t *testing.T) {
	r := compareOnLoopback(t, Config{Systems: []string{"spin-tcp", "ring", "net-tcp", "udp"}, Size: 1, Requests: 200, Rounds: 1, Child: childCommand(t)})
	checkResult(t, &r.Results[0], 1, 200)
	checkResult(t, &r.Results[2], 1, 200)
	checkResult(t, &r.Results[3], 1, 200)
	if r.Results[1].Error == "" {
		t.Error("ring ran over loopback, or was left out without a reason")
	}
}

func TestDuration(t *testing.T) {
	const d = 50 * time.Millisecond
	r := compareOnLoopback(t, Config{Systems: []string{"spin-tcp"}, Size: MaxSize, Duration: d, Rounds: 1, Child: childCommand(t)})
	if res := r.Results[0]; res.Error != "" || res.Rounds[0].Ops < 2 || res.Rounds[0].Seconds < d.Seconds() {
		t.Errorf("%+v", res)
	}
}

// A system that fails says why, is not tried again, and leaves the others alone.
func TestFaultySystems(t *testing.T) {
	var steps []string
	r := compareOnLoopback(t, Config{
		Systems: []string{"test-refuses", "test-crashes", "test-panics", "test-lies", "net-tcp"}, Size: 64, Requests: 100, Rounds: 2, Child: childCommand(t),
		Progress: func(p Progress) { steps = append(steps, p.System) },
	})
	for i, want := range []string{"no such luck", "exit status 3", "out of luck", ErrEcho.Error()} {
		if res := r.Results[i]; !strings.Contains(res.Error, want) || len(res.Rounds) != 0 {
			t.Errorf("%s: error %q, want one with %q", res.System, res.Error, want)
		}
	}
	checkResult(t, &r.Results[4], 2, 100)
	if want := []string{"test-refuses", "test-crashes", "test-panics", "test-lies", "net-tcp", "net-tcp"}; !slices.Equal(steps, want) {
		t.Errorf("ran %v, want %v", steps, want)
	}
}

// A comparison that is interrupted while a call hangs ends, with its processes, and says so.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := Config{Systems: []string{"test-hangs"}, Size: 64, Requests: 1, Rounds: 1, Child: childCommand(t)}
	c.Progress = func(Progress) { cancel() }
	if _, err := Compare(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	noLab(t)
}

func TestNothingRunsOnLoopback(t *testing.T) {
	c := Config{Systems: []string{"ring"}}
	c.addKernelSystems()
	if !slices.Contains(c.Systems, "net-tcp") || !slices.Contains(c.Systems, "spin-tcp") || c.Systems[0] != "ring" {
		t.Errorf("%v: want the kernel's systems too", c.Systems)
	}
	c = Config{Systems: []string{"ring", "spin-tcp"}}
	c.addKernelSystems()
	if !slices.Equal(c.Systems, []string{"ring", "spin-tcp"}) {
		t.Errorf("%v: want what was asked for", c.Systems)
	}
}
