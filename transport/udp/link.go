package udp

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/transport"
)

// burst is how many packets one system call moves. At 64 the call's own cost is below a tenth of what the packets cost in the kernel.
const burst = 64

// sendDelay is what the kernel takes for one of them, until it is with the device, or with the receiver on this host.
const sendDelay = 2500 * time.Nanosecond

// Link is one UDP socket.
type Link struct {
	fd      int
	v6      bool       // an AF_INET6 socket; IPv4 peers have IPv4-mapped addresses there
	ip      netip.Addr // what it is bound to
	fixedIP [16]byte   // ip as it stands in a Path; zero when the socket serves several addresses
	port    uint16
	caps    transport.Caps // complete after prepare

	frames frames
	rx     receiver
	tx     sender
	mtus   mtuCache
	faults faults

	// Waiting. state is what Wake and Wait agree by; mu keeps a late Wake from writing to a descriptor that Close gave up.
	state   atomic.Uint32
	poll    [2]unix.PollFd
	limit   unix.Timespec
	pollErr atomic.Bool // Wait saw that the error queue has something
	blocked atomic.Bool // frames wait in tx because the socket's buffer is full
	mu      sync.Mutex
	wakeFD  int
	closed  atomic.Bool
	probeMu sync.Mutex
	probeFD int // a socket in the same network namespace that asks the kernel for routes
}

var _ transport.Link = (*Link)(nil)

const (
	idle uint32 = iota
	waiting
	woken
)

// prepare sets the memory up, once the sockets are there.
func (l *Link) prepare(n int) {
	l.frames = newFrames(n)
	l.rx.prepare(l.v6)
	l.tx.prepare(l.v6)
	l.faults.prepare()
	l.poll[0].Fd, l.poll[1].Fd = int32(l.fd), int32(l.wakeFD)
	l.poll[1].Events = unix.POLLIN
	l.caps = transport.Caps{
		Scheme: "udp", Name: "udp " + netip.AddrPortFrom(l.ip, l.port).String(),
		Frames: n, FrameBytes: frameBytes, Burst: burst, ECN: true, BurstDelay: burst * sendDelay,
	}
}

// Caps implements transport.Link.
func (l *Link) Caps() transport.Caps { return l.caps }

// Wait implements transport.Link.
func (l *Link) Wait(until transport.Time) error {
	if l.closed.Load() {
		return transport.ErrClosed
	}
	if !l.state.CompareAndSwap(idle, waiting) { // Wake came first
		l.state.Store(idle)
		return nil
	}
	var limit *unix.Timespec
	if until != 0 {
		l.limit = unix.NsecToTimespec(max(0, int64(until.Sub(transport.Now()))))
		limit = &l.limit
	}
	l.poll[0].Events = unix.POLLIN
	if l.blocked.Load() {
		l.poll[0].Events |= unix.POLLOUT
	}
	_, err := unix.Ppoll(l.poll[:], limit, nil)
	// A Wake that saw waiting writes to the descriptor, perhaps only after this: then the next Wait ends early, which it may.
	l.state.Store(idle)
	if err == unix.EINTR {
		return nil
	}
	if err != nil {
		return fmt.Errorf("udp: ppoll: %w", err)
	}
	if l.poll[1].Revents != 0 {
		var count uint64
		_, _, _ = unix.RawSyscall(unix.SYS_READ, uintptr(l.wakeFD), uintptr(unsafe.Pointer(&count)), 8)
	}
	if l.poll[0].Revents&unix.POLLERR != 0 {
		l.pollErr.Store(true)
	}
	return nil
}

// Wake implements transport.Link. It makes a system call only when a Wait is in progress.
func (l *Link) Wake() {
	if l.state.Swap(woken) != waiting {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wakeFD >= 0 {
		one := uint64(1)
		_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(l.wakeFD), uintptr(unsafe.Pointer(&one)), 8)
	}
}

// Close implements transport.Link. What was sent but not flushed is lost.
func (l *Link) Close() error {
	if l.closed.Swap(true) {
		return transport.ErrClosed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
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
