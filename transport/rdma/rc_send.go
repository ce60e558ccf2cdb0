//go:build rdma

package rdma

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	verbs "github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/transport"
)

// Send implements transport.Link. The card is told with Flush. It takes every frame: those for which a queue pair has no room wait in their
// connection, so that a peer that does not receive holds up no other. Frames for a peer that a listening Link has no connection with, and
// those of a connection that ends, complete and are lost.
func (l *RC) Send(fs []transport.Frame) (n int, err error) {
	if l.closed.Load() {
		return 0, transport.ErrClosed
	}
	fs = fs[:min(len(fs), burst)]
	for ; n < len(fs); n++ {
		f := &fs[n]
		l.frames.MustOwn(f, "Send")
		if len(f.Data) > int(min(f.Path.MTU, rcFrameBytes)) || len(f.Data) == 0 {
			return n, fmt.Errorf("rdma: frame of %d bytes on a path of %d: cut it to Path.MTU: %w", len(f.Data), f.Path.MTU, unix.EMSGSIZE)
		}
		l.frames.Launch(f)
		c := l.connTo(&f.Path)
		if c == nil || c.state >= connEnding {
			l.frames.Land(f.ID)
			l.stats.Lost++
			continue
		}
		c.waiting.push(l.next, f.ID)
		l.soil(c)
	}
	return n, nil
}

// soil has the next Flush look at c.
func (l *RC) soil(c *conn) {
	if !c.dirty {
		c.dirty = true
		l.dirty = append(l.dirty, c)
	}
}

// Flush implements transport.Link: one call into libibverbs for each peer that something was sent to, which rings the card's doorbell.
func (l *RC) Flush() error {
	if l.closed.Load() {
		return transport.ErrClosed
	}
	if l.notes.any.Load() {
		l.read()
	}
	l.flush()
	if l.alert {
		l.alert = false
		if err := l.armSends(); err != nil {
			return l.failed(err)
		}
	}
	return nil
}

// armSends has Wait end when sends complete that others wait for.
func (l *RC) armSends() error {
	l.sarmed.Store(true)
	if err := l.scq.Arm(); err != nil {
		return err
	}
	l.reap() // what completed before makes no event
	return nil
}

func (l *RC) flush() {
	for i := 0; i < len(l.dirty); i++ { // it may grow: a failure here may end another connection
		c := l.dirty[i]
		l.dirty[i] = nil
		c.dirty = false
		if c.state == connOpen {
			l.kick(c)
		}
	}
	l.dirty = l.dirty[:0]
}

// kick gives c's frames to its queue pair, as many as that has room for.
func (l *RC) kick(c *conn) {
	for c.waiting.len > 0 && c.posted.len < l.depth {
		n := 0
		for ; n < burst && c.waiting.len > 0 && c.posted.len < l.depth; n++ {
			id := c.waiting.pop(l.next)
			c.posted.push(l.next, id)
			l.describe(&l.sends[n], c, id)
		}
		if c.unmarked > 0 {
			l.mark(&l.sends[n-1], c)
		}
		if _, err := c.qp.PostSend(l.sends[:n]); err != nil {
			l.lose(c, err)
			return
		}
	}
	l.block(c, c.waiting.len > 0)
}

// describe makes the work request of a frame.
func (l *RC) describe(w *verbs.SendWR, c *conn, id uint32) {
	data := l.frames.Data(id, l.frames.Len(id))
	w.Flags = 0
	if len(data) <= c.inline {
		w.Flags = verbs.Inline
	}
	w.SGE[0] = verbs.SGE{Addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(data)))), Length: uint32(len(data)), Key: l.mr.LKey()}
	if c.unmarked++; c.unmarked == markEvery {
		l.mark(w, c)
	}
}

// mark asks for a completion, which says that the peer's card has all up to this one.
func (l *RC) mark(w *verbs.SendWR, c *conn) {
	w.Flags |= verbs.Signaled
	w.ID = c.workID(c.unmarked)
	c.unmarked = 0
}

// reap asks the card which sends are done, and gives it those that waited for them. It returns how many completions there were.
func (l *RC) reap() int {
	n, err := l.scq.Poll(l.done[:])
	if err != nil {
		l.events.push(transport.Event{Kind: transport.LinkDown, Err: l.failed(err)})
		return 0
	}
	for i := range l.done[:n] {
		w := &l.done[i]
		c, count := l.conns.ofWork(w.ID)
		switch {
		case c == nil:
			l.stats.Stale++
		case w.Status != verbs.StatusSuccess:
			l.lose(c, w.Err())
		case count&workRead != 0:
			l.readDone(c, uint32(count&^workRead))
		case count&workUnbind != 0:
			if c.state == connOpen { // else the window goes with the queue pair
				l.unbound(count &^ workUnbind)
			}
		default:
			c.moved = true
			for range count {
				l.frames.Land(c.posted.pop(l.next))
			}
			if c.blocked {
				l.soil(c)
			}
		}
	}
	if l.blocked > 0 {
		l.flush()
	}
	return n
}
