package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/internal/lab"
)

func TestConfig(t *testing.T) {
	good := Config{Systems: []string{"net-tcp"}, Size: 64, Requests: 1, Rounds: 1, Child: []string{"x"}}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no systems":    func(c *Config) { c.Systems = nil },
		"one CPU":       func(c *Config) { c.CPUs = []int{0} },
		"no such CPU":   func(c *Config) { c.CPUs = []int{0, 1023} },
		"lab and agent": func(c *Config) { c.Lab, c.Agent.Addr = "x", "y:1" },
		"twice":         func(c *Config) { c.Systems = []string{"net-tcp", "net-tcp"} },
		"negative size": func(c *Config) { c.Size = -1 },
		"too large":     func(c *Config) { c.Size = MaxSize + 1 },
		"no rounds":     func(c *Config) { c.Rounds = -1 },
		"tiny packets":  func(c *Config) { c.MTU = 1 },
		"lab's MTU":     func(c *Config) { c.Lab, c.MTU = "x", 1500 },
		"two bounds":    func(c *Config) { c.Duration = time.Second },
		"negative":      func(c *Config) { c.Requests = -1 },
		"nobody to do":  func(c *Config) { c.Child = nil },
		"no workload":   func(c *Config) { c.Workload = "leisure" },
		"two at once":   func(c *Config) { c.Outstanding = 2 },
		"none at once":  func(c *Config) { c.Workload, c.Requests, c.Duration, c.Outstanding = Rate, 0, time.Second, -1 },
		"counted flood": func(c *Config) { c.Workload = Flood },
		"long calls":    func(c *Config) { c.Workload, c.Requests, c.Duration, c.Size = Rate, 0, time.Second, MaxSize+1 },
		"short bulk":    func(c *Config) { c.Workload, c.Requests, c.Duration, c.Size = Bulk, 0, time.Second, MinBulk-1 },
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
	for _, name := range slices.Concat(Default(Latency), Peers(), []string{"carrier-pigeon"}) {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not name %s", err, name)
		}
	}
}

// A comparison that names no systems takes those that have the workload.
func TestDefault(t *testing.T) {
	for _, workload := range Workloads() {
		names := Default(workload)
		if slices.Contains(names, "ring") != has(ring{}, workload) || slices.Contains(names, "spin-tcp") != has(system(t, "spin-tcp"), workload) || len(names) == 0 {
			t.Errorf("workload %s: %v", workload, names)
		}
	}
}

