package tcp

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/sock"
	"github.com/fastrpc/fastrpc/transport"
)

const (
	// With its headroom a frame is two pages: long messages need fewer than of a page, and more small calls share one. And a cache line more, so
	// that the beginnings of frames do not all compete for the same few places of the caches (bursts of small packets took three times as long).
	frameBytes    = 8<<10 + 64 - headroom
	headroom      = 8  // in front of a frame, which stays aligned; its length goes into the last four bytes
	burst         = 64 // most frames of a Send or Recv, and of one system call
	defaultFrames = 2048
)

// Link is one listening socket and what it accepted, or one local port and what was dialled from it.
type Link struct {
	listening bool
	binding   sock.Binding // with the port that it got
	local     netip.AddrPort
	listener  listener
	spare     []int // sockets that are bound to the port and not connected
	epollFD   int
	router    sock.Router
	park      sock.Parking
	caps      transport.Caps
	closed    atomic.Bool

	frames sock.Frames
	next   []uint32 // by Frame.ID: the frame behind it in its connection's queue
	dry    bool     // Alloc found none

	conns table
	idle  time.Duration // of a connection, before it is closed
	tx    gather
	rx    input
	poll  poller

	events []transport.Event
	stats  Stats

	// What Wait looks at.
	sweepAt atomic.Int64 // a transport.Time: when connections are to be looked after; 0: never
	left    atomic.Bool  // Recv left packets behind
	starved atomic.Bool  // for want of a frame
	asked   atomic.Bool  // epoll has something
}

var _ transport.Link = (*Link)(nil)

// Stats counts what happened to connections.
type Stats struct {
	Accepted     uint64
	Opened       uint64 // dialled, with success
	Failed       uint64 // dialled in vain; each is an Unreachable event as well, unless nobody answered
	Ended        uint64 // by the peer, or by the network; each is a PeerClosed event
	Malformed    uint64 // of these: closed here, because the peer sent a length that none can be
	Idle         uint64 // closed here, because nothing came
	Stalled      uint64 // closed here, because the peer did not take what was sent
	Refused      uint64 // closed at once, because there were as many as may be
	AcceptErrors uint64 // descriptors or memory were short; accepting paused for a while
	Lost         uint64 // frames that were sent and for which there was no connection, or that it ended with
}

// Stats is for the goroutine that owns the Link.
func (l *Link) Stats() Stats { return l.stats }

// open makes the sockets and the memory. On an error release undoes what was done.
func (l *Link) open(s settings) error {
	fd, v6, err := l.binding.Open(unix.SOCK_STREAM)
	if fd >= 0 && l.listening {
		l.listener.fd = fd
	} else if fd >= 0 {
		l.spare = append(l.spare, fd)
	}
	if err != nil {
		return err
	}
	if err := configure(fd, s.busyPollMicros); err != nil {
		return err
	}
	if l.local, err = l.binding.Bind(fd, v6, "-t"); err != nil {
		return err
	}
	if l.listening {
		if err := unix.Listen(fd, backlog); err != nil {
			return l.binding.Refused(err, "-t")
		}
	}
	l.binding.Port = l.local.Port()
	if !l.listening {
		// A socket loses a port that the kernel chose when its connection ends, and keeps one that it was told (SOCK_BINDPORT_LOCK:
		// __inet_bind in net/ipv4/af_inet.c sets it, tcp_set_state in net/ipv4/tcp.c looks): one that is told takes this one's place.
		told, err := l.another()
		if err != nil {
			return err
		}
		l.spare[0] = told
		_ = unix.Close(fd)
	}
	if err := l.router.Open(&l.binding, v6, l.local); err != nil {
		return err
	}
	if l.epollFD, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll_create1: %w", err)
	}
	if l.listening {
		if err := l.listener.watch(l.epollFD); err != nil {
			return err
		}
	}
	if err := l.park.Open(l.epollFD); err != nil {
		return err
	}
	l.frames = sock.NewFrames("tcp", s.frames, frameBytes, headroom)
	l.next = make([]uint32, s.frames)
	l.conns = table{byPeer: map[peerKey]*conn{}, limit: s.conns, busyPollMicros: s.busyPollMicros}
	l.idle = s.idle
	l.rx.buf = make([]byte, readBytes)
	l.caps = transport.Caps{
		Scheme: "tcp", Name: "tcp " + l.local.String(), Frames: s.frames, FrameBytes: frameBytes, Burst: burst, Reliable: true, Ordered: true,
	}
	return nil
}

