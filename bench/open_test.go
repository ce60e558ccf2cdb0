package bench

import (
	"math"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
)

// queueing is a system in virtual time whose calls, as many as may be, take so long each and end in the order in which they began. Looking at it
// takes 400 ns.
type queueing struct {
	virtual
	begun []time.Duration
	slots []int
}

func (q *queueing) Begin(slot int, _ []byte) error {
	q.slots = append(q.slots, slot)
	q.begun = append(q.begun, *q.now)
	return nil
}

func (q *queueing) Poll(ended []int) (n int, err error) {
	*q.now += 400
	if len(q.slots) == 0 {
		return 0, nil
	}
	if took := q.took(q.calls); *q.now-q.begun[0] >= took {
		ended[0] = q.slots[0]
		q.calls++
		q.slots = append(q.slots[:0], q.slots[1:]...) // so that nothing is allocated
		q.begun = append(q.begun[:0], q.begun[1:]...)
		return 1, nil
	}
	return 0, nil
}

func (q *queueing) Wait(ended []int) (int, error) {
	for {
		if n, err := q.Poll(ended); n > 0 {
			return n, err
		}
	}
}

// openOver makes the open loop over a system in virtual time: over its Poller, or over its blocking calls with one goroutine, for there is one time.
func openOver(v *virtual, p Poller, at result.Point) (*client, *openLoop) {
	c := testClient(Open, at, v.now)
	l := &openLoop{client: c, arrivals: newArrivals(at.Arrivals, 1), turn: newTurn()}
	l.arrivals.setRate(at.RPS)
	if p != nil {
		c.clock = func() time.Duration { // a loop that spins takes time
			*v.now += 10
			return *v.now
		}
		l.windows = []*window{newWindow(p, &c.endpoint, 0)}
	} else {
		l.workers = []*opener{{newWorker(at.Size, 0, v)}}
		l.sleep = func(until time.Duration) error { *v.now = until; return nil }
	}
	c.load = l
	return c, l
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > want/100 {
		t.Errorf("%s: %v µs, want %v and no more than 1 %% off", what, got, want)
	}
}

// A server whose calls always take 50 µs, asked 1,000 times a second: that is what both ways to count say.
func TestOpenConstantServer(t *testing.T) {
	for name, polled := range map[string]bool{"spinning": true, "blocking": false} {
		t.Run(name, func(t *testing.T) {
			now := time.Duration(time.Hour)
			v := &virtual{now: &now, took: func(int) time.Duration { return 50 * time.Microsecond }}
			var p Poller
			if polled {
				p = &queueing{virtual: *v}
			}
			c, l := openOver(v, p, result.Point{Size: 64, Outstanding: 8, RPS: 1000, Arrivals: Constant})
			tally := c.newTally()
			if err := l.run(bound{duration: time.Second}, tally); err != nil {
				t.Fatal(err)
			}
			r := tally.round()
			if r.Ops != 1000 || r.PerSec != 1000 || r.Offered != 1000 || r.Seconds != 1 {
				t.Errorf("%d calls, %v a second of %v", r.Ops, r.PerSec, r.Offered)
			}
			for _, l := range []*result.Latency{r.Latency, r.Uncorrected} {
				near(t, "p50", l.P50, 50)
				near(t, "p99", l.P99, 50)
				near(t, "mean", l.Mean, 50)
			}
			if late := r.Parts["late"]; late == nil || late.Max > 0.5 || late.Count < 990 {
				t.Errorf("the generator was late: %+v", late)
			}
		})
	}
}

// A server that takes 50 µs, and stops for 10 ms once in 200 calls, asked 1,000 times a second with one call outstanding. In each stall some 10
// calls come due, which wait for 9, 8, ... 0 ms. Counted from when they were due, 5 calls in 100 take milliseconds; from when they were sent, 5 in
// 1,000, so that p99 knows nothing of the stalls: the omission that the open loop is there to mend.
func TestOpenShowsStalls(t *testing.T) {
	for name, polled := range map[string]bool{"spinning": true, "blocking": false} {
		t.Run(name, func(t *testing.T) {
			now := time.Duration(time.Hour)
			v := &virtual{now: &now, took: func(call int) time.Duration {
				if call%200 == 100 {
					return 10 * time.Millisecond
				}
				return 50 * time.Microsecond
			}}
			var p Poller
			if polled {
				p = &queueing{virtual: *v}
			}
			c, l := openOver(v, p, result.Point{Size: 64, Outstanding: 1, RPS: 1000, Arrivals: Constant})
			tally := c.newTally()
			if err := l.run(bound{duration: 2 * time.Second}, tally); err != nil {
				t.Fatal(err)
			}
			r := tally.round()
			if r.Ops != 2000 || r.Latency.Count != 2000 || r.Uncorrected.Count != 2000 {
				t.Fatalf("%d calls, %d and %d recorded, want 2000", r.Ops, r.Latency.Count, r.Uncorrected.Count)
			}
			near(t, "uncorrected p99", r.Uncorrected.P99, 50)
			near(t, "uncorrected p99.9", r.Uncorrected.P999, 10000)
			near(t, "uncorrected max", r.Uncorrected.Max, 10000)
			near(t, "p50", r.Latency.P50, 50)
			near(t, "max", r.Latency.Max, 10000)
			// The calls of a stall end after 10 ms, then 9.05, 8.1, ... 0.5: eleven in 200. So 1 % of all take more than 8.1 ms, and 3.9 % more than 3.35.
			near(t, "p99", r.Latency.P99, 8100)
			near(t, "p99.9", r.Latency.P999, 10000)
			if at, err := r.Latency.Decode(); err != nil {
				t.Error(err)
			} else {
				near(t, "p96", float64(at.ValueAtPercentile(96.1))/1e3, 3350)
			}
		})
	}
}

