package udp

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/sock"
	"github.com/fastrpc/fastrpc/transport"
)

// mmsghdr is struct mmsghdr of recvmmsg(2) and sendmmsg(2).
type mmsghdr struct {
	unix.Msghdr
	received uint32
}

// receiver is the batch for recvmmsg. Its first armed slots each hold a frame that waits to be filled.
type receiver struct {
	headers   [burst]mmsghdr
	slots     [burst]rxSlot
	armed     int
	nameLen   uint32
	truncated uint64
}

type rxSlot struct {
	control [12]uint64 // packet info 40, traffic class 24, TOS 24 bytes at most; aligned as cmsghdr must be
	name    sock.Addr
	id      uint32
	iov     unix.Iovec
}

func (r *receiver) prepare(v6 bool) {
	r.nameLen = sock.AddrLen(v6)
	for i := range r.slots {
		s, h := &r.slots[i], &r.headers[i]
		h.Name = &s.name[0]
		h.Iov = &s.iov
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&s.control))
		s.iov.SetLen(frameBytes)
		r.reset(i)
	}
}

// reset undoes what recvmmsg wrote into a header.
func (r *receiver) reset(i int) {
	r.headers[i].Namelen = r.nameLen
	r.headers[i].SetControllen(int(unsafe.Sizeof(r.slots[i].control)))
}

func (l *Link) arm(i int, id uint32) {
	l.rx.slots[i].id = id
	l.rx.slots[i].iov.Base = unsafe.SliceData(l.frames.Data(id, frameBytes))
}

// Recv implements transport.Link: one system call. What the network did to earlier packets never makes it fail; that becomes Events.
func (l *Link) Recv(fs []transport.Frame) (int, error) {
	if l.closed.Load() {
		return 0, transport.ErrClosed
	}
	if l.tx.head < l.tx.tail && l.blocked.Load() {
		l.kick() // the device was full; perhaps it is not any more
	}
	r, p := &l.rx, &l.frames
	want := min(len(fs), burst)
	for r.armed < want {
		id, ok := p.TakeFill()
		if !ok {
			break
		}
		l.arm(r.armed, id)
		r.armed++
	}
	want = min(want, r.armed)
	if want == 0 {
		return 0, nil
	}
	got, _, e := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(l.fd), uintptr(unsafe.Pointer(&r.headers)), uintptr(want), unix.MSG_DONTWAIT, 0, 0)
	switch e {
	case 0:
	case unix.EAGAIN, unix.EINTR:
		if l.pollErr.Load() {
			l.pollErr.Store(false)
			l.drain()
		}
		return 0, nil
	case unix.EBADF, unix.ENOTSOCK, unix.EFAULT, unix.EINVAL:
		return 0, fmt.Errorf("udp: recvmmsg: %w", e)
	default: // the socket's pending error: an ICMP message came
		l.drain()
		return 0, nil
	}
	return l.handOut(fs, int(got)), nil
}

// handOut turns the first got slots into frames of the caller, and moves frames from the last armed slots to those.
func (l *Link) handOut(fs []transport.Frame, got int) (n int) {
	r, p := &l.rx, &l.frames
	now := transport.Now()
	for i := range got {
		h, s := &r.headers[i], &r.slots[i]
		if h.Flags&unix.MSG_TRUNC != 0 {
			r.truncated++
			p.PutFill(s.id)
		} else {
			f := &fs[n]
			n++
			p.Lend(s.id)
			f.Data, f.Stamp, f.ID = p.Data(s.id, int(h.received)), now, s.id
			l.describe(f, h, s)
		}
		r.reset(i)
	}
	for i := range min(got, r.armed-got) {
		l.arm(i, r.slots[r.armed-1-i].id)
	}
	r.armed -= got
	return n
}

// describe fills in the way back and the ECN bits from what the kernel said beside the bytes.
func (l *Link) describe(f *transport.Frame, h *mmsghdr, s *rxSlot) {
	f.Path = transport.Path{RemoteIP: s.name.IP(), RemotePort: s.name.Port(), LocalIP: l.fixedIP, LocalPort: l.port}
	f.ECN = 0
	index := uint32(0)
	for c := (cmsgs{h.Control, int(h.Controllen)}); c.more(); c.next() {
		switch level, kind, data := c.head().Level, c.head().Type, c.data(); {
		case level == unix.SOL_IP && kind == unix.IP_PKTINFO:
			info := (*unix.Inet4Pktinfo)(data)
			index, f.Path.LocalIP = uint32(info.Ifindex), sock.Mapped(info.Spec_dst)
		case level == unix.SOL_IPV6 && kind == unix.IPV6_PKTINFO:
			info := (*unix.Inet6Pktinfo)(data)
			index, f.Path.LocalIP = info.Ifindex, info.Addr
		case level == unix.SOL_IP && kind == unix.IP_TOS:
			f.ECN = *(*uint8)(data) & 3
		case level == unix.SOL_IPV6 && kind == unix.IPV6_TCLASS:
			f.ECN = uint8(*(*int32)(data)) & 3
		}
	}
	if sock.IsLinkLocal(&f.Path.RemoteIP) {
		binary.NativeEndian.PutUint32(f.Path.Opaque[:], s.name.Scope())
	}
	f.Path.MTU = pathMTU(l.mtuOf(index), &f.Path.RemoteIP)
}

// cmsgs walks over control messages, cmsg(3).
type cmsgs struct {
	at   *byte
	left int
}

func (c *cmsgs) head() *unix.Cmsghdr  { return (*unix.Cmsghdr)(unsafe.Pointer(c.at)) }
func (c *cmsgs) data() unsafe.Pointer { return unsafe.Add(unsafe.Pointer(c.at), unix.CmsgLen(0)) }

// more says whether a whole message is there.
func (c *cmsgs) more() bool {
	return c.left >= unix.SizeofCmsghdr && int(c.head().Len) >= unix.SizeofCmsghdr && int(c.head().Len) <= c.left
}

func (c *cmsgs) next() {
	size := unix.CmsgSpace(int(c.head().Len) - unix.CmsgLen(0))
	if c.left -= size; c.left > 0 {
		c.at = (*byte)(unsafe.Add(unsafe.Pointer(c.at), size))
	}
}
