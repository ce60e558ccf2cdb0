//go:build rdma

package rdma

import (
	"fmt"
	"sync"
	"sync/atomic"

	verbs "github.com/fastrpc/fastrpc/rdma"
)

// step is what a connection's goroutine tells of; see steps.
type step uint8

const (
	stepEnter step = iota
	stepJoined
	stepBroken
	stepQuiet
	stepGone
)

type note struct {
	conn *conn
	step step
	err  error
}

// notes are what goroutines have to tell the Link's owner, in order, and what they have to know of each other. A connection has five notes at
// most, and a few more of stepBroken.
type notes struct {
	any atomic.Bool

	mu      sync.Mutex
	waiting []note
	taken   []note           // the owner's, from take to take
	byQPN   map[uint32]*conn // between know and forget
	dialled map[peerKey]*conn
	alive   int // connections that have a goroutine
	closed  bool
}

// tell leaves a note for the owner and wakes it.
func (l *RC) tell(n note) {
	l.notes.mu.Lock()
	switch n.step {
	case stepBroken:
		if l.notes.dialled[n.conn.key] == n.conn {
			delete(l.notes.dialled, n.conn.key)
		}
	case stepGone:
		l.notes.alive--
	}
	l.notes.waiting = append(l.notes.waiting, n)
	l.notes.any.Store(true)
	l.notes.mu.Unlock()
	l.Wake()
}

// take returns the notes, which are valid until the next call.
func (s *notes) take() []note {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.taken)
	s.taken, s.waiting = s.waiting, s.taken[:0]
	s.any.Store(false)
	return s.taken
}

// close has no goroutines start from now on.
func (s *notes) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// leave makes c one that nobody uses any more: the next who wants one to its peer begins another.
func (s *notes) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dialled[c.key] == c {
		delete(s.dialled, c.key)
	}
}

// know has events about c's queue pair told to it, until forget.
func (s *notes) know(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byQPN[c.qpn] = c
}

func (s *notes) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byQPN, c.qpn)
}

// ofQP tells the connection of an asynchronous event. All that there are about queue pairs in use say that they have failed, or that somebody
// has stopped them.
func (l *RC) ofQP(e verbs.AsyncEvent) {
	l.notes.mu.Lock()
	c := l.notes.byQPN[e.QPN]
	if c != nil && e.Type == verbs.EventLastWQEReached && !c.lastSeen {
		c.lastSeen = true
		close(c.last)
	}
	l.notes.mu.Unlock()
	switch e.Type {
	case verbs.EventQPFatal, verbs.EventQPRequest, verbs.EventQPAccess, verbs.EventLastWQEReached:
		if c != nil {
			l.tell(note{conn: c, step: stepBroken, err: fmt.Errorf("%v", e)})
		}
	}
}

// read does what notes ask for. Every method of the owner's that may be all that it calls looks whether there are some.
func (l *RC) read() {
	for _, n := range l.notes.take() {
		c := n.conn
		switch n.step {
		case stepEnter:
			l.adopt(c)
			l.conns.byQPN[c.qpn] = c
			l.conns.from = nil
		case stepJoined:
			l.opened(c)
		case stepBroken:
			l.adopt(c)
			l.lose(c, n.err)
		case stepQuiet:
			l.quiet = append(l.quiet, c)
		case stepGone:
			l.bury(c)
		}
	}
	l.flush() // what waited for a connection to be opened
}

// emptied is called when the receive queue has nothing: what quiet connections had is delivered.
func (l *RC) emptied() {
	for i, c := range l.quiet {
		l.quiet[i] = nil
		l.farewell(c)
		l.conns.deafen(c)
		c.state = connOver
		c.windows = l.pool.Load().of(c)
		close(c.empty)
	}
	l.quiet = l.quiet[:0]
}

// bury takes home what a connection had. Its queue pair is destroyed: the card reads and writes nothing for it any more.
func (l *RC) bury(c *conn) {
	l.adopt(c)                            // one that never had a queue pair
	for range l.scq.Entries()/burst + 1 { // those that completed before
		if l.reap() < burst {
			break
		}
	}
	l.farewell(c)
	l.conns.deafen(c)
	l.abandon(&c.posted)
	l.dropReads(c)
	if p := l.pool.Load(); p != nil {
		p.void(p.of(c))
	}
	if l.srq == nil && c.shared {
		for c.receives.len > 0 {
			l.frames.PutFill(c.receives.pop(l.next))
		}
		l.owed += rcOwn
		l.share()
	}
	l.conns.remove(c)
	l.renewable = l.srq != nil && l.conns.n == 0
}

// renew makes the shared receive queue anew when no queue pair uses it. One that ends within a message may take the receive along that the
// message was for: soft-RoCE makes no completion for it (drivers/infiniband/sw/rxe/rxe_resp.c, flush_recv_queue).
func (l *RC) renew() error {
	l.notes.mu.Lock() // nor does one come meanwhile
	defer l.notes.mu.Unlock()
	l.renewable = false
	if l.notes.alive > 0 {
		return nil
	}
	for range l.cq.Entries()/burst + 1 { // of connections that are over
		if n, err := l.cq.Poll(l.done[:]); err != nil || n == 0 {
			break
		}
	}
	if err := l.srq.Close(); err != nil {
		return err
	}
	var err error
	if l.srq, err = l.pd.CreateSRQ(l.caps.Frames - l.frames.Sending()); err != nil {
		return err
	}
	l.frames.Recall()
	return l.refill()
}
