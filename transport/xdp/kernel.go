package xdp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/transport"
)

// kernelSocket is the UDP socket that holds a port. Little passes through it: what the steering program leaves to the kernel, and ICMP's
// errors about our packets, which the kernel finds this socket for although it never saw the packets. So its methods take a lock, and
// are system calls; they allocate nothing.
type kernelSocket struct {
	port uint16
	ip   [16]byte // of Path.LocalIP; meaningless where all is set
	all  bool     // bound to the unspecified address
	inet bool     // AF_INET, where the kernel was booted without IPv6; else AF_INET6 for both families

	hot    int          // looks that the first Link's owner takes at it in a row, because it delivered lately
	pollFD atomic.Int32 // fd for poll(2), which does no harm on a number that was given away

	mu      sync.Mutex // held over the use of fd, so that it is not closed, and its number given away, meanwhile
	fd      int        // -1 once closed
	hdr     unix.Msghdr
	iov     unix.Iovec
	name    unix.RawSockaddrInet6 // large enough for a RawSockaddrInet4
	control [controlBytes]byte
}

// controlBytes is room for the packet's address, its ECN bits, and an extended error with the address of who reported it.
const controlBytes = 256

// openKernelSocket binds a port of one address, or of all where ip is unspecified; port 0 takes a free one. scope is the interface of a
// link-local address.
func openKernelSocket(ip netip.Addr, scope uint32, port uint16) (*kernelSocket, error) {
	s, err := openKernelSocketFamily(unix.AF_INET6, ip, scope, port)
	if errors.Is(err, unix.EAFNOSUPPORT) && !(ip.Is6() && !ip.Is4In6() && !ip.IsUnspecified()) {
		return openKernelSocketFamily(unix.AF_INET, ip, scope, port)
	}
	return s, err
}

func openKernelSocketFamily(family int, ip netip.Addr, scope uint32, port uint16) (*kernelSocket, error) {
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	s := &kernelSocket{fd: fd, inet: family == unix.AF_INET, ip: ip.As16(), all: ip.IsUnspecified()}
	s.pollFD.Store(int32(fd))
	if err := s.setUp(ip, scope, port); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return s, nil
}

func (s *kernelSocket) setUp(ip netip.Addr, scope uint32, port uint16) error {
	// PROBE sets "don't fragment" and ignores what the kernel believes of the path's MTU: packet sizes are the session's to find out.
	options := [][3]int{
		{unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE},
		{unix.SOL_IP, unix.IP_RECVERR, 1},
		{unix.SOL_IP, unix.IP_RECVTOS, 1},
	}
	if s.inet {
		options = append(options, [3]int{unix.SOL_IP, unix.IP_PKTINFO, 1})
	} else {
		options = append(options,
			[3]int{unix.SOL_IPV6, unix.IPV6_V6ONLY, 0},
			[3]int{unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE},
			[3]int{unix.SOL_IPV6, unix.IPV6_RECVERR, 1},
			[3]int{unix.SOL_IPV6, unix.IPV6_RECVTCLASS, 1},
			[3]int{unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1}) // for IPv4 packets too (net/ipv6/datagram.c, ip6_datagram_recv_common_ctl)
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(s.fd, o[0], o[1], o[2]); err != nil {
			return fmt.Errorf("setsockopt(%d, %d): %w", o[0], o[1], err)
		}
	}
	var addr unix.Sockaddr
	if s.inet {
		a := &unix.SockaddrInet4{Port: int(port)}
		if ip.Unmap().Is4() {
			a.Addr = ip.Unmap().As4()
		}
		addr = a
	} else {
		a := &unix.SockaddrInet6{Port: int(port)}
		if !ip.IsUnspecified() {
			a.Addr = ip.As16()
		}
		if ip.IsLinkLocalUnicast() && !ip.Unmap().Is4() {
			a.ZoneId = scope
		}
		addr = a
	}
	if err := unix.Bind(s.fd, addr); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	bound, err := unix.Getsockname(s.fd)
	if err != nil {
		return fmt.Errorf("getsockname: %w", err)
	}
	switch a := bound.(type) {
	case *unix.SockaddrInet4:
		s.port = uint16(a.Port)
	case *unix.SockaddrInet6:
		s.port = uint16(a.Port)
	}
	return nil
}

func (s *kernelSocket) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return nil
	}
	err := unix.Close(s.fd)
	s.fd = -1
	s.pollFD.Store(-1)
	return err
}

// received is what recv and recvError say of a packet.
type received struct {
	n       int
	ecn     uint8
	cut     bool // the packet was longer than buf
	path    transport.Path
	ifindex uint32

	err error  // recvError: what the network answered
	mtu uint32 // recvError: the next hop's MTU, where err is EMSGSIZE
}

// recv takes one packet; EAGAIN means that there is none, any other error that recvError has something.
func (s *kernelSocket) recv(buf []byte, r *received) error { return s.recvmsg(buf, 0, r) }

// recvError takes one report of an undelivered packet; its path is that packet's. EAGAIN means that there is none.
func (s *kernelSocket) recvError(r *received) error { return s.recvmsg(nil, unix.MSG_ERRQUEUE, r) }

