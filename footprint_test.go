package fastrpc_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc"
)

// A server with defaults over AF_XDP stays small, its packet memory included, and while a hundred sessions are idle it costs next to nothing.
func TestFootprint(t *testing.T) {
	w := cabled(t, 2)
	server := w.startChild(t, "server", w.listenTarget(0), "")
	number, err := strconv.Atoi(server.line(t))
	must(t, err)
	clients := make([]*fastrpc.Client, 100)
	for i := range clients {
		clients[i] = w.dial(t, uint16(number))
		checkEcho(t, clients[i], "echo", pattern(1000))
		checkEcho(t, clients[i], "worker", pattern(1000))
	}
	pid := server.cmd.Process.Pid
	const mostKiB = 64 << 10
	if rss := residentKiB(t, pid); rss > mostKiB {
		t.Errorf("the server has %d KiB resident, want at most %d", rss, mostKiB)
	} else {
		t.Logf("the server has %d KiB resident, with %d sessions", rss, len(clients))
	}

	// The server parks when its last timers, of acknowledgements and probes, have passed.
	time.Sleep(100 * time.Millisecond)
	const window = 3 * time.Second
	began, used := time.Now(), cpuTime(t, pid)
	time.Sleep(window)
	used, took := cpuTime(t, pid)-used, time.Since(began)
	share := float64(used) / float64(took)
	t.Logf("it used %v of processor time in %v: %.3f %% of a core", used, took, 100*share)
	if share >= 0.01 {
		t.Errorf("it burns %.2f %% of a core while idle, want less than 1 %%", 100*share)
	}
	for _, c := range clients { // they were there all the time
		checkEcho(t, c, "echo", pattern(10))
	}
}

// residentKiB is a process's VmRSS.
func residentKiB(t testing.TB, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	for line := range strings.Lines(string(status)) {
		var kib int
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			return kib
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// cpuTime is what a process's threads have run, to the nanosecond (Documentation/scheduler/sched-stats.rst).
func cpuTime(t testing.TB, pid int) (sum time.Duration) {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	must(t, err)
	if len(threads) == 0 {
		t.Fatalf("process %d has ended", pid)
	}
	for _, path := range threads {
		b, err := os.ReadFile(path)
		must(t, err)
		ns, err := strconv.ParseInt(string(bytes.Fields(b)[0]), 10, 64)
		must(t, err)
		sum += time.Duration(ns)
	}
	if sum == 0 {
		t.Fatal("the kernel does not account for processor time (CONFIG_SCHED_INFO)")
	}
	return sum
}
