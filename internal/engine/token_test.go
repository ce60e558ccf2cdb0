package engine

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/transport"
)

// explorer runs a few threads through the real code, one at a time, and switches between them at every step, in all orders up to a number
// of preemptions. A thread that waits names its condition; when all wait in vain, a wake-up was lost.
type explorer struct {
	threads  []*thread
	current  *thread
	yielded  chan struct{}
	choices  []choice
	depth    int
	preempts int
	trace    []string
	stopping bool
}

type thread struct {
	name   string
	resume chan struct{}
	ready  func() bool // nil: it can run
	done   bool
}

// choice is a decision of the present schedule: which of the options was taken.
type choice struct{ taken, options int }

func (x *explorer) spawn(name string, f func()) *thread {
	th := &thread{name: name, resume: make(chan struct{})}
	x.threads = append(x.threads, th)
	go func() {
		<-th.resume
		f()
		th.done = true
		x.yielded <- struct{}{}
	}()
	return th
}

// step lets others run.
func (x *explorer) step(name string) {
	th := x.current
	x.trace = append(x.trace, th.name+": "+name)
	x.yielded <- struct{}{}
	<-th.resume
}

// block lets others run until ready.
func (x *explorer) block(name string, ready func() bool) {
	th := x.current
	th.ready = ready
	x.step(name)
	th.ready = nil
}

func (x *explorer) runnable() (list []*thread) {
	if c := x.current; c != nil && !c.done && (c.ready == nil || c.ready()) {
		list = append(list, c) // first, so that option 0 is never a preemption
	}
	for _, th := range x.threads {
		if th != x.current && !th.done && (th.ready == nil || th.ready()) {
			list = append(list, th)
		}
	}
	return list
}

// run goes through one schedule; it returns false when no thread can run and goal is not reached.
func (x *explorer) run(goal func() bool, bound int) bool {
	for steps := 0; steps < 10_000; steps++ {
		list := x.runnable()
		if goal() {
			return true
		}
		if len(list) == 0 {
			return false
		}
		options := len(list)
		free := x.current == nil || list[0] != x.current
		if !free && x.preempts >= bound {
			options = 1
		}
		pick := 0
		if x.depth < len(x.choices) {
			pick = x.choices[x.depth].taken
		} else {
			x.choices = append(x.choices, choice{0, options})
		}
		x.depth++
		if !free && pick > 0 {
			x.preempts++
		}
		x.current = list[pick]
		x.current.resume <- struct{}{}
		<-x.yielded
	}
	return false // it goes round in circles
}

// next prepares the next schedule; false when all have been run.
func (x *explorer) next() bool {
	for n := len(x.choices); n > 0; n-- {
		if c := &x.choices[n-1]; c.taken+1 < c.options {
			c.taken++
			x.choices = x.choices[:n]
			return true
		}
	}
	return false
}

// fakeLink holds packets that the test puts there.
type fakeLink struct {
	x       *explorer
	arrived int // packets to be received
	woken   bool
}

func (l *fakeLink) Caps() transport.Caps {
	return transport.Caps{Frames: 16, FrameBytes: 1500, Burst: 4}
}
func (l *fakeLink) Alloc(*transport.Frame) bool         { return false }
func (l *fakeLink) Send([]transport.Frame) (int, error) { return 0, nil }
func (l *fakeLink) Flush() error                        { return nil }
func (l *fakeLink) Completed([]transport.Frame) int     { return 0 }
func (l *fakeLink) Events([]transport.Event) int        { return 0 }
func (l *fakeLink) Free([]transport.Frame)              {}
func (l *fakeLink) Counts() transport.FrameCounts       { return transport.FrameCounts{} }
func (l *fakeLink) Close() error                        { return nil }
func (l *fakeLink) Wake()                               { l.woken = true }
func (l *fakeLink) Resolve(context.Context, netip.AddrPort, netip.AddrPort) (transport.Path, error) {
	return transport.Path{}, nil
}

func (l *fakeLink) Recv(fs []transport.Frame) (n int, err error) {
	for ; n < len(fs) && l.arrived > 0; n++ {
		fs[n] = transport.Frame{ID: uint32(n), Stamp: 1}
		l.arrived--
	}
	return n, nil
}

func (l *fakeLink) Wait(transport.Time) error {
	l.x.block("waits in the link", func() bool { return l.arrived > 0 || l.woken || l.x.stopping })
	l.woken = false
	return nil
}

// TestNoWakeUpIsLost runs submitters, and a packet from the network, against the keeper, through every interleaving of the steps in token.go
// (with two submitters: all that have up to three preemptions). Ticks never come, so nothing but the protocol can wake the keeper.
func TestNoWakeUpIsLost(t *testing.T) {
	for _, test := range []struct {
		name       string
		submitters int
		each       int // operations of each submitter
		packets    int
		bound      int // preemptions; large: all interleavings
		follow     bool
	}{
		{"one submitter", 1, 1, 0, 1000, false},
		{"one submitter, two operations", 1, 2, 0, 4, false},
		{"a packet beside a submitter", 1, 1, 1, 4, false},
		{"two submitters", 2, 1, 0, 3, false},
		{"three submitters", 3, 1, 0, 2, false},
		{"two submitters and a packet", 2, 1, 1, 2, false},
		{"two submitters that follow", 2, 1, 0, 3, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			x := &explorer{yielded: make(chan struct{})}
			link := &fakeLink{x: x}
			e := newEngine(link, 0, Config{Idle: Park})
			e.listening.Store(int32(test.packets)) // a server minds packets even when nobody calls
			defer func() { atStep, atDoze = nil, nil }()
			schedules := 0
			for {
				schedules++
				if !explore(x, e, link, test.submitters, test.each, test.packets, test.bound, test.follow) {
					t.Fatalf("a wake-up is lost in schedule %d:\n%s", schedules, strings.Join(x.trace, "\n"))
				}
				if !x.next() {
					break
				}
			}
			t.Logf("%d schedules", schedules)
		})
	}
}

// explore runs the schedule that x.choices stands for.
func explore(x *explorer, e *Engine, link *fakeLink, submitters, each, packets, bound int, follow bool) bool {
	x.threads, x.current, x.depth, x.preempts, x.trace, x.stopping = nil, nil, 0, 0, nil, false
	*link = fakeLink{x: x}
	e.keeper = keeper{}
	e.keeper.init()
	e.stopped.Store(false)
	e.patience = 1
	executed := 0
	atStep = x.step
	atDoze = func(k *keeper) bool {
		x.block("dozes", func() bool { return len(k.signal) > 0 || x.stopping })
		select {
		case <-k.signal:
		default:
		}
		return true
	}
	keeperThread := x.spawn("keeper", e.keep)
	for i := range submitters {
		x.spawn(fmt.Sprintf("submitter %d", i), func() {
			for range each {
				mine := false
				e.push(operation{kind: opFunc, do: func(transport.Time) { mine = true; executed++; e.followed = follow }})
				e.lead()
				x.block("waits for its operation", func() bool { return mine })
			}
		})
	}
	for range packets {
		x.spawn("network", func() {
			x.step("a packet arrives")
			link.arrived++
		})
	}
	ok := x.run(func() bool {
		for _, th := range x.threads {
			if th != keeperThread && !th.done {
				return false
			}
		}
		return executed == submitters*each && link.arrived == 0
	}, bound)
	// Let the keeper go, outside the schedule.
	x.stopping = true
	e.stopped.Store(true)
	atStep = nil
	for !keeperThread.done {
		x.current = keeperThread
		keeperThread.resume <- struct{}{}
		<-x.yielded
	}
	e.token = token{}
	return ok
}
