package xdp

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/internal/netpath"
	"github.com/fastrpc/fastrpc/transport"
)

const (
	burst = 64 // frames that one call of Send or Recv takes: enough to make the cost of an atomic store or a system call small

	// dataOffset is where Frame.Data begins in the chunk of a frame to send: behind room for the headers, at the start of a cache line.
	dataOffset = 128

	// The kernel's sockets are looked at this often, by a clock that is read once in clockTurns turns that found nothing; and for hotTurns
	// turns in a row after they delivered.
	kernelInterval = time.Millisecond
	clockTurns     = 256
	hotTurns       = 1024
)

// Link is one queue of an interface. It is a transport.Link; what a Link over AF_XDP has beside is Stats.
type Link struct {
	dev      *device
	queue    int
	first    bool // the one that serves the kernel's sockets
	zeroCopy bool
	busyPoll bool
	caps     transport.Caps

	state  atomic.Uint32 // of linkState
	refs   int           // held by Ports; guarded by dev.mu
	events eventQueue
	park   parking

	// The owner's.
	socket  *afxdp.Socket
	fd      int    // the socket's
	memory  []byte // the UMEM
	frames  *frames
	headers headerCache
	descs   [burst]unix.XDPDesc
	addrs   [burst]uint64
	parsed  netpath.Parsed
	local   []uint32 // frames that went out through a kernel socket and wait for Completed
	kick    bool     // something was sent since the last Flush that succeeded
	stats   Stats

	// The owner's of the first Link: when to look at the kernel's sockets.
	kernelReady atomic.Bool // Wait saw something
	kernelDue   bool
	kernelHot   int // turns left
	kernelTime  transport.Time
	turns       uint32
	kernel      received
}

type linkState = uint32

const (
	linkOpen linkState = iota
	linkGone           // the interface was deleted
	linkClosed
)

var _ transport.Link = (*Link)(nil)

// Caps describes the Link.
func (l *Link) Caps() transport.Caps { return l.caps }

// Resolve finds the path to a remote address; see transport.Link.
func (l *Link) Resolve(ctx context.Context, local, remote netip.AddrPort) (transport.Path, error) {
	if err := l.err(); err != nil {
		return transport.Path{}, err
	}
	return l.dev.resolve(ctx, local, remote)
}

// Alloc hands out a free frame to send.
func (l *Link) Alloc() (transport.Frame, bool) {
	id, ok := l.frames.alloc()
	if !ok {
		l.stats.NoFrame++
		return transport.Frame{}, false
	}
	return transport.Frame{ID: id, Data: l.room(id)}, true
}

// room is where a frame to send has its data.
func (l *Link) room(id uint32) []byte {
	from := l.frames.addr(id) + dataOffset
	to := from + uint64(l.caps.FrameBytes)
	return l.memory[from:to:to]
}

// Send takes the first n frames into flight.
func (l *Link) Send(fs []transport.Frame) (n int, err error) {
	if err := l.err(); err != nil {
		return 0, err
	}
	l.headers.follow(l.dev)
	fs = fs[:min(len(fs), burst)]
	queued := 0
	for i := range fs {
		f := &fs[i]
		if f.Path.Opaque[opaqueFlags]&viaKernel != 0 {
			break
		}
		if l.descs[queued], err = l.pack(f); err != nil {
			break
		}
		queued++
	}
	n = l.socket.Transmit(l.descs[:queued])
	for i := range fs[:n] {
		l.frames.move(fs[i].ID, ownedCaller, ownedInFlight)
	}
	l.stats.Sent += uint64(n)
	l.kick = l.kick || n > 0
	switch {
	case n < queued:
		l.stats.TxFull++
		return n, nil
	case err == nil && queued < len(fs):
		return l.sendViaKernel(fs, queued)
	}
	return n, err
}

// pack writes the headers in front of a frame's data and describes the packet.
func (l *Link) pack(f *transport.Frame) (unix.XDPDesc, error) {
	if len(f.Data) > int(f.Path.MTU) {
		return unix.XDPDesc{}, ErrTooLong
	}
	header, err := l.headers.of(&f.Path, l.dev)
	if err != nil {
		return unix.XDPDesc{}, err
	}
	chunk := l.frames.addr(f.ID)
	data := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(f.Data))) - uintptr(unsafe.Pointer(&l.memory[0])))
	from, to := data-uint64(header.Len()), data+uint64(len(f.Data))
	if data-chunk > l.frames.chunkBytes() || from < chunk || to > chunk+l.frames.chunkBytes() {
		panic("xdp: the data of a frame to send does not lie in its buffer; cut its end only")
	}
	header.Put(l.memory[from:to], f.ECN)
	return unix.XDPDesc{Addr: from, Len: uint32(to - from)}, nil
}

// Flush makes the kernel look at what was sent.
func (l *Link) Flush() error {
	if !l.kick {
		return nil
	}
	err := l.socket.Kick()
	if err == nil {
		l.kick = false
		return nil
	}
	return l.kickFailed(err)
}

