//go:build rdma

package rdma

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/sock"
	verbs "github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/transport"
)

// burst is how many packets one call into libibverbs moves.
const burst = verbs.Burst

// Link is a queue pair of datagrams.
type Link struct {
	caps  transport.Caps
	local netip.AddrPort
	ip    [16]byte // of local
	port  int      // of the device
	from  verbs.GIDEntry
	mtu   int

	ctx *verbs.Context
	pd  *verbs.PD
	mr  *verbs.MR
	cq  *verbs.CQ // of receives
	scq *verbs.CQ // of sends
	qp  *verbs.QP
	cm  *verbs.CM // set by the driver

	frames frames
	peers  peers
	inline int

	// Work that waits for the next Flush, and completions as they are polled.
	sends    [burst]verbs.SendWR
	batched  int
	unmarked int // sends since the last that asks for a completion
	recvs    [burst]verbs.RecvWR
	wcs      [burst]verbs.WC
	stats    Stats
	failed   bool // the queue pair is to be made ready again
	events   events

	// Waiting: see Wait.
	armed  atomic.Bool
	closed atomic.Bool
	parker sock.Parking
}

var _ transport.Link = (*Link)(nil)

// markEvery is how many sends there are at most for each that asks for a completion, which tells of those before it, too.
const markEvery = 32

// Caps implements transport.Link.
func (l *Link) Caps() transport.Caps { return l.caps }

// Stats counts what a Link could not deliver.
type Stats struct {
	Short         uint64 // received without a whole header
	Failed        uint64 // sends that completed with an error
	Restarts      uint64 // of the queue pair, after a failure
	EventsDropped uint64
}

// Stats is for the goroutine that owns the Link.
func (l *Link) Stats() Stats {
	s := l.stats
	s.EventsDropped = l.events.dropped.Load()
	return s
}

// Alloc implements transport.Link.
func (l *Link) Alloc(f *transport.Frame) bool {
	return !l.closed.Load() && l.frames.alloc(f)
}

// Free implements transport.Link. The card gets receiving frames back in bursts, with the next Recv.
func (l *Link) Free(fs []transport.Frame) { l.frames.free(fs) }

// Counts implements transport.Link.
func (l *Link) Counts() transport.FrameCounts { return l.frames.counts }

// Completed implements transport.Link. Data is as it was sent; Path is not kept.
func (l *Link) Completed(fs []transport.Frame) int {
	if l.frames.done.len < len(fs) && l.frames.posted.len > l.batched && !l.closed.Load() {
		l.reap()
	}
	return l.frames.completed(fs)
}

// reap asks the card which sends have left.
func (l *Link) reap() {
	n, err := l.scq.Poll(l.wcs[:])
	if err != nil {
		l.failed = true
	}
	for i := range l.wcs[:n] {
		if w := &l.wcs[i]; w.Status == verbs.StatusSuccess {
			l.frames.land(int(w.ID))
		} else {
			l.stats.Failed++
			l.failed = true
		}
	}
}

// Send implements transport.Link. The card is told with Flush.
func (l *Link) Send(fs []transport.Frame) (n int, err error) {
	if l.closed.Load() {
		return 0, transport.ErrClosed
	}
	if l.failed {
		return 0, nil
	}
	fs = fs[:min(len(fs), burst)]
	for ; n < len(fs); n++ {
		f := &fs[n]
		l.frames.mustOwn(f, "Send")
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
			if err := l.post(); err != nil {
				return n, err
			}
		}
		l.frames.launch(f)
		l.enqueue(f, peer)
	}
	return n, nil
}

// enqueue describes f to the card.
func (l *Link) enqueue(f *transport.Frame, to *peer) {
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
func (l *Link) mark(w *verbs.SendWR) {
	w.Flags |= verbs.Signaled
	w.ID = uint64(l.unmarked)
	l.unmarked = 0
}

// Flush implements transport.Link: one call into libibverbs for all that was sent, which rings the card's doorbell.
func (l *Link) Flush() error {
	if l.closed.Load() {
		return transport.ErrClosed
	}
	if l.batched == 0 {
		return nil
	}
	if l.unmarked > 0 {
		l.mark(&l.sends[l.batched-1])
	}
	return l.post()
}

// post gives the batch to the card. The send queue has room for every frame, so that it takes all of it, or the queue pair has failed.
func (l *Link) post() error {
	n, err := l.qp.PostSend(l.sends[:l.batched])
	if err != nil {
		// What the card did not take has left as far as the sender can tell: it is lost.
		for i := n; i < l.batched; i++ {
			if l.sends[i].Flags&verbs.Signaled != 0 {
				l.frames.land(int(l.sends[i].ID))
			}
		}
		l.failed = true
	}
	l.batched = 0
	return nil
}
