package udp

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/sock"
)

// What the kernel may queue on the socket beyond our frames, bytes: 4 MiB hold a burst of 2,000 large packets while the engine is descheduled.
const socketBuffer = 4 << 20

// open makes the sockets and the memory. On an error release undoes what was done.
func (l *Link) open(b *sock.Binding, s settings) (bound netip.AddrPort, err error) {
	if l.fd, l.v6, err = b.Open(unix.SOCK_DGRAM); err != nil {
		return bound, err
	}
	if err := l.configure(s); err != nil {
		return bound, err
	}
	if bound, err = b.Bind(l.fd, l.v6, "-u"); err != nil {
		return bound, err
	}
	if err := l.router.Open(b, l.v6, bound); err != nil {
		return bound, err
	}
	l.fixedIP, l.port = l.router.Fixed(), bound.Port()
	if err := l.park.Open(l.fd); err != nil {
		return bound, err
	}
	l.prepare(s.frames, bound)
	return bound, nil
}

// configure sets the socket's options. A v6 socket gets the IPv4 ones as well: they count for IPv4-mapped addresses.
func (l *Link) configure(s settings) error {
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
		options = append(options[1:], // IPV6_RECVPKTINFO tells IPv4-mapped addresses too
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
	return nil
}

// release closes what open opened.
func (l *Link) release() {
	if l.fd >= 0 {
		_ = unix.Close(l.fd)
		l.fd = -1
	}
	l.router.Close()
	l.park.Close()
}
