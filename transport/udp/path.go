package udp

import (
	"context"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/sock"
	"github.com/fastrpc/fastrpc/transport"
)

// headerBytes is what IP and UDP take of an MTU.
func headerBytes(remote *[16]byte) int {
	if sock.Is4(remote) {
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
	p, mtu, err := l.router.Resolve(ctx, local, remote)
	if err != nil {
		return transport.Path{}, fmt.Errorf("udp: resolve %v: %w", remote, err)
	}
	p.MTU = pathMTU(mtu, &p.RemoteIP)
	return p, nil
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
