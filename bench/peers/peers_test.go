package peers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/bench"
)

// programs is where the peers are, built as 'make peers' builds them.
var programs string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if programs, err = os.MkdirTemp("", "peers-"); err == nil {
		defer os.RemoveAll(programs)
		err = build("peers", "PEERS_DIR="+programs, "FASTRPC="+filepath.Join(programs, "fastrpc"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bench.AddPeers(programs, bench.Peers())
	return m.Run()
}

func build(args ...string) error {
	make := exec.Command("make", append([]string{"-s", "-C", "../.."}, args...)...)
	make.Stdout, make.Stderr = os.Stderr, os.Stderr
	return make.Run()
}

// shortly are points at which a workload takes little time.
var shortly = map[string][]float64{
	bench.Open: {500}, bench.Sweep: {0.5}, bench.Sizes: {64, 8 << 20}, bench.Sessions: {20}, bench.Incast: {4}, bench.Idle: {1},
}

// Every system carries every workload that it says it has, to the end and without a wrong byte, as 'fastrpc bench compare' runs it.
func TestInALab(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces and loads BPF programs")
	}
	configs := []bench.Config{{Workload: bench.Flood, Size: 1500}, {Workload: bench.Rate, Outstanding: 64, Blocking: true}}
	for _, workload := range bench.Workloads() {
		configs = append(configs, bench.Config{Workload: workload, Along: shortly[workload]})
	}
	for _, c := range configs {
		for _, name := range bench.Peers() {
			s, err := bench.Lookup(name)
			if err != nil {
				t.Fatal(err)
			}
			if s.(bench.Loader).Has(c.Workload) {
				c.Systems = append(c.Systems, name)
			}
		}
		if c.Duration, c.Rounds = 50*time.Millisecond, 1; len(c.Systems) == 0 {
			continue
		}
		if c.Workload == bench.Open || c.Workload == bench.Sweep { // a machine that does something else for that long leaves no call in time
			c.Duration = 300 * time.Millisecond
		}
		c.Child = []string{"/bin/false"} // each peer's processes are its own program's
		r, err := bench.Compare(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		for _, res := range r.Results {
			if res.Error != "" || len(res.Rounds) != 1 || res.Rounds[0].Ops <= 0 || (res.Rounds[0].Latency == nil) != (c.Workload == bench.Flood) {
				t.Errorf("%s of %s: %+v", c.Workload, res.System, res)
			}
		}
	}
}

// A peer that dies in the middle of a run ends it with a reason, whichever side it was, and at once: not when the time is up.
func TestKilled(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	const much = time.Hour // of which the warm-up is a tenth
	for _, name := range bench.Peers() {
		s, err := bench.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(programs, name)); err != nil {
			continue // it is another system's program, which dies no other way
		}
		for side, why := range []string{"server: signal: killed", "client: signal: killed"} {
			if s.Bypass() || testing.Short() {
				continue // what they have of their own is their sockets; bench's own tests kill processes, too
			}
			t.Run(name+"/"+why, func(t *testing.T) {
				begin := time.Now()
				r, err := bench.Compare(t.Context(), bench.Config{
					Systems: []string{name}, Size: 64, Duration: much, Rounds: 1, Child: []string{"/bin/false"},
					Progress: func(p bench.Progress) {
						if p.Step == bench.WarmingUp {
							go kill(t, filepath.Join(programs, name), side)
						}
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				if got := r.Results[0].Error; !strings.Contains(got, why) || len(r.Results[0].Rounds) > 0 || time.Since(begin) > much/2 {
					t.Errorf("after %v: %+v", time.Since(begin), r.Results[0])
				}
			})
		}
	}
}

// kill ends one of the two children of this process that run a program, in the order of their start, once the younger one works.
func kill(t *testing.T, program string, side int) {
	var pids []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		if _, parent, _ := readStat(file); parent != os.Getpid() {
			continue
		}
		if exe, _ := os.Readlink(filepath.Join(filepath.Dir(file), "exe")); exe == program {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			pids = append(pids, pid)
		}
	}
	slices.SortFunc(pids, func(a, b int) int { return started(a) - started(b) })
	if len(pids) != 2 {
		t.Errorf("%s runs as %v, want two processes", program, pids)
		return
	}
	stat := fmt.Sprintf("/proc/%d/stat", pids[1])
	_, _, before := readStat(stat)
	for {
		_, parent, ticks := readStat(stat)
		if parent == 0 {
			t.Errorf("%s ended by itself", program)
			return
		}
		if ticks >= before+5 {
			break
		}
		time.Sleep(time.Millisecond) // there is no event to wait for
	}
	if err := syscall.Kill(pids[side], syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

// readStat reads when a process was started, its parent, and the CPU time that it has used, in ticks (proc_pid_stat(5)); zeros if it is gone.
func readStat(file string) (start, parent, used int) {
	text, err := os.ReadFile(file)
	_, rest, found := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	if err != nil || !found || len(f) < 20 {
		return 0, 0, 0
	}
	at := func(i int) int { n, _ := strconv.Atoi(f[i-3]); return n }
	return at(22), at(4), at(14) + at(15)
}

func started(pid int) int {
	start, _, _ := readStat(fmt.Sprintf("/proc/%d/stat", pid))
	return start
}

// A peer that cannot be built leaves the compiler's words behind, and the others are built.
func TestCannotBeBuilt(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\ncase $* in *./kitex) echo 'go: downloading x v1.0.0' >&2; echo 'out of luck' >&2; exit 1;; esac\nexec go \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := build("peer-kitex", "peer-arpc", "PEERS_DIR="+dir, "GO="+filepath.Join(dir, "go")); err != nil {
		t.Fatal(err)
	}
	why, err := os.ReadFile(filepath.Join(dir, "kitex.missing"))
	if err != nil || strings.TrimSpace(string(why)) != "out of luck" {
		t.Errorf("what is left of kitex: %q, %v", why, err)
	}
	for _, name := range []string{"kitex", "arpc.missing"} {
		if _, err := os.Stat(filepath.Join(dir, name)); !os.IsNotExist(err) {
			t.Errorf("%s: %v, want none", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "arpc")); err != nil {
		t.Error(err)
	}
}
