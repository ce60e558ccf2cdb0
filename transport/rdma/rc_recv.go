//go:build rdma

package rdma

import (
	"unsafe"

	verbs "github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/transport"
)

// Recv implements transport.Link: one call into libibverbs that polls, and one for a burst of frames that the card gets back.
func (l *RC) Recv(fs []transport.Frame) (int, error) {
	if l.closed.Load() {
		return 0, transport.ErrClosed
	}
	if l.notes.any.Load() {
		l.read()
	}
	if l.renewable && l.fault == nil {
		l.fault = l.renew()
	}
	if l.fault != nil {
		return 0, l.failed(l.fault)
	}
	if l.blocked > 0 || l.reads.posts > 0 {
		l.reap()
	}
	if l.frames.Fillable() >= refillAt {
		if err := l.refill(); err != nil {
			return 0, l.failed(err)
		}
	}
	wcs := l.wcs[:min(len(fs), burst)]
	got, err := l.cq.Spin(wcs, recvPolls)
	if err == nil && got == 0 {
		got, err = l.idle(wcs)
	}
	if err != nil {
		return 0, l.failed(err)
	}
	n := l.handOut(fs, wcs[:got])
	if got < len(wcs) && len(l.quiet) > 0 {
		l.emptied()
	}
	return n, nil
}

// idle is what a Recv does that finds nothing: it arms the queues, so that a Wait that comes next is woken. What completes from here on makes an
// event; what completed before is seen now.
func (l *RC) idle(wcs []verbs.WC) (got int, err error) {
	if (l.blocked > 0 || l.reads.posts > 0) && !l.sarmed.Load() {
		if err := l.armSends(); err != nil {
			return 0, err
		}
	}
	if !l.armed.Load() {
		l.armed.Store(true)
		if err = l.cq.Arm(); err == nil {
			err = l.refill()
		}
		if err == nil {
			got, err = l.cq.Poll(wcs)
		}
	}
	if l.turns++; l.turns >= turnsATend || l.tendDue.Load() {
		l.turns = 0
		l.tendDue.Store(false)
		l.tend(transport.Now())
	}
	return got, err
}

// handOut makes frames of the caller of what was received.
func (l *RC) handOut(fs []transport.Frame, wcs []verbs.WC) (n int) {
	var now transport.Time
	for i := range wcs {
		w := &wcs[i]
		c, id := l.received(w)
		if c == nil {
			continue
		}
		l.opened(c) // whoever sends has been told so, though this side has not
		c.heard = true
		if now == 0 {
			now = transport.Now()
		}
		l.frames.Lend(id)
		fs[n] = transport.Frame{ID: id, Data: l.frames.Data(id, int(w.Bytes)), Path: c.path, Stamp: now}
		n++
	}
	return n
}

// received finds the connection and the frame of a completion; nil where there is nothing to deliver, and the frame is at home.
func (l *RC) received(w *verbs.WC) (c *conn, id uint32) {
	if c = l.conns.ofQPN(w.QPN); c == nil && l.notes.any.Load() { // it was told of before anything could come
		l.read()
		c = l.conns.ofQPN(w.QPN)
	}
	id = uint32(w.ID)
	if l.srq == nil {
		if c == nil || c.serial != uint32(w.ID>>32) { // its frames came home with it
			l.stats.Stale++
			return nil, 0
		}
		c.receives.pop(l.next) // they complete in the order in which they were posted
		l.thirst(c)
	}
	switch {
	case c == nil:
		l.stats.Stale++
	case w.Status != verbs.StatusSuccess:
		l.lose(c, w.Err())
	case c.state != connOver && !c.silent && w.Bytes > 0:
		return c, id
	}
	l.frames.PutFill(id)
	return nil, 0
}

// refill gives the card frames to receive into.
func (l *RC) refill() error {
	if l.srq == nil {
		l.share()
		l.refillThirsty()
		return nil
	}
	for l.frames.Fillable() > 0 {
		if _, err := l.srq.PostRecv(l.recvs[:l.fill(burst, nil)]); err != nil {
			return err
		}
	}
	return nil
}

// receiveInto is the work request that fills a frame. The serial number is that of the connection that has it for its own.
func (l *RC) receiveInto(id, serial uint32) verbs.RecvWR {
	at := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(l.frames.Data(id, rcFrameBytes)))))
	return verbs.RecvWR{ID: uint64(serial)<<32 | uint64(id), NumSGE: 1, SGE: [verbs.MaxSGE]verbs.SGE{{Addr: at, Length: rcFrameBytes, Key: l.mr.LKey()}}}
}

// fill makes at most so many work requests, of frames that nobody has; they become c's, unless it is nil.
func (l *RC) fill(most int, c *conn) (n int) {
	for ; n < most; n++ {
		id, ok := l.frames.TakeFill()
		if !ok {
			break
		}
		serial := uint32(0)
		if c != nil {
			c.receives.push(l.next, id)
			serial = c.serial
		}
		l.recvs[n] = l.receiveInto(id, serial)
	}
	return n
}
