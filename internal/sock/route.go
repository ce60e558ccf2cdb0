package sock

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/transport"
)

// Router finds paths for a bound socket, by a datagram socket of its own in the same network namespace that asks the kernel for routes.
// Its methods may be called from any goroutine.
type Router struct {
	v6    bool
	ip    netip.Addr // what the Link is bound to
	fixed [16]byte   // ip as it stands in a Path; zero when the Link serves several addresses
	port  uint16
	mu    sync.Mutex
	fd    int // -1 once closed
	open  bool
}

// Open makes the socket. bound is what the Link's own is bound to.
func (r *Router) Open(b *Binding, v6 bool, bound netip.AddrPort) error {
	r.v6, r.ip, r.port = v6, bound.Addr(), bound.Port()
	if !b.All() {
		r.fixed = r.ip.As16()
	}
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	var err error
	if r.fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	r.open = true
	if v6 {
		_ = unix.SetsockoptInt(r.fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 0)
	}
	if b.Iface == "" {
		return nil
	}
	if err := unix.BindToDevice(r.fd, b.Iface); err != nil {
		return fmt.Errorf("bind to interface %s: %w", b.Iface, err)
	}
	return nil
}

// Close gives the socket back, if there is one.
func (r *Router) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open {
		_ = unix.Close(r.fd)
		r.open = false
	}
}

// Fixed is the address that the Link is bound to, as it stands in a Path; zero where it serves several.
func (r *Router) Fixed() [16]byte { return r.fixed }

// IP is what the Link is bound to.
func (r *Router) IP() netip.Addr { return r.ip }

// Port is the Link's.
func (r *Router) Port() uint16 { return r.port }

// V6 tells whether the Link's socket is one of AF_INET6.
func (r *Router) V6() bool { return r.v6 }

// Serves tells whether the Link's socket can send to ip.
func (r *Router) Serves(ip *[16]byte) bool {
	if Is4(ip) {
		return !r.v6 || r.fixed == [16]byte{}
	}
	return r.v6
}

// Resolve is transport.Link's but for Path.MTU. It does not block: what lies behind the first hop the kernel cannot know. mtu is that of the
// route, bytes of IP. A Path's Opaque begins with the interface index of a link-local remote address; otherwise it is zero, so that the
// kernel's routes decide.
func (r *Router) Resolve(ctx context.Context, local, remote netip.AddrPort) (p transport.Path, mtu int, err error) {
	if err := ctx.Err(); err != nil {
		return p, 0, err
	}
	if err := checkRemote(remote); err != nil {
		return p, 0, err
	}
	if local.Port() != 0 && local.Port() != r.port {
		return p, 0, fmt.Errorf("port %d is not this Link's: it is %d: %w", local.Port(), r.port, unix.EADDRNOTAVAIL)
	}
	p = transport.Path{RemoteIP: remote.Addr().As16(), RemotePort: remote.Port(), LocalIP: r.fixed, LocalPort: r.port}
	if !r.Serves(&p.RemoteIP) {
		return p, 0, fmt.Errorf("the socket is bound to %v: %w", r.ip, unix.EAFNOSUPPORT)
	}
	own := local.Addr().Unmap().WithZone("")
	if given := own.IsValid() && !own.IsUnspecified(); given && r.fixed != [16]byte{} && own != r.ip.WithZone("") {
		return p, 0, fmt.Errorf("%v is not this Link's address: it is %v: %w", own, r.ip, unix.EADDRNOTAVAIL)
	} else if given && own.Is4() != Is4(&p.RemoteIP) {
		return p, 0, fmt.Errorf("from %v: %w", own, unix.EAFNOSUPPORT)
	} else if given {
		p.LocalIP = own.As16()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.open {
		return p, 0, transport.ErrClosed
	}
	dst, src, mtu, err := route(r.fd, r.v6, remote)
	if err != nil {
		return p, 0, err
	}
	if p.LocalIP == [16]byte{} {
		p.LocalIP = src.IP()
	}
	binary.NativeEndian.PutUint32(p.Opaque[:], dst.Scope())
	return p, mtu, nil
}

func checkRemote(remote netip.AddrPort) error {
	if !remote.IsValid() || remote.Port() == 0 || remote.Addr().IsUnspecified() {
		return Invalid("not one host's address and port: %w", unix.EDESTADDRREQ)
	}
	if remote.Addr().IsMulticast() {
		return Invalid("a multicast address: %w", unix.EADDRNOTAVAIL)
	}
	return nil
}

// route asks the kernel which source address and MTU lead to remote, by connecting a datagram socket there, which sends nothing, and
// undoing that.
func route(fd int, v6 bool, remote netip.AddrPort) (dst, src Addr, mtu int, err error) {
	if err = dst.Put(fd, remote, v6); err != nil {
		return
	}
	if err = dst.Connect(fd, v6); err != nil {
		switch {
		case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
			err = fmt.Errorf("no route; see 'ip route get %v': %w", remote.Addr().WithZone(""), err)
		case errors.Is(err, unix.EINVAL) && remote.Addr().IsLinkLocalUnicast():
			err = Invalid("a link-local address needs its interface, as in [fe80::1%%25eth0]: %w", err)
		case errors.Is(err, unix.EACCES):
			err = fmt.Errorf("a broadcast address, or a prohibiting route: %w", err)
		}
		return
	}
	defer func() {
		var none Addr // AF_UNSPEC dissolves the connection, connect(2)
		if e := none.Connect(fd, v6); err == nil && e != nil {
			err = fmt.Errorf("disconnect: %w", e)
		}
	}()
	if err = src.Name(fd); err != nil {
		return
	}
	level, opt := unix.SOL_IP, unix.IP_MTU
	if ip := dst.IP(); !Is4(&ip) {
		level, opt = unix.SOL_IPV6, unix.IPV6_MTU
	}
	mtu, err = unix.GetsockoptInt(fd, level, opt)
	return
}

// SourceFor finds the address of this host from which remote is reached.
func SourceFor(remote netip.AddrPort) (netip.Addr, error) {
	if err := checkRemote(remote); err != nil {
		return netip.Addr{}, err
	}
	fd, v6, err := (&Binding{IP: remote.Addr()}).Open(unix.SOCK_DGRAM)
	if fd >= 0 {
		defer unix.Close(fd)
	}
	if err != nil {
		return netip.Addr{}, err
	}
	_, src, _, err := route(fd, v6, remote)
	if err != nil {
		return netip.Addr{}, err
	}
	ip := netip.AddrFrom16(src.IP()).Unmap()
	if ip.IsLinkLocalUnicast() && ip.Is6() {
		ip = ip.WithZone(remote.Addr().Zone())
	}
	return ip, nil
}

// PutScope notes the interface of a Path to a link-local address.
func PutScope(p *transport.Path, scope uint32) { binary.NativeEndian.PutUint32(p.Opaque[:], scope) }

// Scope is what PutScope noted, otherwise zero.
func Scope(p *transport.Path) uint32 { return binary.NativeEndian.Uint32(p.Opaque[:]) }
