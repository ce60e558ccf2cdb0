// Package sock holds what Links over the kernel's sockets share: addresses in the kernel's form, opening and binding, the source address
// that a route gives, the books about packet buffers, and how an owner sleeps and is woken. The sockets stay out of Go's network poller.
package sock

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/transport"
)

// Binding says what a socket is bound to.
type Binding struct {
	IP    netip.Addr // not valid, or unspecified: all
	Iface string     // only what this interface receives
	Port  uint16     // 0: any that is free
}

// BindingOf reads the host of a target to listen on: an IP address, an interface's name, or nothing.
func BindingOf(t transport.Target) Binding {
	b := Binding{Port: t.Port}
	if t.Host != "" {
		var err error
		if b.IP, err = netip.ParseAddr(t.Host); err != nil {
			b.Iface = t.Host
		}
	}
	return b
}

// All tells whether the binding is to every address.
func (b *Binding) All() bool { return !b.IP.IsValid() || b.IP.IsUnspecified() }

// Open makes a socket of b's family that does not block; for all addresses one that serves both families, or IPv4 alone on a kernel
// without IPv6. kind is unix.SOCK_DGRAM or SOCK_STREAM. On an error the socket may be there, and is the caller's to close.
func (b *Binding) Open(kind int) (fd int, v6 bool, err error) {
	kind |= unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	if fd, v6, err = b.socket(kind); err != nil {
		return -1, v6, fmt.Errorf("socket: %w", err)
	}
	if v6 {
		only := 1
		if b.All() {
			only = 0
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return fd, v6, fmt.Errorf("setsockopt IPV6_V6ONLY: %w", err)
		}
	}
	if b.Iface == "" {
		return fd, v6, nil
	}
	if _, err := Interface(fd, b.Iface); err != nil {
		return fd, v6, NotFound("%q is neither an IP address nor an interface here (see 'ip -br link'): %w", b.Iface, err)
	}
	if err := unix.BindToDevice(fd, b.Iface); err != nil {
		return fd, v6, fmt.Errorf("bind to interface %s: %w", b.Iface, err)
	}
	return fd, v6, nil
}

func (b *Binding) socket(kind int) (fd int, v6 bool, err error) {
	if b.All() || b.IP.Unmap().Is6() {
		fd, err = unix.Socket(unix.AF_INET6, kind, 0)
		if err == nil || !b.All() || !errors.Is(err, unix.EAFNOSUPPORT) {
			return fd, true, err
		}
	}
	fd, err = unix.Socket(unix.AF_INET, kind, 0)
	return fd, false, err
}

// Bind binds fd and returns the address that it has then; its IP is unspecified where it serves all. holders is the option of ss(8)
// for sockets of the kind, "-u" or "-t", for an error that tells how to find who holds the port.
func (b *Binding) Bind(fd int, v6 bool, holders string) (netip.AddrPort, error) {
	ip := b.IP
	if b.All() && v6 {
		ip = netip.IPv6Unspecified()
	} else if b.All() {
		ip = netip.IPv4Unspecified()
	}
	var a Addr
	if err := a.Put(fd, netip.AddrPortFrom(ip, b.Port), v6); err != nil {
		return netip.AddrPort{}, err
	}
	if err := a.Bind(fd, v6); err != nil {
		return netip.AddrPort{}, b.Refused(err, holders)
	}
	if err := a.Name(fd); err != nil {
		return netip.AddrPort{}, fmt.Errorf("getsockname: %w", err)
	}
	return netip.AddrPortFrom(ip.Unmap(), a.Port()), nil
}

// Refused says what to do about a refused bind(2) or listen(2).
func (b *Binding) Refused(err error, holders string) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE) && b.Port == 0:
		return fmt.Errorf("no ephemeral port is free; see 'ss %san' and net.ipv4.ip_local_port_range: %w", holders, err)
	case errors.Is(err, unix.EADDRINUSE):
		return transport.Mark(transport.ErrPrecondition,
			fmt.Errorf("port %d is held by another socket; 'ss %slpn sport = :%d' shows whose: %w", b.Port, holders, b.Port, err))
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("port %d needs CAP_NET_BIND_SERVICE, or a lower net.ipv4.ip_unprivileged_port_start: %w", b.Port, err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return NotFound("no interface here has the address %v; see 'ip -br address': %w", b.IP, err)
	case errors.Is(err, unix.EINVAL) && b.IP.IsLinkLocalUnicast():
		return Invalid("the link-local address %v needs its interface, as in [fe80::1%%25eth0]: %w", b.IP, err)
	}
	return fmt.Errorf("bind %v: %w", netip.AddrPortFrom(b.IP, b.Port), err)
}

// Interface finds an interface, by name or number, in the network namespace of the socket fd, whichever the calling thread is in.
func Interface(fd int, name string) (uint32, error) {
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

// Settings reads what stands behind an address's question mark: set is called with each, in alphabetical order, and says whether it knows it.
// all names those that there are.
func Settings(q url.Values, all string, set func(key, value string) (known bool, err error)) error {
	keys := make([]string, 0, len(q))
	for k := range q {
		keys = append(keys, k)
	}
	slices.Sort(keys) // so that of several mistakes always the same is named
	for _, k := range keys {
		known, err := set(k, q.Get(k))
		if !known {
			return Invalid("setting %q is unknown; there are %s: %w", k, all, unix.EINVAL)
		}
		if err != nil {
			return Invalid("setting %s=%s: %w", k, q.Get(k), err)
		}
	}
	return nil
}

// Number reads a setting's value.
func Number(v string, least, most int) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("want a number from %d to %d: %w", least, most, unix.EINVAL)
	}
	return n, nil
}

// Invalid makes an error that matches transport.ErrInvalid.
func Invalid(format string, args ...any) error {
	return transport.Mark(transport.ErrInvalid, fmt.Errorf(format, args...))
}

// NotFound makes an error that matches transport.ErrNotFound.
func NotFound(format string, args ...any) error {
	return transport.Mark(transport.ErrNotFound, fmt.Errorf(format, args...))
}
