package udp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/transport"
)

// A Path's Opaque begins with the interface index of a link-local remote address; otherwise it is zero, so that the kernel's routes decide.

// headerBytes is what IP and UDP take of an MTU.
func headerBytes(remote *[16]byte) int {
	if is4(remote) {
		return 20 + 8
	}
	return 40 + 8
}

// pathMTU turns an IP MTU into a Path's.
func pathMTU(ipMTU int, remote *[16]byte) uint16 {
	return uint16(max(0, min(ipMTU-headerBytes(remote), frameBytes)))
}

// Resolve implements transport.Link. It asks the kernel for the route and does not block: what lies behind the first hop it cannot know.
func (l *Link) Resolve(ctx context.Context, local, remote netip.AddrPort) (transport.Path, error) {
	if err := ctx.Err(); err != nil {
		return transport.Path{}, fmt.Errorf("udp: resolve %v: %w", remote, err)
	}
	p, err := l.resolve(local, remote)
	if err != nil {
		return transport.Path{}, fmt.Errorf("udp: resolve %v: %w", remote, err)
	}
	return p, nil
}

func (l *Link) resolve(local, remote netip.AddrPort) (p transport.Path, err error) {
	if err := checkRemote(remote); err != nil {
		return p, err
	}
	if local.Port() != 0 && local.Port() != l.port {
		return p, fmt.Errorf("port %d is not this Link's: it is %d: %w", local.Port(), l.port, unix.EADDRNOTAVAIL)
	}
	p = transport.Path{RemoteIP: remote.Addr().As16(), RemotePort: remote.Port(), LocalIP: l.fixedIP, LocalPort: l.port}
	if !l.serves(&p.RemoteIP) {
		return p, fmt.Errorf("the socket is bound to %v: %w", l.ip, unix.EAFNOSUPPORT)
	}
	own := local.Addr().Unmap().WithZone("")
	if given := own.IsValid() && !own.IsUnspecified(); given && l.fixedIP != [16]byte{} && own != l.ip.WithZone("") {
		return p, fmt.Errorf("%v is not this Link's address: it is %v: %w", own, l.ip, unix.EADDRNOTAVAIL)
	} else if given && own.Is4() != is4(&p.RemoteIP) {
		return p, fmt.Errorf("from %v: %w", own, unix.EAFNOSUPPORT)
	} else if given {
		p.LocalIP = own.As16()
	}
	l.probeMu.Lock()
	defer l.probeMu.Unlock()
	if l.probeFD < 0 {
		return p, transport.ErrClosed
	}
	dst, src, mtu, err := route(l.probeFD, l.v6, remote)
	if err != nil {
		return p, err
	}
	if p.LocalIP == [16]byte{} {
		p.LocalIP = src.ip()
	}
	binary.NativeEndian.PutUint32(p.Opaque[:], dst.scope())
	p.MTU = pathMTU(mtu, &p.RemoteIP)
	return p, nil
}

// serves says whether the socket can send to ip.
func (l *Link) serves(ip *[16]byte) bool {
	if is4(ip) {
		return !l.v6 || l.fixedIP == [16]byte{}
	}
	return l.v6
}

func checkRemote(remote netip.AddrPort) error {
	if !remote.IsValid() || remote.Port() == 0 || remote.Addr().IsUnspecified() {
		return invalid("not one host's address and port: %w", unix.EDESTADDRREQ)
	}
	if remote.Addr().IsMulticast() {
		return invalid("a multicast address: %w", unix.EADDRNOTAVAIL)
	}
	return nil
}

// route asks the kernel which source address and MTU lead to remote, by connecting fd there, which sends nothing, and undoing that.
func route(fd int, v6 bool, remote netip.AddrPort) (dst, src sockaddr, mtu int, err error) {
	if err = dst.put(fd, remote, v6); err != nil {
		return
	}
	if err = dst.connect(fd, v6); err != nil {
		switch {
		case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
			err = fmt.Errorf("no route; see 'ip route get %v': %w", remote.Addr().WithZone(""), err)
		case errors.Is(err, unix.EINVAL) && remote.Addr().IsLinkLocalUnicast():
			err = invalid("a link-local address needs its interface, as in [fe80::1%%25eth0]: %w", err)
		case errors.Is(err, unix.EACCES):
			err = fmt.Errorf("a broadcast address, or a prohibiting route: %w", err)
		}
		return
	}
	defer func() {
		var none sockaddr // AF_UNSPEC dissolves the connection, connect(2)
		if e := none.connect(fd, v6); err == nil && e != nil {
			err = fmt.Errorf("disconnect: %w", e)
		}
	}()
	if err = src.name(fd); err != nil {
		return
	}
	level, opt := unix.SOL_IP, unix.IP_MTU
	if ip := dst.ip(); !is4(&ip) {
		level, opt = unix.SOL_IPV6, unix.IPV6_MTU
	}
	mtu, err = unix.GetsockoptInt(fd, level, opt)
	return
}

// sourceFor finds the address of this host from which remote is reached.
func sourceFor(remote netip.AddrPort) (netip.Addr, error) {
	if err := checkRemote(remote); err != nil {
		return netip.Addr{}, err
	}
	fd, v6, err := socketFor(remote.Addr())
	if err != nil {
		return netip.Addr{}, err
	}
	defer unix.Close(fd)
	_, src, _, err := route(fd, v6, remote)
	if err != nil {
		return netip.Addr{}, err
	}
	ip := netip.AddrFrom16(src.ip()).Unmap()
	if ip.IsLinkLocalUnicast() && ip.Is6() {
		ip = ip.WithZone(remote.Addr().Zone())
	}
	return ip, nil
}

// mtuCache remembers the MTUs of the interfaces that packets came in on. A host has few that carry RPCs.
type mtuCache struct {
	entries [8]struct {
		index uint32
		mtu   int
	}
	next int
}

// mtuOf returns the IP MTU of an interface, from the kernel the first time.
func (l *Link) mtuOf(index uint32) int {
	c := &l.mtus
	for i := range c.entries {
		if c.entries[i].index == index && index != 0 {
			return c.entries[i].mtu
		}
	}
	mtu := 1280 // the least that IPv6 allows: the interface went away
	if r, err := unix.NewIfreq(""); err == nil {
		r.SetUint32(index)
		if unix.IoctlIfreq(l.fd, unix.SIOCGIFNAME, r) == nil {
			if r, err = unix.NewIfreq(r.Name()); err == nil && unix.IoctlIfreq(l.fd, unix.SIOCGIFMTU, r) == nil {
				mtu = int(r.Uint32())
			}
		}
	}
	c.entries[c.next].index, c.entries[c.next].mtu = index, mtu
	c.next = (c.next + 1) % len(c.entries)
	return mtu
}

func (c *mtuCache) forget() { *c = mtuCache{} }
