package meter

import (
	"encoding/json"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/bench/result"
)

// What the burning process uses between Start and Stop, known to the piece.
const (
	burntAllocs   = 1000
	burntBytes    = 64 // each, a size class of the runtime's
	burntSwitches = 200
	burntGCs      = 3
	burntTime     = 60 * time.Millisecond
)

const burnVariable = "FASTRPC_TEST_BURN"

func TestMain(m *testing.M) {
	switch os.Getenv(burnVariable) {
	case "":
	case "helper":
		helper()
		return
	default:
		burn()
		return
	}
	os.Exit(m.Run())
}

var sink *[burntBytes]byte

// burn is the process: it prints what its meter counted.
func burn() {
	debug.SetGCPercent(-1)
	m := New(Config{})
	runtime.GC()

	// Each in a window of its own: new threads and collections have the runtime allocate.
	m.Start()
	for range burntAllocs {
		sink = new([burntBytes]byte)
	}
	c := m.Stop()

	m.Start()
	done := make(chan struct{})
	go func() { // on a thread of its own, which the process's counts must include
		runtime.LockOSThread()
		sleep(burntSwitches)
		close(done)
	}()
	spin(burntTime)
	<-done
	u := m.Stop().Use
	c.Use.UserNs, c.Use.SystemNs, c.Use.Voluntary = u.UserNs, u.SystemNs, u.Voluntary

	m.Start()
	for range burntGCs {
		runtime.GC()
	}
	c.Use.GCs = m.Stop().Use.GCs
	if err := json.NewEncoder(os.Stdout).Encode(c); err != nil {
		panic(err)
	}
}

// sleep has its thread switched away n times, of its own will.
func sleep(n int) {
	for range n {
		t := unix.Timespec{Nsec: 1000}
		_ = unix.Nanosleep(&t, nil)
	}
}

// spin takes that much of its thread's time.
func spin(d time.Duration) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for begin := threadTime(); threadTime()-begin < d; {
		for range 10_000 { // most of it outside of the kernel
		}
	}
}

func threadTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano())
}

// A process that does a known amount of everything is counted right.
func TestUseOfProcess(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), burnVariable+"=1", "GODEBUG=", "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var c Counts
	if err := json.Unmarshal(out, &c); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	u := c.Use
	if u.Allocs != burntAllocs || u.AllocBytes != burntAllocs*burntBytes {
		t.Errorf("%d allocations of %d bytes together, want %d of %d", u.Allocs, u.AllocBytes, burntAllocs, burntAllocs*burntBytes)
	}
	if u.Voluntary < burntSwitches {
		t.Errorf("%d voluntary switches, want at least the %d of another thread", u.Voluntary, burntSwitches)
	}
	if u.GCs != burntGCs {
		t.Errorf("%d collections, want %d", u.GCs, burntGCs)
	}
	// Both clocks are the scheduler's, so that the sum is right however busy the machine is.
	if sum := time.Duration(u.UserNs + u.SystemNs); u.UserNs <= 0 || sum < burntTime-time.Millisecond {
		t.Errorf("%v of user and %v of system time, want %v at least", time.Duration(u.UserNs), time.Duration(u.SystemNs), burntTime)
	}
	if c.Namespace == "" || c.Namespace == " " {
		t.Error("the network namespace has no name")
	}
}

// What happened before Start, and after Stop, is not counted.
func TestNothingBetween(t *testing.T) {
	m := New(Config{})
	defer m.Close()
	for range burntAllocs {
		sink = new([burntBytes]byte)
	}
	before := time.Now()
	m.Start()
	started := time.Now()
	least := time.Since(started)
	c := m.Stop()
	if s := c.Use.Seconds; s < least.Seconds() || s > time.Since(before).Seconds() {
		t.Errorf("it counted for %v s, want between %v and %v", s, least, time.Since(before))
	}
	if c.Use.Allocs > burntAllocs/2 || c.Own.Drops != nil || c.Own.Retransmissions != 0 {
		t.Errorf("%+v", c)
	}
}

// Of the pauses in the runtime's ring of 256, those since Start count, also when there were more than it holds.
func TestPauses(t *testing.T) {
	var before, after runtime.MemStats
	before.NumGC, before.PauseTotalNs = 255, 1000
	after.NumGC, after.PauseTotalNs = 257, 8000
	after.PauseNs[254], after.PauseNs[255], after.PauseNs[0], after.PauseNs[1] = 1e6, 4000, 3000, 2e6 // collections 255, 256, 257 and 2
	var u result.Use
	collected(&u, &before, &after)
	if u.GCs != 2 || u.GCPauseUs != 7 || u.GCMaxPauseUs != 4 {
		t.Errorf("%+v", u)
	}
	after.NumGC = 255 + 1000
	collected(&u, &before, &after)
	if u.GCs != 1000 || u.GCMaxPauseUs != 2000 {
		t.Errorf("%+v", u)
	}
}

// What Start and Stop take, outside of the measured loop.
func BenchmarkStartStop(b *testing.B) {
	m := New(Config{Interface: "lo"})
	defer m.Close()
	for b.Loop() {
		m.Start()
		m.Stop()
	}
}
