package xdp

import (
	"context"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/internal/netpath"
	"github.com/fastrpc/fastrpc/internal/tap"
	"github.com/fastrpc/fastrpc/transport"
)

const (
	burst = 64 // frames that one call of Send or Recv takes: enough to make the cost of an atomic store or a system call small

	// dataOffset is where Frame.Data begins in the chunk of a frame to send: behind room for the headers, at the start of a cache line.
	dataOffset = 128
)

// Link is one queue of an interface. It is a transport.Link; what a Link over AF_XDP has beside is Stats.
type Link struct {
	dev      *device
	queue    int
	first    bool // the one that serves the kernel's sockets
	zeroCopy bool
	busyPoll bool // by system calls
	since    polledSince
	caps     transport.Caps

	state  atomic.Uint32 // of linkState
	refs   int           // held by Ports; guarded by dev.mu
	events eventQueue
	park   parking

	// The owner's. What each packet needs stands together, and the arrays behind it: the kernel's work for a packet leaves little of the
	// first-level cache to us.
	socket     *afxdp.Socket
	memory     []byte // the UMEM
	tap        tap.Point
	depth      int    // receiving frames that the kernel shall have, see startDepth
	filled     int    // that it has
	frames     frames // by value: the little of two Links must not share a cache line
	joint      joint
	kick       bool           // something was sent since the last Flush that succeeded
	askNAPI    bool           // when a packet has come
	kernelDue  bool           // it is time for the kernel's sockets
	kernelTime transport.Time // when they were looked at, by the first Link
	parsed     netpath.Parsed
	stats      Stats
	headers    headerCache
	descs      [burst * maxSpan]unix.XDPDesc
	addrs      [burst]uint64
	local      []uint32 // frames that went out through a kernel socket and wait for Completed
	fd         int      // the socket's
	napi       uint32   // the NAPI instance of a queue that shall be polled, 0 while it is not known

	told QueueStats // last to somebody who looked; belongs to dev.observers

	// The owner's of the first Link: when to look at the kernel's sockets.
	kernelReady atomic.Bool     // Wait saw something
	hot         []*kernelSocket // that delivered lately
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

// Counts says where the frames are.
func (l *Link) Counts() transport.FrameCounts { return l.frames.counts() }

// Events fills es with what happened since the last call.
func (l *Link) Events(es []transport.Event) int { return l.events.pop(es) }

// Wait parks until something can be received.
func (l *Link) Wait(until transport.Time) error {
	xsk, ready := -1, -1
	switch l.state.Load() {
	case linkOpen:
		xsk = l.fd
	case linkClosed:
		return transport.ErrClosed
	}
	if l.first {
		ready = l.dev.ready.fd
	}
	kernel, err := l.park.wait(until, xsk, ready)
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
