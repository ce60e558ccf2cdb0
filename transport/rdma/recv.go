//go:build rdma

package rdma

import (
	"fmt"
	"unsafe"

	verbs "github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/transport"
)

// refillAt is how many frames wait before the card gets them back: a call into libibverbs for each would cost more than a packet.
const refillAt = 16

// Recv implements transport.Link: one call into libibverbs that polls, and one for a burst of frames that the card gets back.
func (l *Link) Recv(fs []transport.Frame) (int, error) {
	if l.closed.Load() {
		return 0, transport.ErrClosed
	}
	if l.failed {
		if err := l.restart(); err != nil {
			return 0, err
		}
	}
	if len(l.frames.toPost) >= refillAt {
		l.refill()
	}
	got, err := l.cq.Poll(l.wcs[:min(len(fs), burst)])
	if err == nil && got == 0 && !l.armed.Load() {
		// So that a Wait that comes next is woken: what completes from here on makes an event; what completed before is seen now.
		l.armed.Store(true)
		if err = l.cq.Arm(); err == nil {
			l.refill()
			got, err = l.cq.Poll(l.wcs[:min(len(fs), burst)])
		}
	}
	if err != nil {
		return 0, fmt.Errorf("rdma: %s: %w", l.caps.Name, err)
	}
	return l.handOut(fs, l.wcs[:got]), nil
}

// handOut makes frames of the caller of what was received.
func (l *Link) handOut(fs []transport.Frame, wcs []verbs.WC) (n int) {
	var now transport.Time
	for i := range wcs {
		w := &wcs[i]
		id := uint32(w.ID)
		switch {
		case w.Status != verbs.StatusSuccess:
			l.failed = true
		case !l.describe(&fs[n], w, id):
			l.stats.Short++
			l.frames.toPost = append(l.frames.toPost, id)
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
func (l *Link) describe(f *transport.Frame, w *verbs.WC, id uint32) bool {
	if w.Bytes < verbs.GRHBytes || w.Flags&verbs.WithImm == 0 || uint16(w.Imm) != l.local.Port() {
		return false
	}
	start := l.frames.offset(id)
	remote, local, ok := addresses((*[verbs.GRHBytes]byte)(l.frames.mem[start-verbs.GRHBytes:]))
	if !ok {
		return false
	}
	f.ID, f.Data = id, l.frames.take(id, int(w.Bytes)-verbs.GRHBytes)
	f.Path = transport.Path{RemoteIP: remote, LocalIP: local, RemotePort: uint16(w.Imm >> 16), LocalPort: l.local.Port(), MTU: l.peers.mtu(l, &remote)}
	putQPN(&f.Path, w.Source)
	return true
}

// refill gives the card frames to receive into. The receive queue has room for all of them.
func (l *Link) refill() {
	p := &l.frames
	for len(p.toPost) > 0 && !l.failed {
		n := min(len(p.toPost), burst)
		for i := range n {
			id := p.toPost[len(p.toPost)-1-i]
			at := uint64(uintptr(unsafe.Pointer(&p.mem[p.offset(id)]))) - verbs.GRHBytes
			l.recvs[i].ID = uint64(id)
			l.recvs[i].SGE[0] = verbs.SGE{Addr: at, Length: uint32(verbs.GRHBytes + p.bytes), Key: l.mr.LKey()}
		}
		done, err := l.qp.PostRecv(l.recvs[:n])
		p.toPost = p.toPost[:len(p.toPost)-done]
		if err != nil {
			l.failed = true
		}
	}
}

// restart makes the queue pair ready again after a failure. What was under way is lost, as datagrams may be.
func (l *Link) restart() error {
	if err := l.qp.Reset(); err != nil {
		return fmt.Errorf("rdma: %s: %w", l.caps.Name, err)
	}
	for _, cq := range []*verbs.CQ{l.cq, l.scq} {
		for range cq.Entries()/burst + 1 { // completions from before
			if n, err := cq.Poll(l.wcs[:]); err != nil || n == 0 {
				break
			}
		}
	}
	l.batched, l.unmarked = 0, 0
	l.frames.reset()
	if err := l.qp.ReadyUD(l.port, verbs.UDPQKey); err != nil {
		return fmt.Errorf("rdma: %s: %w", l.caps.Name, err)
	}
	l.failed = false
	l.stats.Restarts++
	l.refill()
	return nil
}

// Wait implements transport.Link.
func (l *Link) Wait(until transport.Time) error {
	if l.closed.Load() {
		return transport.ErrClosed
	}
	ready, err := l.parker.Wait(until, readable)
	if err != nil {
		return fmt.Errorf("rdma: %w", err)
	}
	if ready != 0 {
		if err := l.cq.Acknowledge(); err != nil {
			return err
		}
		l.armed.Store(false)
	}
	return nil
}

// Wake implements transport.Link.
func (l *Link) Wake() { l.parker.Wake() }