// A load of ten times what the server carries: the round ends in time, sends no more than the server takes, keeps no call for later, and
// counts the wait of those that were never sent.
func TestOpenOverload(t *testing.T) {
	for name, polled := range map[string]bool{"spinning": true, "blocking": false} {
		t.Run(name, func(t *testing.T) {
			now := time.Duration(time.Hour)
			v := &virtual{now: &now, took: func(int) time.Duration { return time.Millisecond }}
			var p Poller
			if polled {
				p = &queueing{virtual: *v}
			}
			c, l := openOver(v, p, result.Point{Size: 64, Outstanding: 1, RPS: 10000, Arrivals: Constant})
			tally := c.newTally()
			if err := l.run(bound{duration: time.Second}, tally); err != nil {
				t.Fatal(err)
			}
			r := tally.round()
			if over := now - time.Hour; over > time.Second+2*time.Millisecond {
				t.Errorf("the round ended after %v", over)
			}
			if r.Ops < 990 || r.Ops > 1000 || r.Latency.Count != 10000 || r.Uncorrected.Count > 1002 {
				t.Errorf("%d calls ended in time, %d recorded, %d of them sent", r.Ops, r.Latency.Count, r.Uncorrected.Count)
			}
			near(t, "p50", r.Latency.P50, 450e3) // half of them had waited for 450 ms when it was over: due from 550 ms on, or 45 of the first 100 ms' worth
		})
	}
}

// Of many goroutines one at a time sleeps until a call is due, and together they make each call once.
func TestOpenersTakeTurns(t *testing.T) {
	const openers, calls = 8, 2000
	c := testClient(Open, result.Point{Size: 64, Outstanding: openers, RPS: 1e6}, new(time.Duration))
	c.clock = sinceStart
	l := &openLoop{client: c, arrivals: newArrivals(Poisson, 1), turn: newTurn()}
	l.arrivals.setRate(c.endpoint.RPS)
	c.load = l
	var asleep, most atomic.Int32
	l.sleep = func(until time.Duration) error {
		most.Store(max(most.Load(), asleep.Add(1)))
		for sinceStart() < until {
			runtime.Gosched()
		}
		asleep.Add(-1)
		return nil
	}
	var callers []*virtual
	for i := range openers {
		v := &virtual{now: new(time.Duration), took: func(int) time.Duration { runtime.Gosched(); return 0 }}
		callers = append(callers, v)
		l.workers = append(l.workers, &opener{newWorker(64, i, v)})
	}
	for range 2 { // the turn is there for the next loop
		tally, made := c.newTally(), 0
		if err := l.run(bound{requests: calls}, tally); err != nil {
			t.Fatal(err)
		}
		for _, v := range callers {
			made += v.calls
			v.calls = 0
		}
		if r := tally.round(); made != calls || r.Latency.Count != calls || r.Uncorrected.Count != calls || most.Load() > 1 { // none, where the machine is slow
			t.Errorf("%d calls made, %d and %d recorded of %d; %d goroutines slept at once", made, r.Latency.Count, r.Uncorrected.Count, calls, most.Load())
		}
	}
}

// So many requests are all sent, however long that takes.
func TestOpenRequests(t *testing.T) {
	now := time.Duration(0)
	v := &virtual{now: &now, took: func(int) time.Duration { return time.Millisecond }}
	c, l := openOver(v, &queueing{virtual: *v}, result.Point{Size: 64, Outstanding: 1, RPS: 10000, Arrivals: Poisson})
	tally := c.newTally()
	if err := l.run(bound{requests: 100}, tally); err != nil {
		t.Fatal(err)
	}
	if r := tally.round(); r.Ops != 100 || r.Latency.Count != 100 || r.Uncorrected.Count != 100 || r.Seconds < 0.1 {
		t.Errorf("%+v", r)
	}
}

// The generator allocates nothing, spinning or blocking.
func TestOpenAllocates(t *testing.T) {
	for name, polled := range map[string]bool{"spinning": true, "blocking": false} {
		now := time.Duration(0)
		v := &virtual{now: &now, took: func(int) time.Duration { return 5 * time.Microsecond }}
		var p Poller
		if polled {
			p = &queueing{virtual: *v}
		}
		c, l := openOver(v, p, result.Point{Size: 64, Outstanding: 4, RPS: 100000, Arrivals: Poisson})
		tally := c.newTally()
		if err := l.run(bound{requests: 100}, tally); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(10, func() { _ = l.run(bound{requests: 1000}, tally) }); n > 1 {
			t.Errorf("%s: %v allocations in 1000 calls, want none, or one to start the goroutines", name, n)
		}
	}
}

// The alarm wakes after what was asked for, not before, again and again, and at once for what has passed.
func TestAlarm(t *testing.T) {
	a, err := newAlarm(sinceStart)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	for i := range 400 {
		due := sinceStart() + time.Duration(i/2-10)*10*time.Microsecond
		if i%2 == 1 {
			due = sinceStart() + time.Duration(i%20)*200 // in no time
		}
		if err := a.until(due); err != nil {
			t.Fatal(err)
		}
		if now := sinceStart(); now < due {
			t.Fatalf("woken %v early", due-now)
		}
	}
	if n := testing.AllocsPerRun(100, func() { _ = a.until(sinceStart() + 10*time.Microsecond) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
