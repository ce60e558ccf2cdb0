package sim

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// PipeEnd is one of two joined Links in memory and real time. Each end belongs to one goroutine at a time, the two ends to different ones
// if they like. A packet is at the other end as soon as Send returns, copied once. Any port can be used on either end.
//
// Without LinkOptions.Reliable, what finds no free frame at the receiver is dropped; with it, Send takes fewer.
type PipeEnd struct {
	buffers
	peer    *PipeEnd
	addr    netip.AddrPort
	caps    transport.Caps
	clock   func() transport.Time
	dropped uint64
	gone    bool // the peer's end was reported
	timer   *time.Timer

	// As the sender to peer: cursors into peer's rings, which this end moves alone.
	emptyHead uint32
	emptyTail uint32 // as last seen
	fullTail  uint32

	// Both rings hold every receiving frame at once, so that neither can overflow and the side that fills one never looks at the other's
	// cursor. Each published cursor has a cache line of its own.
	mask  uint32
	empty []uint32 // frames to receive into: this end fills them in, the peer takes them out
	full  []packet // received: the peer fills them in, this end takes them out

	_             [64]byte
	publishEmpty  atomic.Uint32 // tail of empty; written by this end
	_             [60]byte
	publishedFull atomic.Uint32 // tail of full; written by the peer
	_             [60]byte
	fullHead      atomic.Uint32 // written by this end; atomic for a Wait in another goroutine
	parked        atomic.Bool
	closed        atomic.Bool
	wake          chan struct{} // holds one token
}

type packet struct {
	path   transport.Path // as the receiver sees it
	id     uint32
	length uint16
	ecn    uint8
}

var _ transport.Link = (*PipeEnd)(nil)

// Pipe makes two joined Links.
func Pipe(o LinkOptions) (a, b *PipeEnd) {
	o = o.withDefaults()
	a = newPipeEnd(o, netip.MustParseAddrPort("192.0.2.1:1"))
	b = newPipeEnd(o, netip.MustParseAddrPort("192.0.2.2:1"))
	a.peer, b.peer = b, a
	return a, b
}

func newPipeEnd(o LinkOptions, addr netip.AddrPort) *PipeEnd {
	size := 1
	for size < o.Frames {
		size *= 2
	}
	l := &PipeEnd{
		buffers: newBuffers(o), addr: addr, clock: o.Clock, caps: o.caps("memory " + addr.Addr().String()), timer: time.NewTimer(time.Hour), mask: uint32(size - 1),
		empty: make([]uint32, size), full: make([]packet, size), wake: make(chan struct{}, 1),
	}
	l.caps.Ordered, l.caps.FetchLeast = true, 0
	l.timer.Stop()
	for id := l.sending; id < o.Frames; id++ {
		l.empty[id-l.sending] = uint32(id)
	}
	l.publishEmpty.Store(uint32(o.Frames - l.sending))
	return l
}

// Addr is this end's address; its IP is the only one that the peer can resolve.
func (l *PipeEnd) Addr() netip.AddrPort { return l.addr }

// Dropped says how many packets found no free frame at the peer.
func (l *PipeEnd) Dropped() uint64 { return l.dropped }

// Caps implements transport.Link.
func (l *PipeEnd) Caps() transport.Caps { return l.caps }

// Resolve implements transport.Link.
func (l *PipeEnd) Resolve(ctx context.Context, local, remote netip.AddrPort) (transport.Path, error) {
	if err := ctx.Err(); err != nil {
		return transport.Path{}, fmt.Errorf("sim: resolve %v: %w", remote, err)
	}
	if err := checkResolve(l.addr, local, remote); err != nil {
		return transport.Path{}, err
	}
	if remote.Addr().Unmap() != l.peer.addr.Addr() {
		return transport.Path{}, fmt.Errorf("sim: resolve %v: the pipe leads to %v only: %w", remote, l.peer.addr.Addr(), syscall.EHOSTUNREACH)
	}
	p := pathOf(l.addr, remote)
	if local.Port() != 0 {
		p.LocalPort = local.Port()
	}
	p.MTU = uint16(l.mtu)
	return p, nil
}

// Alloc implements transport.Link.
func (l *PipeEnd) Alloc(f *transport.Frame) bool { return !l.closed.Load() && l.alloc(f) }

