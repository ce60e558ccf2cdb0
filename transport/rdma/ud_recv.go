//go:build rdma

package rdma

import (
	"unsafe"

	verbs "github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/transport"
)

// Recv implements transport.Link: one call into libibverbs that polls, and one for a burst of frames that the card gets back.
func (l *UD) Recv(fs []transport.Frame) (int, error) {
	if l.closed.Load() {
		return 0, transport.ErrClosed
	}
	if l.failing {
		if err := l.restart(); err != nil {
			return 0, l.failed(err)
		}
	}
	if l.frames.Fillable() >= refillAt {
		l.failing = l.refill() != nil
	}
	wcs := l.wcs[:min(len(fs), burst)]
	got, err := l.cq.Spin(wcs, recvPolls)
	if err == nil && got == 0 && !l.armed.Load() {
		// So that a Wait that comes next is woken: what completes from here on makes an event; what completed before is seen now.
		l.armed.Store(true)
		if err = l.cq.Arm(); err == nil {
			l.failing = l.failing || l.refill() != nil
			got, err = l.cq.Poll(wcs)
		}
	}
	if err != nil {
		return 0, l.failed(err)
	}
	return l.handOut(fs, wcs[:got]), nil
}

// handOut makes frames of the caller of what was received.
func (l *UD) handOut(fs []transport.Frame, wcs []verbs.WC) (n int) {
	var now transport.Time
	for i := range wcs {
		w := &wcs[i]
		id := uint32(w.ID)
		switch {
		case w.Status != verbs.StatusSuccess:
			l.failing = true
		case !l.describe(&fs[n], w, id):
			l.stats.Short++
			l.frames.PutFill(id)
		default:
			if now == 0 {
				now = transport.Now()
			}
			fs[n].Stamp, fs[n].ECN = now, 0
			n++
		}
	}
	return n
}

// describe makes f of a received datagram; false: it is not one of a Link's.
func (l *UD) describe(f *transport.Frame, w *verbs.WC, id uint32) bool {
	if w.Bytes < verbs.GRHBytes || w.Flags&verbs.WithImm == 0 || uint16(w.Imm) != l.local.Port() {
		return false
	}
	h, err := verbs.ParseGRH(l.frames.Headroom(id)[udHeadroom-verbs.GRHBytes:])
	if err != nil {
		return false
	}
	remote := [16]byte(h.From)
	l.frames.Lend(id)
	f.ID, f.Data = id, l.frames.Data(id, int(w.Bytes)-verbs.GRHBytes)
	f.Path = transport.Path{RemoteIP: remote, LocalIP: h.To, RemotePort: uint16(w.Imm >> 16), LocalPort: l.local.Port(), MTU: l.peers.heard(l, &remote, w.LID)}
	putQPN(&f.Path, w.Source)
	return true
}

// refill gives the card frames to receive into. The receive queue has room for all of them, unless the queue pair has failed.
func (l *UD) refill() error {
	for l.frames.Fillable() > 0 {
		n := 0
		for ; n < burst; n++ {
			id, ok := l.frames.TakeFill()
			if !ok {
				break
			}
			at := uint64(uintptr(unsafe.Pointer(&l.frames.Headroom(id)[udHeadroom-verbs.GRHBytes])))
			l.recvs[n].ID = uint64(id)
			l.recvs[n].SGE[0] = verbs.SGE{Addr: at, Length: uint32(verbs.GRHBytes + l.mtu), Key: l.mr.LKey()}
		}
		if _, err := l.qp.PostRecv(l.recvs[:n]); err != nil {
			return err
		}
	}
	return nil
}

// restart makes the queue pair ready again after a failure. What was under way is lost, as datagrams may be.
func (l *UD) restart() error {
	if err := l.qp.Reset(); err != nil {
		return err
	}
	for _, cq := range []*verbs.CQ{l.cq, l.scq} {
		for range cq.Entries()/burst + 1 { // completions from before
			if n, err := cq.Poll(l.wcs[:]); err != nil || n == 0 {
				break
			}
		}
	}
	l.batched, l.unmarked = 0, 0
	l.land(l.posted.len)
	l.frames.Recall()
	if err := l.qp.ReadyUD(l.spot.port, verbs.UDPQKey); err != nil {
		return err
	}
	l.stats.Restarts++
	err := l.refill()
	l.failing = err != nil
	return err
}

// Wait implements transport.Link.
func (l *UD) Wait(until transport.Time) error {
	if l.closed.Load() {
		return transport.ErrClosed
	}
	return l.wait(until)
}