// configure sets a socket's options. Those of a listener pass to what it accepts.
func configure(fd, busyPollMicros int) error {
	type option struct {
		name              string
		level, opt, value int
	}
	options := []option{
		{"SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR, 1}, // connections of a predecessor may still be closing
		{"TCP_NODELAY", unix.SOL_TCP, unix.TCP_NODELAY, 1},
		{"TCP_USER_TIMEOUT", unix.SOL_TCP, unix.TCP_USER_TIMEOUT, int(stallLimit / time.Millisecond)},
	}
	if busyPollMicros > 0 {
		options = append(options, option{"SO_BUSY_POLL (needs CAP_NET_ADMIN)", unix.SOL_SOCKET, unix.SO_BUSY_POLL, busyPollMicros})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.opt, o.value); err != nil {
			return fmt.Errorf("setsockopt %s: %w", o.name, err)
		}
	}
	return nil
}

// release closes what open, connections and Dial opened.
func (l *Link) release() {
	for _, c := range l.conns.all {
		if c != nil {
			l.finish(c)
		}
	}
	fds := append(l.spare, l.listener.fd, l.epollFD)
	l.spare, l.listener.fd, l.epollFD = nil, -1, -1
	for _, fd := range fds {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	l.router.Close()
	l.park.Close()
}

// Caps implements transport.Link.
func (l *Link) Caps() transport.Caps { return l.caps }

// Resolve implements transport.Link. It asks the kernel for the route and does not block: the connection is opened with the first Send.
func (l *Link) Resolve(ctx context.Context, local, remote netip.AddrPort) (transport.Path, error) {
	p, _, err := l.router.Resolve(ctx, local, remote)
	if err != nil {
		return transport.Path{}, fmt.Errorf("tcp: resolve %v: %w", remote, err)
	}
	p.MTU = frameBytes
	return p, nil
}

// Alloc implements transport.Link.
func (l *Link) Alloc(f *transport.Frame) bool {
	if l.closed.Load() {
		return false
	}
	ok := l.frames.Alloc(f)
	l.dry = !ok
	return ok
}

// Free implements transport.Link.
func (l *Link) Free(fs []transport.Frame) {
	l.frames.Free(fs)
	if l.starved.Load() {
		l.starved.Store(false)
		l.left.Store(true)
	}
}

// Completed implements transport.Link. Data is as it was sent; Path is not kept. A frame completes once the kernel has a copy of it.
func (l *Link) Completed(fs []transport.Frame) int { return l.frames.Completed(fs) }

// Counts implements transport.Link.
func (l *Link) Counts() transport.FrameCounts { return l.frames.Counts() }

// Events implements transport.Link.
func (l *Link) Events(es []transport.Event) int {
	n := copy(es, l.events)
	l.events = l.events[:copy(l.events, l.events[n:])]
	return n
}

// report keeps an event: there are no more than connections between two calls of Events that matter, and what is beyond is dropped.
func (l *Link) report(kind transport.EventKind, path *transport.Path, err error) {
	if len(l.events) < l.conns.limit+burst {
		l.events = append(l.events, transport.Event{Kind: kind, Path: *path, Err: err})
	}
}

// Wait implements transport.Link.
func (l *Link) Wait(until transport.Time) error {
	if l.closed.Load() {
		return transport.ErrClosed
	}
	if l.left.Load() {
		return nil
	}
	if at := transport.Time(l.sweepAt.Load()); at != 0 && (until == 0 || at < until) {
		until = at
	}
	events := int16(unix.POLLIN)
	if l.starved.Load() {
		events = 0
	}
	revents, err := l.park.Wait(until, events)
	if err != nil {
		return fmt.Errorf("tcp: %w", err)
	}
	if revents != 0 {
		l.asked.Store(true)
	}
	return nil
}

// Wake implements transport.Link. It makes a system call only when a Wait is in progress.
func (l *Link) Wake() { l.park.Wake() }

// Close implements transport.Link. The kernel still sends what was flushed; what it had no room for is lost.
func (l *Link) Close() error {
	if l.closed.Swap(true) {
		return transport.ErrClosed
	}
	l.release()
	return nil
}