// What a user runs, small: in a lab of its own as root, over loopback otherwise, which must be said.
func TestCompare(t *testing.T) {
	c := Config{Systems: []string{"ring", "xdp", "xdp-worker", "udp", "net-tcp", "spin-tcp"}, Size: 64, Requests: 1000, Rounds: 2, Child: childCommand(t)}
	steps := starts(&c)
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
	for round := range c.Rounds {
		checkOrder(t, (*steps)[round*len(ran):][:len(ran)], ran)
	}
	if r.Run.Seed == 0 {
		t.Error("the seed is not reported")
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
	if m := &r.Machine; m.Counters == "" || m.MaxProcs < 1 || m.GoGC == "" || m.NIC.MTU == 0 {
		t.Errorf("machine %+v: want what the client says of itself", m)
	}
}

// starts collects the systems in the order in which they run.
func starts(c *Config) *[]string {
	var steps []string
	c.Progress = func(p Progress) {
		if p.Step == Starting {
			steps = append(steps, p.System)
		}
	}
	return &steps
}

// checkOrder checks that each system ran once.
func checkOrder(t *testing.T, ran, want []string) {
	t.Helper()
	if !slices.Equal(slices.Sorted(slices.Values(ran)), slices.Sorted(slices.Values(want))) {
		t.Errorf("ran %v, want each of %v once in a round", ran, want)
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
		c, s := &round.Client, &round.Server
		if c.Calls != round.Ops || s.Calls < round.Ops || c.UserNs+c.SystemNs <= 0 || s.UserNs+s.SystemNs <= 0 || (c.Instructions != nil) != (s.Instructions != nil) {
			t.Errorf("%s: client %+v, server %+v", res.System, c, s)
		}
		if n := &round.Network; n.Sent < uint64(round.Ops) || n.Received < uint64(round.Ops) || n.Retransmissions == nil { // in packets of their own, all of them
			t.Errorf("%s: %+v for %d calls", res.System, n, round.Ops)
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
	p := onLoopback(&c)
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
	const d = 200 * time.Millisecond
	r := compareOnLoopback(t, Config{Systems: []string{"spin-tcp"}, Size: MaxSize, Duration: d, Rounds: 1, Child: childCommand(t)})
	if res := r.Results[0]; res.Error != "" || res.Rounds[0].Ops < 2 || res.Rounds[0].Seconds < d.Seconds() {
		t.Errorf("%+v", res)
	}
}

// A system that fails says why, is not tried again, and leaves the others alone.
func TestFaultySystems(t *testing.T) {
	c := Config{
		Systems: []string{"test-refuses", "test-crashes", "test-panics", "test-lies", "net-tcp"}, Size: 64, Requests: 100, Rounds: 2, Child: childCommand(t),
	}
	steps := starts(&c)
	r := compareOnLoopback(t, c)
	for i, want := range []string{"no such luck", "exit status 3", "out of luck", ErrEcho.Error()} {
		if res := r.Results[i]; !strings.Contains(res.Error, want) || len(res.Rounds) != 0 {
			t.Errorf("%s: error %q, want one with %q", res.System, res.Error, want)
		}
	}
	checkResult(t, &r.Results[4], 2, 100)
	checkOrder(t, (*steps)[:5], c.Systems)
	checkOrder(t, (*steps)[5:], []string{"net-tcp"})
}

// A system that dies keeps the rounds before, with the reason; one that the machine lacks is named.
func TestDyingAndMissing(t *testing.T) {
	AddMissing("test-lacks", "never built")
	t.Cleanup(func() { delete(missing, "test-lacks") })
	t.Setenv(dyingFile, filepath.Join(t.TempDir(), "ran"))
	r := compareOnLoopback(t, Config{Systems: []string{"test-dies", "test-lacks", "net-tcp"}, Size: 64, Requests: 100, Rounds: 3, Child: childCommand(t)})
	if res := r.Results[0]; len(res.Rounds) != 1 || !strings.Contains(res.Error, "panic: out of luck") || res.Absent {
		t.Errorf("%+v, want a round and the reason why there are no more", res)
	}
	if res := r.Results[1]; !res.Absent || res.Error != "never built" {
		t.Errorf("%+v, want the reason why it is missing", res)
	}
	checkResult(t, &r.Results[2], 3, 100)
}

// The order of the systems is the seed's: the same again with the same seed, another one in other rounds.
func TestSeed(t *testing.T) {
	run := func(seed uint64) []string {
		c := Config{Systems: []string{"udp", "net-tcp", "spin-tcp"}, Size: 64, Requests: 2, Rounds: 4, Seed: seed, Child: childCommand(t)}
		steps := starts(&c)
		r := compareOnLoopback(t, c)
		for i, res := range r.Results {
			for round, got := range res.Rounds {
				if want := slices.Index((*steps)[3*round:][:3], c.Systems[i]) + 1; got.Place != want || got.Number != round+1 {
					t.Errorf("%s: round %d, place %d, want %d, %d", res.System, got.Number, got.Place, round+1, want)
				}
			}
		}
		return *steps
	}
	first := run(7)
	if again := run(7); !slices.Equal(first, again) {
		t.Errorf("seed 7: %v, then %v", first, again)
	}
	if slices.Equal(first[:3], first[3:6]) && slices.Equal(first[:3], first[6:9]) && slices.Equal(first[:3], first[9:]) {
		t.Errorf("%v: the same order in every round", first)
	}
}

// A comparison that is interrupted, whatever it does at the moment, ends with its processes and its lab, and keeps the rounds before.
func TestInterrupted(t *testing.T) {
	var all []Progress
	c := Config{Systems: []string{"net-tcp", "spin-tcp"}, Size: 64, Requests: 100, Rounds: 2, Seed: 1, Child: childCommand(t)}
	c.Progress = func(p Progress) { all = append(all, p) }
	if _, err := Compare(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for i, at := range all {
		ctx, cancel := context.WithCancelCause(t.Context())
		n := 0
		c.Progress = func(Progress) {
			if n++; n == i+1 {
				cancel(errEnough)
			}
		}
		r, err := Compare(ctx, c)
		if !errors.Is(err, errEnough) {
			t.Errorf("%+v: %v, want the reason for the end", at, err)
		}
		rounds := 0
		if r != nil {
			for _, res := range r.Results {
				rounds += len(res.Rounds)
			}
		}
		if rounds != at.Done || (r == nil) != (at.Done == 0) || r != nil && r.Interrupted != errEnough.Error() {
			t.Errorf("%+v: %d rounds in the report, want %d, interrupted by %q", at, rounds, at.Done, errEnough)
		}
		noLab(t)
		noChildren(t)
	}
}

var errEnough = errors.New("enough")

// A call that hangs is no reason to stay.
func TestInterruptedWhileHanging(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := Config{Systems: []string{"test-hangs"}, Size: 64, Requests: 1, Rounds: 1, Child: childCommand(t)}
	c.Progress = func(p Progress) {
		if p.Step == WarmingUp {
			time.AfterFunc(10*time.Millisecond, cancel)
		}
	}
	if r, err := Compare(ctx, c); r != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v, want context.Canceled", r, err)
	}
	noLab(t)
	noChildren(t)
}

// The lab of a comparison that was killed is taken down by the next one; its processes have ended by themselves.
func TestKilled(t *testing.T) {
	if missingCapabilities() != "" {
		t.Skip("labs need root: run the tests as root to include this one")
	}
	killed := start(t, func(cmd *exec.Cmd) error { return cmd.Start() }, driveArg, "")
	killed.await(t, "run 1 measures")
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = killed.Wait()
	name := labPrefix + strconv.Itoa(killed.Process.Pid)
	waitForOthers(t, name, nil)
	c := Config{Systems: []string{"net-tcp"}, Size: 64, Requests: 10, Rounds: 1, Child: childCommand(t)}
	if _, err := Compare(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	infos, err := lab.Status()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range infos {
		if i.Name == name {
			t.Errorf("left behind: %+v", i)
		}
	}
}

// noChildren checks that no process started by this one is left.
func noChildren(t *testing.T) {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(lists) == 0 {
		t.Fatal("the kernel does not list children", err)
	}
	for _, name := range lists {
		if b, err := os.ReadFile(name); err == nil && len(b) > 0 {
			t.Errorf("left behind: processes %s", b)
		}
	}
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