func (s *kernelSocket) recvmsg(buf []byte, flags int, r *received) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return unix.EAGAIN
	}
	s.prepare(buf, controlBytes)
	n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.hdr)), uintptr(flags|unix.MSG_DONTWAIT))
	if errno != 0 {
		return errno
	}
	*r = received{n: int(n), cut: s.hdr.Flags&unix.MSG_TRUNC != 0 && flags == 0}
	r.path.LocalPort = s.port
	switch s.name.Family {
	case unix.AF_INET6:
		r.path.RemoteIP = s.name.Addr
		r.path.RemotePort = networkPort(&s.name.Port)
	case unix.AF_INET:
		name := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.name))
		r.path.RemoteIP = mapped(name.Addr)
		r.path.RemotePort = networkPort(&name.Port)
	}
	s.readControl(r)
	return nil
}

func (s *kernelSocket) prepare(buf []byte, control int) {
	s.iov = unix.Iovec{Base: unsafe.SliceData(buf)}
	s.iov.SetLen(len(buf))
	s.hdr = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&s.name)), Namelen: unix.SizeofSockaddrInet6, Iov: &s.iov, Control: &s.control[0]}
	s.hdr.SetIovlen(1)
	s.hdr.SetControllen(control)
}

// readControl goes through the control messages of the packet just received.
func (s *kernelSocket) readControl(r *received) {
	left := s.control[:min(int(s.hdr.Controllen), controlBytes)]
	for len(left) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&left[0]))
		length := int(h.Len)
		if length < unix.SizeofCmsghdr || length > len(left) {
			return
		}
		data := left[unix.CmsgLen(0):length]
		switch {
		case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			copy(r.path.LocalIP[:], data)
			r.ifindex = binary.NativeEndian.Uint32(data[16:])
		case h.Level == unix.SOL_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			r.ifindex = binary.NativeEndian.Uint32(data)
			r.path.LocalIP = mapped([4]byte(data[8:12])) // ipi_addr, what the header says
		case h.Level == unix.SOL_IP && h.Type == unix.IP_TOS && len(data) >= 1:
			r.ecn = data[0] & 3
		case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_TCLASS && len(data) >= 4:
			r.ecn = uint8(binary.NativeEndian.Uint32(data)) & 3
		case (h.Level == unix.SOL_IP && h.Type == unix.IP_RECVERR || h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_RECVERR) && len(data) >= 16:
			// struct sock_extended_err: errno u32, origin u8, type u8, code u8, pad u8, info u32, data u32
			r.err = unix.Errno(binary.NativeEndian.Uint32(data))
			r.mtu = binary.NativeEndian.Uint32(data[8:])
		}
		left = left[min(unix.CmsgSpace(length-unix.CmsgLen(0)), len(left)):]
	}
}

// send sends one packet to where r.path says, from its local address.
func (s *kernelSocket) send(buf []byte, path *transport.Path, ecn uint8) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return transport.ErrClosed
	}
	s.prepare(buf, s.writeControl(path, ecn))
	if s.inet {
		name := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.name))
		*name = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: [4]byte(path.RemoteIP[12:])}
		setNetworkPort(&name.Port, path.RemotePort)
		s.hdr.Namelen = unix.SizeofSockaddrInet4
	} else {
		s.name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: path.RemoteIP}
		if path.RemoteIP[0] == 0xfe && path.RemoteIP[1]&0xc0 == 0x80 { // link-local: the scope is the interface
			s.name.Scope_id = kernelIfindex(path)
		}
		setNetworkPort(&s.name.Port, path.RemotePort)
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.hdr)), unix.MSG_DONTWAIT)
	if errno != 0 {
		return errno
	}
	return nil
}

// writeControl says from which address the packet goes and with which ECN bits; it returns the length.
func (s *kernelSocket) writeControl(path *transport.Path, ecn uint8) int {
	is4 := isMapped(&path.RemoteIP)
	n := 0
	add := func(level, typ int32, dataBytes int) []byte {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&s.control[n]))
		h.Level, h.Type = level, typ
		h.SetLen(unix.CmsgLen(dataBytes))
		data := s.control[n+unix.CmsgLen(0) : n+unix.CmsgLen(dataBytes)]
		clear(data)
		n += unix.CmsgSpace(dataBytes)
		return data
	}
	if path.LocalIP != [16]byte{} {
		if s.inet {
			copy(add(unix.SOL_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)[4:], path.LocalIP[12:]) // ipi_spec_dst
		} else {
			copy(add(unix.SOL_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo), path.LocalIP[:])
		}
	}
	if is4 {
		binary.NativeEndian.PutUint32(add(unix.SOL_IP, unix.IP_TOS, 4), uint32(ecn&3))
	} else {
		binary.NativeEndian.PutUint32(add(unix.SOL_IPV6, unix.IPV6_TCLASS, 4), uint32(ecn&3))
	}
	return n
}

// networkPort reads a port in a raw socket address, which is in network order.
func networkPort(p *uint16) uint16 { return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:]) }

func setNetworkPort(p *uint16, v uint16) {
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(p))[:], v)
}

// mapped returns an IPv4 address as Path has it.
func mapped(a [4]byte) [16]byte {
	return [16]byte{10: 0xff, 11: 0xff, 12: a[0], 13: a[1], 14: a[2], 15: a[3]}
}

func isMapped(ip *[16]byte) bool {
	return binary.NativeEndian.Uint64(ip[:8]) == 0 && ip[8] == 0 && ip[9] == 0 && ip[10] == 0xff && ip[11] == 0xff
}
