package sock

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Addr is a struct sockaddr_in6 or, in its first 16 bytes, a sockaddr_in, as the socket's family asks.
type Addr [unix.SizeofSockaddrInet6]byte

// AddrLen is how much of an Addr the kernel is given.
func AddrLen(v6 bool) uint32 {
	if v6 {
		return unix.SizeofSockaddrInet6
	}
	return unix.SizeofSockaddrInet4
}

// Set writes an address in the form of a transport.Path. scope is the interface of a link-local one, otherwise zero.
func (a *Addr) Set(v6 bool, ip *[16]byte, port uint16, scope uint32) {
	binary.BigEndian.PutUint16(a[2:], port)
	if !v6 {
		binary.NativeEndian.PutUint16(a[:], unix.AF_INET)
		copy(a[4:8], ip[12:])
		return
	}
	binary.NativeEndian.PutUint16(a[:], unix.AF_INET6)
	binary.NativeEndian.PutUint32(a[4:], 0)
	copy(a[8:24], ip[:])
	binary.NativeEndian.PutUint32(a[24:], scope)
}

// Put writes addr for a socket of the family that v6 says; a zone becomes an interface index in fd's network namespace.
func (a *Addr) Put(fd int, addr netip.AddrPort, v6 bool) error {
	ip := addr.Addr().As16()
	if !v6 && !Is4(&ip) && !addr.Addr().IsUnspecified() {
		return fmt.Errorf("%v on an IPv4 socket: %w", addr.Addr(), unix.EAFNOSUPPORT)
	}
	scope := uint32(0)
	if zone := addr.Addr().Zone(); zone != "" {
		var err error
		if scope, err = Interface(fd, zone); err != nil {
			return NotFound("no interface %q for %v (see 'ip -br link'): %w", zone, addr.Addr(), err)
		}
	}
	a.Set(v6, &ip, addr.Port(), scope)
	return nil
}

// Port is the port.
func (a *Addr) Port() uint16 { return binary.BigEndian.Uint16(a[2:]) }

func (a *Addr) v6() bool { return binary.NativeEndian.Uint16(a[:]) == unix.AF_INET6 }

// IP is the address as it stands in a transport.Path.
func (a *Addr) IP() (ip [16]byte) {
	if a.v6() {
		return [16]byte(a[8:24])
	}
	return Mapped([4]byte(a[4:8]))
}

// Scope is the interface of a link-local address, otherwise zero.
func (a *Addr) Scope() uint32 {
	if !a.v6() {
		return 0
	}
	return binary.NativeEndian.Uint32(a[24:])
}

// Mapped is an IPv4 address in IPv6 form.
func Mapped(ip4 [4]byte) (ip [16]byte) {
	ip[10], ip[11] = 0xff, 0xff
	copy(ip[12:], ip4[:])
	return ip
}

// Is4 tells IPv4-mapped addresses.
func Is4(ip *[16]byte) bool {
	return binary.BigEndian.Uint64(ip[:]) == 0 && binary.BigEndian.Uint32(ip[8:]) == 0xffff
}

// IsLinkLocal tells IPv6 addresses that mean nothing without their interface.
func IsLinkLocal(ip *[16]byte) bool { return ip[0] == 0xfe && ip[1]&0xc0 == 0x80 }

// Bind is bind(2).
func (a *Addr) Bind(fd int, v6 bool) error { return a.call(unix.SYS_BIND, fd, v6) }

// Connect is connect(2). The socket does not block, so neither does it.
func (a *Addr) Connect(fd int, v6 bool) error { return a.call(unix.SYS_CONNECT, fd, v6) }

func (a *Addr) call(trap uintptr, fd int, v6 bool) error {
	if _, _, e := unix.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(a)), uintptr(AddrLen(v6))); e != 0 {
		return e
	}
	return nil
}

// Name reads the socket's own address: getsockname(2).
func (a *Addr) Name(fd int) error {
	size := uint32(len(a))
	_, _, e := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(a)), uintptr(unsafe.Pointer(&size)))
	if e != 0 {
		return e
	}
	return nil
}
