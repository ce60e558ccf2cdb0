package udp

import (
	"encoding/binary"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/sock"
	"github.com/fastrpc/fastrpc/transport"
)

const (
	maxEvents = 64 // kept for Events; a flood of ICMP messages fills no memory
	maxDrain  = 64 // messages taken from the error queue at a time; the next Recv or Wait sees the rest
)

// faults is what the network and the kernel said about earlier packets: the batch of one to read the error queue with (IP_RECVERR, ip(7)),
// and the Events that came of it.
type faults struct {
	header  unix.Msghdr
	control [64]uint64
	name    sock.Addr
	iov     unix.Iovec
	byte    byte // of the packet's bytes none are wanted
	events  []transport.Event
	dropped uint64
}

func (q *faults) prepare() {
	q.iov.Base = &q.byte
	q.iov.SetLen(1)
	q.header.Name = &q.name[0]
	q.header.Iov = &q.iov
	q.header.SetIovlen(1)
	q.header.Control = (*byte)(unsafe.Pointer(&q.control))
	q.events = make([]transport.Event, 0, maxEvents)
}

// Events implements transport.Link.
func (l *Link) Events(es []transport.Event) int {
	if l.pollErr.Load() && !l.closed.Load() {
		l.pollErr.Store(false)
		l.drain()
	}
	q := &l.faults
	n := copy(es, q.events)
	q.events = q.events[:copy(q.events, q.events[n:])]
	return n
}

func (l *Link) report(kind transport.EventKind, path transport.Path, e syscall.Errno) {
	q := &l.faults
	if len(q.events) == maxEvents {
		q.dropped++
		return
	}
	q.events = append(q.events, transport.Event{Kind: kind, Path: path, Err: e})
}

// drain empties the error queue into events, and with it the socket's pending error. Where the kernel itself found a packet too long for the
// interface it returns that MTU: which packet, only the failing sendmmsg knows.
func (l *Link) drain() (localMTU int) {
	q := &l.faults
	for range maxDrain {
		q.header.Namelen = uint32(len(q.name))
		q.header.SetControllen(int(unsafe.Sizeof(q.control)))
		_, _, e := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(l.fd), uintptr(unsafe.Pointer(&q.header)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if e != 0 {
			return localMTU
		}
		for c := (cmsgs{q.header.Control, int(q.header.Controllen)}); c.more(); c.next() {
			h := c.head()
			v4, v6 := h.Level == unix.SOL_IP && h.Type == unix.IP_RECVERR, h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_RECVERR
			if !v4 && !v6 || int(h.Len) < unix.CmsgLen(int(unsafe.Sizeof(unix.SockExtendedErr{}))) {
				continue
			}
			ee := (*unix.SockExtendedErr)(c.data())
			switch ee.Origin {
			case unix.SO_EE_ORIGIN_LOCAL:
				localMTU = int(ee.Info)
			case unix.SO_EE_ORIGIN_ICMP, unix.SO_EE_ORIGIN_ICMP6:
				l.icmp(ee)
			}
		}
	}
	return localMTU
}

// icmp reports one ICMP message. The error queue names the address that the packet in question was sent to.
func (l *Link) icmp(ee *unix.SockExtendedErr) {
	name := &l.faults.name
	path := transport.Path{RemoteIP: name.IP(), RemotePort: name.Port(), LocalIP: l.fixedIP, LocalPort: l.port}
	if sock.IsLinkLocal(&path.RemoteIP) {
		binary.NativeEndian.PutUint32(path.Opaque[:], name.Scope())
	}
	e := syscall.Errno(ee.Errno)
	if e != unix.EMSGSIZE {
		l.report(transport.Unreachable, path, e)
		return
	}
	least := 68 // RFC 791
	if !sock.Is4(&path.RemoteIP) {
		least = 1280 // RFC 8200, section 5
	}
	if mtu := min(ee.Info, 65535); int(mtu) >= least {
		path.MTU = pathMTU(int(mtu), &path.RemoteIP)
		l.report(transport.MTUChanged, path, e)
	}
}

// refused reports a packet that sendmmsg did not take.
func (l *Link) refused(s *txSlot, e syscall.Errno, mtu int) {
	l.tx.refused++
	if e == unix.EMSGSIZE && mtu > 0 {
		l.mtus.forget()
		s.path.MTU = pathMTU(mtu, &s.path.RemoteIP)
		l.report(transport.MTUChanged, s.path, e)
		return
	}
	l.report(transport.Unreachable, s.path, e)
}