// Send implements transport.Link.
func (l *PipeEnd) Send(fs []transport.Frame) (n int, err error) {
	if l.closed.Load() {
		return 0, transport.ErrClosed
	}
	p := l.peer
	fs = fs[:min(len(fs), l.caps.Burst)]
	if int(l.emptyTail-l.emptyHead) < len(fs) {
		l.emptyTail = p.publishEmpty.Load()
	}
	lost := p.closed.Load()
	for ; n < len(fs); n++ {
		f := &fs[n]
		found := l.emptyTail != l.emptyHead
		if !found && l.caps.Reliable && !lost {
			break
		}
		if err = l.launch(f); err != nil {
			break
		}
		l.land(f.ID)
		if !found || lost {
			l.dropped++
			continue
		}
		id := p.empty[l.emptyHead&p.mask]
		l.emptyHead++
		copy(p.mem[int(id)*p.frameBytes:], f.Data)
		d := &p.full[l.fullTail&p.mask]
		l.fullTail++
		d.id, d.length, d.ecn = id, uint16(len(f.Data)), f.ECN&3
		d.path.LocalIP, d.path.LocalPort = f.Path.RemoteIP, f.Path.RemotePort
		d.path.RemoteIP, d.path.RemotePort = f.Path.LocalIP, f.Path.LocalPort
		d.path.MTU = uint16(p.mtu)
	}
	if p.publishedFull.Load() != l.fullTail {
		p.publishedFull.Store(l.fullTail)
		if p.parked.Load() {
			p.Wake()
		}
	}
	return n, err
}

// Flush implements transport.Link. Sent packets are there already.
func (l *PipeEnd) Flush() error {
	if l.closed.Load() {
		return transport.ErrClosed
	}
	return nil
}

// Completed implements transport.Link. Data is as it was sent; the other fields are left as they are.
func (l *PipeEnd) Completed(fs []transport.Frame) int { return l.collect(fs) }

// Recv implements transport.Link.
func (l *PipeEnd) Recv(fs []transport.Frame) (int, error) {
	if l.closed.Load() {
		return 0, transport.ErrClosed
	}
	head := l.fullHead.Load()
	n := min(len(fs), int(l.publishedFull.Load()-head), l.caps.Burst)
	if n == 0 {
		return 0, nil
	}
	now := l.clock()
	for i := range n {
		d := &l.full[head&l.mask]
		head++
		l.lend(d.id)
		f := &fs[i]
		f.Data, f.Path, f.Stamp, f.ID, f.ECN = l.data(d.id, int(d.length)), d.path, now, d.id, d.ecn
	}
	l.fullHead.Store(head)
	return n, nil
}

// Free implements transport.Link.
func (l *PipeEnd) Free(fs []transport.Frame) {
	first := l.publishEmpty.Load()
	tail := first
	for i := range fs {
		if l.release(&fs[i]) {
			l.empty[tail&l.mask] = fs[i].ID
			tail++
		}
	}
	if tail != first {
		l.publishEmpty.Store(tail)
	}
}

// Events implements transport.Link: PeerClosed, once, when the other end was closed.
func (l *PipeEnd) Events(es []transport.Event) int {
	if len(es) == 0 || l.gone || !l.peer.closed.Load() {
		return 0
	}
	l.gone = true
	es[0] = transport.Event{Kind: transport.PeerClosed, Path: pathOf(l.addr, l.peer.addr), Err: syscall.ECONNRESET}
	return 1
}

// Wait implements transport.Link.
func (l *PipeEnd) Wait(until transport.Time) error {
	if l.closed.Load() {
		return transport.ErrClosed
	}
	// The sender publishes and then looks at parked; this end sets parked and then looks at what was published: one of them sees the other.
	l.parked.Store(true)
	defer l.parked.Store(false)
	if l.publishedFull.Load() != l.fullHead.Load() {
		return nil
	}
	if until == 0 {
		<-l.wake
		return nil
	}
	d := until.Sub(transport.Now())
	if d <= 0 {
		return nil
	}
	l.timer.Reset(d)
	defer l.timer.Stop()
	select {
	case <-l.wake:
	case <-l.timer.C:
	}
	return nil
}

// Wake implements transport.Link.
func (l *PipeEnd) Wake() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Close implements transport.Link. The peer hears of it as PeerClosed; what it sends from then on is dropped.
func (l *PipeEnd) Close() error {
	if l.closed.Swap(true) {
		return transport.ErrClosed
	}
	l.peer.Wake()
	return nil
}