// Completed fills fs with frames whose flight ended.
func (l *Link) Completed(fs []transport.Frame) int {
	n := l.socket.Complete(l.addrs[:min(len(fs), burst)])
	for i, addr := range l.addrs[:n] {
		id := l.frames.id(addr)
		l.frames.move(id, ownedInFlight, ownedCaller)
		fs[i] = transport.Frame{ID: id, Data: l.room(id)}
	}
	for n < len(fs) && len(l.local) > 0 {
		last := len(l.local) - 1
		id := l.local[last]
		l.local = l.local[:last]
		l.frames.move(id, ownedInFlight, ownedCaller)
		fs[n] = transport.Frame{ID: id, Data: l.room(id)}
		n++
	}
	return n
}

// Recv fills fs with received packets.
func (l *Link) Recv(fs []transport.Frame) (n int, err error) {
	if err := l.err(); err != nil {
		return 0, err
	}
	if l.busyPoll {
		_ = l.socket.WakeFill() // receives; what is wrong shows elsewhere
	}
	want := min(len(fs), burst)
	if l.kernelDue && want > 1 {
		want-- // a queue that is never empty does not keep the kernel's sockets out
	}
	got := l.socket.Receive(l.descs[:want])
	if got > 0 {
		now := transport.Now()
		for i := range got {
			if l.unpack(&l.descs[i], &fs[n]) {
				fs[n].Stamp = now
				n++
			}
		}
		l.stats.Received += uint64(n)
		l.kernelDue = l.kernelDue || l.first && now.Sub(l.kernelTime) >= kernelInterval
	} else if l.first {
		l.idle()
	}
	if l.kernelDue && n < len(fs) {
		n += l.recvViaKernel(fs[n:])
	}
	return n, nil
}

// unpack makes a frame of a received packet; false when it is none of ours.
func (l *Link) unpack(d *unix.XDPDesc, f *transport.Frame) bool {
	id := l.frames.id(d.Addr)
	l.frames.move(id, ownedReceive, ownedCaller)
	p := &l.parsed
	if netpath.Parse(l.memory[d.Addr:d.Addr+uint64(d.Len)], p) != nil {
		l.stats.Malformed++
		l.refill(id)
		return false
	}
	if bound := l.dev.bound.Load(); bound != nil && !isBound(*bound, &p.DstIP, p.DstPort) {
		l.stats.NotOurs++
		l.refill(id)
		return false
	}
	from, to := d.Addr+uint64(p.Offset), d.Addr+uint64(p.Offset+p.Bytes)
	*f = transport.Frame{
		Data: l.memory[from:to:to],
		ID:   id,
		ECN:  p.ECN,
		Path: transport.Path{RemoteIP: p.SrcIP, LocalIP: p.DstIP, RemotePort: p.SrcPort, LocalPort: p.DstPort, MTU: l.dev.payload(&p.SrcIP)},
	}
	putNextHop(&f.Path.Opaque, p.SrcMAC, p.VLAN)
	return true
}

// Free gives frames back.
func (l *Link) Free(fs []transport.Frame) {
	n := 0
	for i := range fs {
		id := fs[i].ID
		if id >= l.frames.half {
			l.frames.release(id)
			continue
		}
		l.frames.move(id, ownedCaller, ownedReceive)
		if l.addrs[n] = l.frames.addr(id); n == burst-1 {
			l.fill(l.addrs[:])
			n = 0
		} else {
			n++
		}
	}
	if n > 0 {
		l.fill(l.addrs[:n])
	}
}

// refill gives a single receiving frame back.
func (l *Link) refill(id uint32) {
	l.frames.move(id, ownedCaller, ownedReceive)
	l.addrs[0] = l.frames.addr(id)
	l.fill(l.addrs[:1])
}

// fill returns chunks to the kernel. They always fit: the fill ring has room for every receiving frame.
func (l *Link) fill(addrs []uint64) {
	l.socket.Fill(addrs)
	_ = l.socket.WakeFill() // an error is temporary, and the next one mends it, or the interface is gone, which the watcher tells
}

// Counts says where the frames are.
func (l *Link) Counts() transport.FrameCounts { return l.frames.counts() }

// Events fills es with what happened since the last call.
func (l *Link) Events(es []transport.Event) int { return l.events.pop(es) }

// Wait parks until something can be received.
func (l *Link) Wait(until transport.Time) error {
	xsk, sockets := -1, []*kernelSocket(nil)
	switch l.state.Load() {
	case linkOpen:
		xsk = l.fd
	case linkClosed:
		return transport.ErrClosed
	}
	if l.first {
		sockets = *l.dev.sockets.Load()
	}
	kernel, err := l.park.wait(until, xsk, sockets)
	if kernel {
		l.kernelReady.Store(true)
	}
	return err
}

// Wake ends a Wait.
func (l *Link) Wake() { l.park.wake() }

// Close drops one reference; see transport.Port.
func (l *Link) Close() error { return l.dev.release(l) }

// err is why a Link moves no packets.
func (l *Link) err() error {
	switch l.state.Load() {
	case linkOpen:
		return nil
	case linkGone:
		return l.dev.goneErr
	default:
		return transport.ErrClosed
	}
}
