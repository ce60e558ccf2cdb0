package meter

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// countTime has the counters count nanoseconds of processor time, which every kernel can, in the place of instructions.
func countTime(t *testing.T) {
	old := events
	t.Cleanup(func() { events = old })
	events = []event{{unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_TASK_CLOCK}, {unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_CONTEXT_SWITCHES}}
	if c, err := OpenCounters(); err != nil {
		t.Skipf("perf_event_open: %v", err)
	} else {
		c.close()
	}
}

// worker is a goroutine on a thread of its own, which spins once when told.
func worker(d time.Duration) (spinNow func(), done chan struct{}) {
	begin, done, up := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer close(done)
		close(up)
		<-begin
		spin(d)
	}()
	<-up
	return func() { close(begin) }, done
}

// What all threads do is counted: that of the caller, one that was there before, and one that starts later and has ended.
func TestCountersOfAllThreads(t *testing.T) {
	countTime(t)
	const each = 20 * time.Millisecond
	older, olderDone := worker(each)
	c, err := OpenCounters()
	if err != nil {
		t.Fatal(err)
	}
	spin(each)
	older()
	<-olderDone
	var newer []chan struct{}
	for range 4 { // the runtime may have a thread in store for the first
		now, done := worker(each)
		now()
		newer = append(newer, done)
	}
	for _, done := range newer {
		<-done
	}
	got, err := c.Stop()
	if err != nil {
		t.Fatal(err)
	}
	want := 6 * each
	if ran := time.Duration(got.Instructions); ran < want-time.Millisecond {
		t.Errorf("%v counted, the threads ran for %v", ran, want)
	}
	if c.fds != nil {
		t.Error("descriptors are left")
	}
}

// A machine either counts or says why not.
func TestCountersScope(t *testing.T) {
	if scope, ok := CountersScope(); ok != (scope == userAndKernel || scope == userOnly) || scope == "" {
		t.Errorf("%q, %v", scope, ok)
	}
	countTime(t)
	if scope, ok := CountersScope(); !ok {
		t.Errorf("a clock cannot be counted: %s", scope)
	}
	events = []event{{unix.PERF_TYPE_HARDWARE, 1 << 20}} // no such event anywhere
	if scope, ok := CountersScope(); ok || scope == "" {
		t.Errorf("%q of an event that does not exist", scope)
	}
}
