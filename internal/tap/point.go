// Package tap lets other processes look at packets that pass the kernel's stack by, as tcpdump lets them look at those that do not.
//
// A process with packets has a [Point] for each queue, on the packets' way, and a [Server], which listens on a unix socket of the
// interface's network namespace, in the abstract name space, to processes of the same user or of root. Who wants to look finds the servers of an
// interface ([Find]), connects ([Dial]), and asks for statistics or for a capture: the server then makes a ring in shared memory for each
// queue and copies packets into it ([Capture] reads them) until the connection ends, however that ends.
//
//	 packets' way                        shared memory                     the one who looks
//	┌────────────────┐  copy, no lock   ┌──────────────┐  read only       ┌──────────────────┐
//	│ Point, a queue ├─────────────────►│ ring         ├─────────────────►│ Capture          │
//	│                │◄─ bounded ───────┤ read position│◄─────────────────┤                  │
//	└────────────────┘                  └──────────────┘                  └──────────────────┘
//
// While nobody looks, a Point costs a load and a branch a burst. A full ring loses packets of the capture, which are counted, and never
// holds up those on their way. Neither side trusts the other's memory: it is sealed against shrinking, the one who looks can write nothing
// but its read positions, and each side keeps its own position and checks what it reads of the other's.
//
// Linux 5.1 or later (F_SEAL_FUTURE_WRITE).
package tap

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Direction is that of a packet, seen from the process that it belongs to.
type Direction uint8

// The directions.
const (
	In Direction = iota
	Out
)

// Point is a place that a queue's packets pass. Its zero value is ready. What it belongs to calls Watched once for a burst; all else
// is for the Server.
type Point struct {
	on atomic.Pointer[Watch]
	mu sync.Mutex // guards changes of on
}

// Watched is nil unless somebody looks at this moment. It belongs to the queue's owner.
func (p *Point) Watched() *Watch { return p.on.Load() }

// Watch is what there is to do at a Point while somebody looks. It does not change; its methods belong to the queue's owner, do not block
// and do not allocate.
type Watch struct {
	rings []*ring
	task  *task
}

// task is something to do once for somebody who waits.
type task struct {
	f     func()
	taken bool // the queue's owner's
	done  chan struct{}
}

var clock = time.Now() // what stamps count from

// Packets shows a burst of packets: descriptors of frames in memory, as the kernel's rings have them. The burst gets one stamp, now.
func (w *Watch) Packets(d Direction, memory []byte, descs []unix.XDPDesc) {
	if len(descs) == 0 || len(w.rings) == 0 {
		return
	}
	now := int64(time.Since(clock))
	for _, r := range w.rings {
		r.write(d, now, memory, descs)
	}
}

// Attend does what somebody waits for that only the queue's owner can do.
func (w *Watch) Attend() {
	if t := w.task; t != nil && !t.taken {
		t.taken = true
		t.f()
		close(t.done)
	}
}

// change replaces the Watch by one that f has changed.
func (p *Point) change(f func(w *Watch)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var w Watch
	if old := p.on.Load(); old != nil {
		w = *old
	}
	f(&w)
	if len(w.rings) == 0 && w.task == nil {
		p.on.Store(nil)
		return
	}
	p.on.Store(&w)
}

func (p *Point) add(r *ring) {
	p.change(func(w *Watch) { w.rings = append(w.rings[:len(w.rings):len(w.rings)], r) })
}

func (p *Point) remove(r *ring) {
	p.change(func(w *Watch) {
		var left []*ring
		for _, other := range w.rings {
			if other != r {
				left = append(left, other)
			}
		}
		w.rings = left
	})
}

// Do has the queue's owner run f when it next attends to the Point, wake having made it come if it sleeps, and tells whether it did before
// stop was closed or patience ran out. If not, f may still be running, or run later. One Do at a time.
func (p *Point) Do(f func(), wake func(), patience time.Duration, stop <-chan struct{}) bool {
	t := &task{f: f, done: make(chan struct{})}
	p.change(func(w *Watch) { w.task = t })
	defer p.change(func(w *Watch) { w.task = nil })
	wake()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-t.done:
		return true
	case <-timeout.C:
	case <-stop:
	}
	return false
}
