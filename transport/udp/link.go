package udp

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/sock"
	"github.com/fastrpc/fastrpc/transport"
)

const (
	frameBytes    = 2048 // a page holds two; more than any path without jumbo frames carries
	defaultFrames = 2048
)

// burst is how many packets one system call moves. At 64 the call's own cost is below a tenth of what the packets cost in the kernel.
const burst = 64

// sendDelay is what the kernel takes for one of them, until it is with the device, or with the receiver on this host.
const sendDelay = 2500 * time.Nanosecond

// Link is one UDP socket.
type Link struct {
	fd      int
	v6      bool     // an AF_INET6 socket; IPv4 peers have IPv4-mapped addresses there
	fixedIP [16]byte // what it is bound to, as it stands in a Path; zero when it serves several addresses
	port    uint16
	caps    transport.Caps // complete after prepare

	frames sock.Frames
	rx     receiver
	tx     sender
	mtus   mtuCache
	faults faults

	router  sock.Router
	park    sock.Parking
	pollErr atomic.Bool // Wait saw that the error queue has something
	blocked atomic.Bool // frames wait in tx because the socket's buffer is full
	closed  atomic.Bool
}

var _ transport.Link = (*Link)(nil)

// prepare sets the memory up, once the sockets are there.
func (l *Link) prepare(n int, bound netip.AddrPort) {
	l.frames = sock.NewFrames("udp", n, frameBytes, 0)
	l.rx.prepare(l.v6)
	l.tx.prepare(l.v6)
	l.faults.prepare()
	l.caps = transport.Caps{
		Scheme: "udp", Name: "udp " + bound.String(),
		Frames: n, FrameBytes: frameBytes, Burst: burst, ECN: true, BurstDelay: burst * sendDelay,
	}
}

// Caps implements transport.Link.
func (l *Link) Caps() transport.Caps { return l.caps }

// Alloc implements transport.Link.
func (l *Link) Alloc(f *transport.Frame) bool { return !l.closed.Load() && l.frames.Alloc(f) }

// Free implements transport.Link.
func (l *Link) Free(fs []transport.Frame) { l.frames.Free(fs) }

// Completed implements transport.Link. Data is as it was sent; Path is not kept.
func (l *Link) Completed(fs []transport.Frame) int { return l.frames.Completed(fs) }

// Counts implements transport.Link.
func (l *Link) Counts() transport.FrameCounts { return l.frames.Counts() }

// Wait implements transport.Link.
func (l *Link) Wait(until transport.Time) error {
	if l.closed.Load() {
		return transport.ErrClosed
	}
	events := int16(unix.POLLIN)
	if l.blocked.Load() {
		events |= unix.POLLOUT
	}
	revents, err := l.park.Wait(until, events)
	if err != nil {
		return fmt.Errorf("udp: %w", err)
	}
	if revents&unix.POLLERR != 0 {
		l.pollErr.Store(true)
	}
	return nil
}

// Wake implements transport.Link. It makes a system call only when a Wait is in progress.
func (l *Link) Wake() { l.park.Wake() }

// Close implements transport.Link. What was sent but not flushed is lost.
func (l *Link) Close() error {
	if l.closed.Swap(true) {
		return transport.ErrClosed
	}
	l.release()
	return nil
}

// Stats counts what a Link could not deliver.
type Stats struct {
	Truncated     uint64 // received, but longer than a frame
	EventsDropped uint64 // not kept, because Events was not asked in time
	Refused       uint64 // sent, but refused by the kernel: no route, a firewall; each is an Unreachable or MTUChanged event as well
	KernelDropped uint64 // dropped by the kernel, because the socket's buffer was full
}

// Stats is for the goroutine that owns the Link.
func (l *Link) Stats() Stats {
	s := Stats{Truncated: l.rx.truncated, EventsDropped: l.faults.dropped, Refused: l.tx.refused}
	if l.closed.Load() {
		return s
	}
	var info [unix.SK_MEMINFO_VARS]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, e := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(l.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if e == 0 {
		s.KernelDropped = uint64(info[unix.SK_MEMINFO_DROPS])
	}
	return s
}
