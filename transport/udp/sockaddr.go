package udp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockaddr is a struct sockaddr_in6 or, in its first 16 bytes, a sockaddr_in, as the socket's family asks.
type sockaddr [unix.SizeofSockaddrInet6]byte

func sockaddrLen(v6 bool) uint32 {
	if v6 {
		return unix.SizeofSockaddrInet6
	}
	return unix.SizeofSockaddrInet4
}

// set writes an address in the form of a Path. scope is the interface of a link-local one, otherwise zero.
func (sa *sockaddr) set(v6 bool, ip *[16]byte, port uint16, scope uint32) {
	binary.BigEndian.PutUint16(sa[2:], port)
	if !v6 {
		binary.NativeEndian.PutUint16(sa[:], unix.AF_INET)
		copy(sa[4:8], ip[12:])
		return
	}
	binary.NativeEndian.PutUint16(sa[:], unix.AF_INET6)
	binary.NativeEndian.PutUint32(sa[4:], 0)
	copy(sa[8:24], ip[:])
	binary.NativeEndian.PutUint32(sa[24:], scope)
}

// put writes addr for a socket of the family that v6 says; a zone becomes an interface index in fd's network namespace.
func (sa *sockaddr) put(fd int, addr netip.AddrPort, v6 bool) error {
	ip := addr.Addr().As16()
	if !v6 && !is4(&ip) && !addr.Addr().IsUnspecified() {
		return fmt.Errorf("%v on an IPv4 socket: %w", addr.Addr(), unix.EAFNOSUPPORT)
	}
	scope := uint32(0)
	if zone := addr.Addr().Zone(); zone != "" {
		var err error
		if scope, err = ifaceIndex(fd, zone); err != nil {
			return notFound("no interface %q for %v (see 'ip -br link'): %w", zone, addr.Addr(), err)
		}
	}
	sa.set(v6, &ip, addr.Port(), scope)
	return nil
}

func (sa *sockaddr) port() uint16 { return binary.BigEndian.Uint16(sa[2:]) }

func (sa *sockaddr) v6() bool { return binary.NativeEndian.Uint16(sa[:]) == unix.AF_INET6 }

// ip is the address as it stands in a Path.
func (sa *sockaddr) ip() (ip [16]byte) {
	if sa.v6() {
		return [16]byte(sa[8:24])
	}
	return mapped([4]byte(sa[4:8]))
}

// scope is the interface of a link-local address, otherwise zero.
func (sa *sockaddr) scope() uint32 {
	if !sa.v6() {
		return 0
	}
	return binary.NativeEndian.Uint32(sa[24:])
}

// mapped is an IPv4 address in IPv6 form.
func mapped(ip4 [4]byte) (ip [16]byte) {
	ip[10], ip[11] = 0xff, 0xff
	copy(ip[12:], ip4[:])
	return ip
}

// is4 tells IPv4-mapped addresses.
func is4(ip *[16]byte) bool {
	return binary.BigEndian.Uint64(ip[:]) == 0 && binary.BigEndian.Uint32(ip[8:]) == 0xffff
}

func isLinkLocal(ip *[16]byte) bool { return ip[0] == 0xfe && ip[1]&0xc0 == 0x80 }

func (sa *sockaddr) bind(fd int, v6 bool) error    { return sa.call(unix.SYS_BIND, fd, v6) }
func (sa *sockaddr) connect(fd int, v6 bool) error { return sa.call(unix.SYS_CONNECT, fd, v6) }

func (sa *sockaddr) call(trap uintptr, fd int, v6 bool) error {
	if _, _, e := unix.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(sa)), uintptr(sockaddrLen(v6))); e != 0 {
		return e
	}
	return nil
}

// name reads the socket's own address.
func (sa *sockaddr) name(fd int) error {
	size := uint32(len(sa))
	_, _, e := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(sa)), uintptr(unsafe.Pointer(&size)))
	if e != 0 {
		return e
	}
	return nil
}
