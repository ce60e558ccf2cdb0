package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/transport"
)

// What the kernel may queue on the socket beyond our frames, bytes: 4 MiB hold a burst of 2,000 large packets while the engine is descheduled.
const socketBuffer = 4 << 20

// binding says what a socket listens on.
type binding struct {
	ip    netip.Addr // not valid, or unspecified: all
	iface string     // only what this interface received
	port  uint16     // 0: any that is free
}

// open makes the sockets and the memory. On an error release undoes what was done.
func (l *Link) open(b binding, s settings) error {
	wildcard := !b.ip.IsValid() || b.ip.IsUnspecified()
	var err error
	if l.fd, l.v6, err = socketFor(b.ip); err != nil {
		return err
	}
	if b.iface != "" {
		if _, err := ifaceIndex(l.fd, b.iface); err != nil {
			return notFound("%q is neither an IP address nor an interface here (see 'ip -br link'): %w", b.iface, err)
		}
	}
	if err := l.configure(b, s); err != nil {
		return err
	}
	if l.v6 && wildcard {
		b.ip = netip.IPv6Unspecified()
	} else if wildcard {
		b.ip = netip.IPv4Unspecified()
	}
	var sa sockaddr
	if err := sa.put(l.fd, netip.AddrPortFrom(b.ip, b.port), l.v6); err != nil {
		return err
	}
	if err := sa.bind(l.fd, l.v6); err != nil {
		return bindError(b, err)
	}
	if err := sa.name(l.fd); err != nil {
		return fmt.Errorf("getsockname: %w", err)
	}
	l.ip, l.port = b.ip.Unmap(), sa.port()
	if !wildcard {
		l.fixedIP = l.ip.As16()
	}
	if l.probeFD, err = unix.Socket(family(l.v6), unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if l.v6 {
		_ = unix.SetsockoptInt(l.probeFD, unix.SOL_IPV6, unix.IPV6_V6ONLY, 0)
	}
	if b.iface != "" {
		if err := unix.BindToDevice(l.probeFD, b.iface); err != nil {
			return fmt.Errorf("bind to interface %s: %w", b.iface, err)
		}
	}
	if l.wakeFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	l.prepare(s.frames)
	return nil
}

// socketFor makes a socket of ip's family; for all addresses one that serves both, or IPv4 alone on a kernel without IPv6.
func socketFor(ip netip.Addr) (fd int, v6 bool, err error) {
	const kind = unix.SOCK_DGRAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	wildcard := !ip.IsValid() || ip.IsUnspecified()
	if wildcard || ip.Unmap().Is6() {
		fd, err = unix.Socket(unix.AF_INET6, kind, 0)
		if err == nil || !wildcard || !errors.Is(err, unix.EAFNOSUPPORT) {
			if err != nil {
				err = fmt.Errorf("socket: %w", err)
			}
			return fd, true, err
		}
	}
	if fd, err = unix.Socket(unix.AF_INET, kind, 0); err != nil {
		err = fmt.Errorf("socket: %w", err)
	}
	return fd, false, err
}

func family(v6 bool) int {
	if v6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// configure sets the socket's options. A v6 socket gets the IPv4 ones as well: they count for IPv4-mapped addresses.
func (l *Link) configure(b binding, s settings) error {
	type option struct {
		name              string
		level, opt, value int
	}
	options := []option{
		{"IP_PKTINFO", unix.SOL_IP, unix.IP_PKTINFO, 1},
		{"IP_RECVTOS", unix.SOL_IP, unix.IP_RECVTOS, 1},
		{"IP_RECVERR", unix.SOL_IP, unix.IP_RECVERR, 1},
		{"IP_MTU_DISCOVER", unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE},
	}
	if l.v6 {
		only := 1
		if !b.ip.IsValid() || b.ip.IsUnspecified() {
			only = 0
		}
		options[0] = option{"IPV6_V6ONLY", unix.SOL_IPV6, unix.IPV6_V6ONLY, only} // IPV6_RECVPKTINFO tells IPv4-mapped addresses too
		options = append(options,
			option{"IPV6_RECVPKTINFO", unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1},
			option{"IPV6_RECVTCLASS", unix.SOL_IPV6, unix.IPV6_RECVTCLASS, 1},
			option{"IPV6_RECVERR", unix.SOL_IPV6, unix.IPV6_RECVERR, 1},
			option{"IPV6_MTU_DISCOVER", unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE},
		)
	}
	if s.busyPollMicros > 0 {
		options = append(options, option{"SO_BUSY_POLL (needs CAP_NET_ADMIN)", unix.SOL_SOCKET, unix.SO_BUSY_POLL, s.busyPollMicros})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(l.fd, o.level, o.opt, o.value); err != nil {
			return fmt.Errorf("setsockopt %s: %w", o.name, err)
		}
	}
	for force, plain := range map[int]int{unix.SO_RCVBUFFORCE: unix.SO_RCVBUF, unix.SO_SNDBUFFORCE: unix.SO_SNDBUF} {
		if unix.SetsockoptInt(l.fd, unix.SOL_SOCKET, force, socketBuffer) != nil { // without CAP_NET_ADMIN: up to net.core.[rw]mem_max
			_ = unix.SetsockoptInt(l.fd, unix.SOL_SOCKET, plain, socketBuffer)
		}
	}
	if b.iface != "" {
		if err := unix.BindToDevice(l.fd, b.iface); err != nil {
			return fmt.Errorf("bind to interface %s: %w", b.iface, err)
		}
	}
	return nil
}

// bindError says what to do about a refused bind.
func bindError(b binding, err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE) && b.port == 0:
		return fmt.Errorf("no ephemeral port is free; see 'ss -uan' and net.ipv4.ip_local_port_range: %w", err)
	case errors.Is(err, unix.EADDRINUSE):
		return transport.Mark(transport.ErrPrecondition,
			fmt.Errorf("port %d is held by another socket; 'ss -ulpn sport = :%d' shows whose: %w", b.port, b.port, err))
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("port %d needs CAP_NET_BIND_SERVICE, or a lower net.ipv4.ip_unprivileged_port_start: %w", b.port, err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return notFound("no interface here has the address %v; see 'ip -br address': %w", b.ip, err)
	case errors.Is(err, unix.EINVAL) && b.ip.IsLinkLocalUnicast():
		return invalid("the link-local address %v needs its interface, as in [fe80::1%%25eth0]: %w", b.ip, err)
	}
	return fmt.Errorf("bind %v: %w", netip.AddrPortFrom(b.ip, b.port), err)
}

// release closes what open opened.
func (l *Link) release() {
	for _, fd := range []*int{&l.fd, &l.probeFD, &l.wakeFD} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
			*fd = -1
		}
	}
}

// ifaceIndex finds an interface, by name or number, in the network namespace of the socket fd, whichever the calling thread is in.
func ifaceIndex(fd int, name string) (uint32, error) {
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		return uint32(n), nil
	}
	r, err := unix.NewIfreq(name)
	if err != nil {
		return 0, unix.ENODEV
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, r); err != nil {
		return 0, err
	}
	return r.Uint32(), nil
}
