package udp

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/sock"
	"github.com/fastrpc/fastrpc/transport"
)

// txDepth is how many frames wait for the next Flush; a Send beyond that flushes by itself.
const txDepth = 2 * burst

// sender is the batch for sendmmsg: the frames from head to tail were sent and not yet given to the kernel.
type sender struct {
	headers    [txDepth]mmsghdr
	slots      [txDepth]txSlot
	head, tail int
	refused    uint64
}

type txSlot struct {
	control [8]uint64 // packet info 40 and traffic class 24 bytes at most
	name    sock.Addr
	id      uint32
	iov     unix.Iovec
	path    transport.Path
}

func (s *sender) prepare(v6 bool) {
	for i := range s.slots {
		h, slot := &s.headers[i], &s.slots[i]
		h.Name = &slot.name[0]
		h.Namelen = sock.AddrLen(v6)
		h.Iov = &slot.iov
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&slot.control))
	}
}

// Send implements transport.Link. The system call comes with Flush, one for all that was sent until then. Where the kernel refuses a packet
// then, for want of a route or by a firewall's rule, the frame completes and an Event tells why.
func (l *Link) Send(fs []transport.Frame) (n int, err error) {
	if l.closed.Load() {
		return 0, transport.ErrClosed
	}
	fs = fs[:min(len(fs), burst)]
	for ; n < len(fs); n++ {
		f := &fs[n]
		l.frames.MustOwn(f, "Send")
		if len(f.Data) > int(f.Path.MTU) {
			return n, fmt.Errorf("udp: frame of %d bytes on a path of %d: cut it to Path.MTU: %w", len(f.Data), f.Path.MTU, unix.EMSGSIZE)
		}
		if f.Path.RemotePort == 0 || !l.router.Serves(&f.Path.RemoteIP) {
			return n, fmt.Errorf("udp: %v cannot be reached from %v: %w", f.Path.Remote(), l.router.IP(), unix.EAFNOSUPPORT)
		}
		if l.tx.tail == txDepth {
			if l.kick(); l.tx.tail == txDepth {
				return n, nil
			}
		}
		l.frames.Launch(f)
		l.enqueue(f)
	}
	return n, nil
}

// enqueue describes f to the kernel.
func (l *Link) enqueue(f *transport.Frame) {
	h, s := &l.tx.headers[l.tx.tail], &l.tx.slots[l.tx.tail]
	l.tx.tail++
	s.id, s.path = f.ID, f.Path
	s.iov.Base = unsafe.SliceData(f.Data)
	s.iov.SetLen(len(f.Data))
	scope := binary.NativeEndian.Uint32(f.Path.Opaque[:])
	s.name.Set(l.v6, &f.Path.RemoteIP, f.Path.RemotePort, scope)

	// The source address only where the socket has several; without it the kernel would take the route's.
	control := unsafe.Pointer(&s.control)
	used := 0
	if l.fixedIP == [16]byte{} && f.Path.LocalIP != [16]byte{} {
		if l.v6 {
			info := (*unix.Inet6Pktinfo)(putCmsg(control, &used, unix.SOL_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo))
			info.Addr, info.Ifindex = f.Path.LocalIP, scope
		} else {
			info := (*unix.Inet4Pktinfo)(putCmsg(control, &used, unix.SOL_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo))
			info.Ifindex, info.Spec_dst = 0, [4]byte(f.Path.LocalIP[12:])
		}
	}
	if f.ECN != 0 {
		level, kind := unix.SOL_IPV6, unix.IPV6_TCLASS
		if sock.Is4(&f.Path.RemoteIP) {
			level, kind = unix.SOL_IP, unix.IP_TOS
		}
		*(*int32)(putCmsg(control, &used, level, kind, 4)) = int32(f.ECN & 3)
	}
	h.SetControllen(used)
}

// putCmsg appends the head of a control message to the used bytes of control and returns where its n bytes of data go.
func putCmsg(control unsafe.Pointer, used *int, level, kind, n int) unsafe.Pointer {
	at := unsafe.Add(control, *used)
	*used += unix.CmsgSpace(n)
	head := (*unix.Cmsghdr)(at)
	head.Level, head.Type = int32(level), int32(kind)
	head.SetLen(unix.CmsgLen(n))
	return unsafe.Add(at, unix.CmsgLen(0))
}

// Flush implements transport.Link: one sendmmsg for all that was sent, unless the kernel refuses some of it. What a full socket buffer does
// not take stays in flight, for the next Flush or Recv.
func (l *Link) Flush() error {
	if l.closed.Load() {
		return transport.ErrClosed
	}
	if l.tx.head < l.tx.tail {
		l.kick()
	}
	return nil
}

// kick gives the waiting frames to the kernel. Each that it takes has completed: it made a copy.
func (l *Link) kick() {
	s := &l.tx
	retried := false
	for s.head < s.tail {
		sent, _, e := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(l.fd), uintptr(unsafe.Pointer(&s.headers[s.head])),
			uintptr(s.tail-s.head), unix.MSG_DONTWAIT, 0, 0)
		switch e {
		case 0:
			for range sent {
				l.frames.Land(s.slots[s.head].id)
				s.head++
			}
			retried = false
		case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
			l.blocked.Store(true)
			return
		case unix.EINTR:
		default:
			// Either the socket's pending error, which concerns an earlier packet, or this packet's own. Asking empties the former.
			mtu := l.drain()
			if retried = !retried; retried {
				continue
			}
			l.refused(&s.slots[s.head], e, mtu)
			l.frames.Land(s.slots[s.head].id)
			s.head++
		}
	}
	s.head, s.tail = 0, 0
	if l.blocked.Load() {
		l.blocked.Store(false)
	}
}
