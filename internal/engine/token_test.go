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
	receive func() // called with each packet, in the poll
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
		l.receive()
	}
	return n, nil
}

func (l *fakeLink) Wait(transport.Time) error {
	l.x.block("waits in the link", func() bool { return l.arrived > 0 || l.woken || l.x.stopping })
	l.woken = false
	return nil
}

// scene is who takes part in an exploration beside the keeper.
type scene struct {
	name       string
	submitters int // push operations, and wait until they were executed
	each       int // operations of each submitter
	packets    int // arrive one by one
	collectors int // each waits at a queue of its own until every packet and every operation has brought it a call's end
	beginners  int // each begins a call that waits for company, and flushes
	bound      int // preemptions; large: all interleavings
	follow     bool
	served     bool // the engine listens; packets without a collector would not be minded otherwise
}

// TestNoWakeUpIsLost runs submitters, collectors, and packets from the network, against the keeper, through every interleaving of the steps in
// token.go and async.go (with several of them: all that have up to so many preemptions). Ticks never come, so nothing but the protocol can
// wake the keeper.
func TestNoWakeUpIsLost(t *testing.T) {
	for _, test := range []scene{
		{name: "one submitter", submitters: 1, each: 1, bound: 1000},
		{name: "one submitter, two operations", submitters: 1, each: 2, bound: 4},
		{name: "a packet beside a submitter", submitters: 1, each: 1, packets: 1, bound: 4, served: true},
		{name: "two submitters", submitters: 2, each: 1, bound: 3},
		{name: "three submitters", submitters: 3, each: 1, bound: 2},
		{name: "two submitters and a packet", submitters: 2, each: 1, packets: 1, bound: 2, served: true},
		{name: "two submitters that follow", submitters: 2, each: 1, bound: 3, follow: true},
		{name: "a collector", packets: 1, collectors: 1, bound: 4},
		{name: "a collector at a server", packets: 1, collectors: 1, bound: 4, served: true},
		{name: "a collector, two packets", packets: 2, collectors: 1, bound: 2},
		{name: "a collector and a submitter", submitters: 1, each: 1, collectors: 1, bound: 3},
		{name: "a collector and a submitter that follows", submitters: 1, each: 1, packets: 1, collectors: 1, bound: 2, follow: true},
		{name: "two collectors", packets: 1, collectors: 2, bound: 2},
		{name: "a batch", beginners: 1, bound: 1000},
		{name: "two batches", beginners: 2, bound: 3},
		{name: "a batch beside a submitter", submitters: 1, each: 1, beginners: 1, bound: 3},
		{name: "a batch beside a collector", packets: 1, collectors: 1, beginners: 1, bound: 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			x := &explorer{yielded: make(chan struct{})}
			link := &fakeLink{x: x}
			e := newEngine(link, 0, Config{Idle: Park, SpinFor: -1}) // a collector is out of patience after one turn
			if test.served {
				e.listening.Store(1)
			}
			defer func() { atStep, atDoze, atAwait = nil, nil, nil }()
			schedules := 0
			for {
				schedules++
				if !test.explore(x, e, link) {
					t.Fatalf("a wake-up is lost in schedule %d:\n%s", schedules, strings.Join(x.trace, "\n"))
				}
				if e.collectors.Load() != 0 || e.wanted.Load() != 0 {
					t.Fatalf("%d collectors count as parked, %d as waiting for the token, in schedule %d:\n%s",
						e.collectors.Load(), e.wanted.Load(), schedules, strings.Join(x.trace, "\n"))
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
func (s *scene) explore(x *explorer, e *Engine, link *fakeLink) bool {
	x.threads, x.current, x.depth, x.preempts, x.trace, x.stopping = nil, nil, 0, 0, nil, false
	e.keeper = keeper{}
	e.keeper.init()
	e.stopped.Store(false)
	e.patience, e.batched = 1, 0
	executed := 0
	var queues []*Completions
	for range s.collectors {
		q := NewCompletions(8)
		q.engines.Store(&[]*Engine{e})
		queues = append(queues, q)
	}
	deliver := func() {
		for _, q := range queues {
			q.open.Add(1)
			q.put(newWaiter(&Conn{e: e}, q))
		}
	}
	*link = fakeLink{x: x, receive: deliver}
	atStep = x.step
	atDoze = func(k *keeper) bool {
		x.block("dozes", func() bool { return len(k.signal) > 0 || x.stopping })
		select {
		case <-k.signal:
		default:
		}
		return true
	}
	atAwait = func(q *Completions) error {
		x.block("is parked", func() bool { return len(q.signal) > 0 })
		<-q.signal
		return nil
	}
	keeperThread := x.spawn("keeper", e.keep)
	for i := range s.submitters {
		x.spawn(fmt.Sprintf("submitter %d", i), func() {
			for range s.each {
				mine := false
				e.push(operation{kind: opFunc, do: func(transport.Time) { mine = true; executed++; e.followed = s.follow; deliver() }})
				e.lead()
				x.block("waits for its operation", func() bool { return mine })
			}
		})
	}
	for range s.packets {
		x.spawn("network", func() {
			x.step("a packet arrives")
			link.arrived++
		})
	}
	for i, q := range queues {
		x.spawn(fmt.Sprintf("collector %d", i), func() {
			var out [8]Completion
			for n := 0; n < s.packets+s.submitters*s.each; {
				got, _ := q.Wait(context.Background(), out[:])
				n += got
			}
		})
	}
	for i := range s.beginners {
		x.spawn(fmt.Sprintf("beginner %d", i), func() {
			begin := func(transport.Time) {
				if e.batched++; e.batched == 1 {
					e.batches.Add(1)
				}
			}
			if e.token.acquire() {
				begin(0)
				e.release()
			} else {
				e.push(operation{kind: opFunc, do: begin})
				e.lead()
			}
			e.flush()
		})
	}
	ok := x.run(func() bool {
		for _, th := range x.threads {
			if th != keeperThread && !th.done {
				return false
			}
		}
		return executed == s.submitters*s.each && link.arrived == 0 && e.batched == 0 && e.submit.Empty()
	}, s.bound)
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
