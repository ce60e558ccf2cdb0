//go:build rdma

package rdma

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	verbs "github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/transport"
)

// udHeadroom lies before a frame's Data, for the header that the card writes before a datagram, so that Data lies on a cache line.
const udHeadroom = 64

// UD is a Link over a queue pair of unreliable datagrams.
type UD struct {
	card
	qp       *verbs.QP
	peers    peers
	posted   fifo // frames that the card has, or is about to get with the batch
	batched  int  // work that waits for the next Flush
	unmarked int  // sends since the last that asks for a completion
	failing  bool // the queue pair is to be made ready again
	stats    UDStats
}

var _ transport.Link = (*UD)(nil)

// UDStats counts what a Link could not deliver.
type UDStats struct {
	Short         uint64 // received without a whole header
	Failed        uint64 // sends that completed with an error
	Restarts      uint64 // of the queue pair, after a failure
	EventsDropped uint64
}

// Stats is for the goroutine that owns the Link.
func (l *UD) Stats() UDStats {
	s := l.stats
	s.EventsDropped = l.events.dropped.Load()
	return s
}

// openUD makes a Link and gives the card its receiving frames. The Link closes cm, also if there is an error.
func openUD(cm *verbs.CM, at spot, s settings) (*UD, error) {
	l := &UD{card: card{cm: cm}, peers: newPeers()}
	if err := l.start(at, s); err != nil {
		_ = l.release()
		return nil, err
	}
	return l, nil
}

func (l *UD) start(at spot, s settings) (err error) {
	if err := l.open(at, s.frames, 0, udHeadroom); err != nil {
		return err
	}
	l.caps.Name = fmt.Sprintf("rdma %s port %d (UD, %v)", at.device, at.port, at.from.Type)
	sending := l.frames.Sending()
	l.qp, err = l.pd.CreateQP(verbs.QPConfig{
		Type: verbs.UD, Send: l.scq, Recv: l.cq, SendWork: sending, RecvWork: s.frames - sending, InlineMax: inlineBytes,
	})
	if err != nil {
		return err
	}
	l.inline = l.qp.InlineMax()
	for i := range l.sends {
		l.sends[i].Op, l.sends[i].QKey = verbs.OpSendImm, verbs.UDPQKey
	}
	if err := l.qp.ReadyUD(at.port, verbs.UDPQKey); err != nil {
		return err
	}
	if err := l.refill(); err != nil {
		return err
	}
	l.watch(deviceEvents, nil)
	return nil
}

// Close implements transport.Link. What was flushed leaves first, if the card takes no longer than usual.
func (l *UD) Close() error {
	if l.closed.Swap(true) {
		return transport.ErrClosed
	}
	for end := transport.Now().Add(closeLimit); l.posted.len > l.batched && !l.failing && transport.Now() < end; {
		l.reap()
	}
	return l.release()
}

func (l *UD) release() error {
	err := l.cm.Close() // first: nobody is told of the queue pair any more
	if l.qp != nil {
		err = errors.Join(err, l.qp.Close())
	}
	l.peers.close()
	return errors.Join(err, l.card.release())
}

// Alloc implements transport.Link.
func (l *UD) Alloc(f *transport.Frame) bool { return !l.closed.Load() && l.frames.Alloc(f) }

// Completed implements transport.Link. Data is as it was sent; Path is not kept.
func (l *UD) Completed(fs []transport.Frame) int {
	if l.frames.Landed() < len(fs) && l.posted.len > l.batched && !l.closed.Load() {
		l.reap()
	}
	return l.frames.Completed(fs)
}

// reap asks the card which sends have left.
func (l *UD) reap() {
	n, err := l.scq.Poll(l.wcs[:])
	if err != nil {
		l.failing = true
	}
	for i := range l.wcs[:n] {
		if w := &l.wcs[i]; w.Status == verbs.StatusSuccess {
			l.land(int(w.ID))
		} else {
			l.stats.Failed++
			l.failing = true
		}
	}
}

// land ends the flight of the n frames that were sent first.
func (l *UD) land(n int) {
	for range n {
		l.frames.Land(l.posted.pop(l.next))
	}
}

// Send implements transport.Link. The card is told with Flush.
func (l *UD) Send(fs []transport.Frame) (n int, err error) {
	if l.closed.Load() {
		return 0, transport.ErrClosed
	}
	if l.failing {
		return 0, nil
	}
	fs = fs[:min(len(fs), burst)]
	for ; n < len(fs); n++ {
		f := &fs[n]
		l.frames.MustOwn(f, "Send")
		if len(f.Data) > int(f.Path.MTU) || len(f.Data) > l.mtu {
			return n, fmt.Errorf("rdma: frame of %d bytes on a path of %d: cut it to Path.MTU: %w", len(f.Data), min(int(f.Path.MTU), l.mtu), unix.EMSGSIZE)
		}
		peer, err := l.peers.find(l, &f.Path)
		if err != nil {
			return n, fmt.Errorf("rdma: %v cannot be reached: %w", f.Path.Remote(), err)
		}
		if peer == nil {
			return n, nil // address handles are made anew once nothing is in flight
		}
		if l.batched == burst {
			l.post()
		}
		l.frames.Launch(f)
		l.posted.push(l.next, f.ID)
		l.enqueue(f, peer)
	}
	return n, nil
}

// enqueue describes f to the card.
func (l *UD) enqueue(f *transport.Frame, to *peer) {
	w := &l.sends[l.batched]
	l.batched++
	w.Flags = 0
	if len(f.Data) <= l.inline {
		w.Flags = verbs.Inline
	}
	if l.unmarked++; l.unmarked == markEvery {
		l.mark(w)
	}
	w.Imm = uint32(l.local.Port())<<16 | uint32(f.Path.RemotePort)
	w.SGE[0] = verbs.SGE{Addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(f.Data)))), Length: uint32(len(f.Data)), Key: l.mr.LKey()}
	w.AH, w.RemoteQPN = to.ah.Handle(), qpnOf(&f.Path)
}

// mark asks for a completion, which says that all sends up to this one have left.
func (l *UD) mark(w *verbs.SendWR) {
	w.Flags |= verbs.Signaled
	w.ID = uint64(l.unmarked)
	l.unmarked = 0
}

// Flush implements transport.Link: one call into libibverbs for all that was sent, which rings the card's doorbell.
func (l *UD) Flush() error {
	if l.closed.Load() {
		return transport.ErrClosed
	}
	if l.batched == 0 {
		return nil
	}
	if l.unmarked > 0 {
		l.mark(&l.sends[l.batched-1])
	}
	l.post()
	return nil
}

// post gives the batch to the card. The send queue has room for every frame, so that it takes all of it, or the queue pair has failed.
// What the card did not take is lost: it lands when the queue pair is made ready again.
func (l *UD) post() {
	if _, err := l.qp.PostSend(l.sends[:l.batched]); err != nil {
		l.failing = true
	}
	l.batched = 0
}

// A Path's Opaque begins with the number of the remote queue pair.
func putQPN(p *transport.Path, qpn uint32) { binary.NativeEndian.PutUint32(p.Opaque[:], qpn) }
func qpnOf(p *transport.Path) uint32       { return binary.NativeEndian.Uint32(p.Opaque[:]) }
