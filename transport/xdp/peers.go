package xdp

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fastrpc/fastrpc/internal/netpath"
	"github.com/fastrpc/fastrpc/transport"
)

const (
	// maxPeers bounds the destinations whose next hop is followed. Paths to further ones keep the MAC that they were resolved with.
	maxPeers = 4096

	// lookupPatience is how long the kernel may take to resolve a neighbour again; its own limit is three probes of one second.
	lookupPatience = 3 * time.Second
)

// peers are the destinations that were resolved, each with its next hop's MAC, kept up to date from the route and neighbour tables: a
// resolved Path names its peer by number, and so never grows old.
type peers struct {
	hops [maxPeers]atomic.Uint64 // packMAC, by number; read by the Links

	mu     sync.Mutex
	all    []peer
	number map[peerKey]uint32
}

type peerKey struct{ remote, local netip.Addr }

type peer struct {
	peerKey
	route netpath.Route
	lost  bool // the neighbour's entry went away; it has been asked for anew
}

func (p *peers) nextHop(number uint32) (mac [6]byte, vlan uint16) {
	if number >= maxPeers {
		return mac, 0
	}
	w := p.hops[number].Load()
	return unpackMAC(w), uint16(w >> 48)
}

// keep remembers a route and returns the peer's number; false when there are too many.
func (p *peers) keep(remote netip.Addr, route netpath.Route) (number uint32, changed, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := peerKey{remote, route.Src}
	number, known := p.number[key]
	if !known {
		if len(p.all) == maxPeers {
			return 0, false, false
		}
		number = uint32(len(p.all))
		p.all = append(p.all, peer{peerKey: key})
		p.number[key] = number
	}
	p.all[number].route, p.all[number].lost = route, false
	return number, p.put(number, route), true
}

// put publishes a next hop and says whether it is another than before.
func (p *peers) put(number uint32, route netpath.Route) bool {
	hop := packMAC(route.DstMAC, route.VLAN)
	return p.hops[number].Swap(hop) != hop
}

// neighbourChanged gives every peer behind a neighbour its MAC.
func (p *peers) neighbourChanged(ifindex int, ip netip.Addr, mac [6]byte) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.all {
		if e := &p.all[i]; e.route.Ifindex == ifindex && e.route.NextHop == ip {
			e.route.DstMAC, e.lost = mac, false
			changed = p.put(uint32(i), e.route) || changed
		}
	}
	return changed
}

// neighbourLost says whether to ask for the neighbour: once, since the answer "lost" would otherwise be asked about for ever.
func (p *peers) neighbourLost(ifindex int, ip netip.Addr) (ask bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.all {
		if e := &p.all[i]; e.route.Ifindex == ifindex && e.route.NextHop == ip {
			ask = ask || !e.lost
			e.lost = true
		}
	}
	return ask
}

func (p *peers) snapshot() []peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]peer(nil), p.all...)
}

// resolve finds the path to remote and keeps it up to date.
func (d *device) resolve(ctx context.Context, local, remote netip.AddrPort) (transport.Path, error) {
	var src netip.Addr
	if a := local.Addr().Unmap(); a.IsValid() && !a.IsUnspecified() {
		src = a
	}
	dst := remote.Addr().Unmap()
	if remote.Port() == 0 || local.Port() == 0 {
		return transport.Path{}, fmt.Errorf("xdp: path from %v to %v: both need a port", local, remote)
	}
	route, err := d.tables.Lookup(ctx, dst, src)
	if err != nil {
		return transport.Path{}, fmt.Errorf("xdp: path to %v: %w", dst, err)
	}
	if err := d.accepts(dst, route); err != nil {
		return transport.Path{}, err
	}
	p := transport.Path{
		RemoteIP: dst.As16(), RemotePort: remote.Port(), LocalIP: route.Src.As16(), LocalPort: local.Port(), MTU: d.pathMTU(route, dst),
	}
	number, changed, ok := d.peers.keep(dst, route)
	if !ok {
		putNextHop(&p.Opaque, route.DstMAC, route.VLAN)
		return p, nil
	}
	if changed {
		d.generation.Add(1)
	}
	followPeer(&p, number)
	return p, nil
}

// accepts refuses routes that do not leave through the device.
func (d *device) accepts(dst netip.Addr, route netpath.Route) error {
	if route.Local {
		return localAddress(dst)
	}
	if route.LowerIfindex != d.key.ifindex {
		return fmt.Errorf("xdp: the route to %v leaves by %s, this Link is on %s: %w", dst, route.LowerName, d.name, ErrNoInterface)
	}
	return nil
}

func localAddress(a netip.Addr) error {
	return fmt.Errorf("xdp: %v is an %w, which routes over lo without native XDP; use udp:// or auto://", a, ErrLocalAddress)
}

// pathMTU is what a route carries in one packet of the device.
func (d *device) pathMTU(route netpath.Route, dst netip.Addr) uint16 {
	ip := dst.As16()
	return min(uint16(netpath.MaxPayload(route.MTU, !isMapped(&ip))), d.payload(&ip))
}

// refresh looks all peers' routes up again, after a change that may concern any of them.
func (d *device) refresh(ctx context.Context) {
	for _, e := range d.peers.snapshot() {
		lookup, cancel := context.WithTimeout(ctx, lookupPatience)
		route, err := d.tables.Lookup(lookup, e.remote, e.local)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = d.accepts(e.remote, route)
		}
		path := transport.Path{RemoteIP: e.remote.As16(), LocalIP: e.local.As16()}
		if err != nil {
			d.tell(transport.Event{Kind: transport.Unreachable, Path: path, Err: err})
			continue
		}
		if _, changed, _ := d.peers.keep(e.remote, route); changed {
			d.generation.Add(1)
		}
		if path.MTU = d.pathMTU(route, e.remote); path.MTU != d.pathMTU(e.route, e.remote) {
			d.tell(transport.Event{Kind: transport.MTUChanged, Path: path})
		}
	}
}
