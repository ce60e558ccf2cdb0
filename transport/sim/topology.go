package sim

import (
	"net/netip"

	"github.com/fastrpc/fastrpc/transport"
)

// node is an address; it stays when its Link crashes, so that what is under way reaches the next Link there.
type node struct {
	addr    netip.AddrPort
	link    *Link
	ingress bottleneck
}

// direction is the way from one address to another.
type direction struct {
	from, to *node
	back     transport.Path // as the receiver sees it, without the MTU
	overhead int            // bytes on the wire beside the packet's
	faults   Faults
	own      bool // faults were set for this direction
	cut      bool
	broken   uint64 // times that it was cut
	bad      bool   // the state of faults.Burst
	wire     bottleneck
	last     transport.Time // arrival of the latest packet that kept its place
}

func (d *direction) setFaults(f Faults) {
	d.faults, d.bad = f, false
	d.wire.set(f.Bandwidth)
}

// SetFaults changes what happens to packets from one address to another, from now on; those under way keep their fate. Where the address of
// a Link changes (Rebind), its packets take other directions.
func (n *Network) SetFaults(from, to netip.AddrPort, f Faults) {
	d := n.direction(from, to)
	d.own = true
	d.setFaults(f.withDefaults())
}

// SetAllFaults changes what happens to the packets of all directions for which SetFaults was not called.
func (n *Network) SetAllFaults(f Faults) {
	n.faults = f.withDefaults()
	for _, d := range n.directions {
		if !d.own {
			d.setFaults(n.faults)
		}
	}
}

// SetIngress puts a bottleneck before an address, which the packets of all directions into it share, as they share the last port of a switch.
// They reach it when their Delay is over.
func (n *Network) SetIngress(to netip.AddrPort, b Bandwidth) {
	n.node(to).ingress.set(b.withDefaults())
}

// Partition cuts the way from one address to another, or mends it. While it is cut nothing is taken and nothing arrives. The way back
// is a partition of its own.
func (n *Network) Partition(from, to netip.AddrPort, on bool) {
	d := n.direction(from, to)
	if d.cut = on; on {
		d.broken++
	}
}

// Split cuts, or mends, all ways between the addresses of one side and those of the other, in both directions.
func (n *Network) Split(one, other []netip.AddrPort, on bool) {
	for _, a := range one {
		for _, b := range other {
			n.Partition(a, b, on)
			n.Partition(b, a, on)
		}
	}
}

// Rebind makes the Link that is open on one address appear on another, as a NAT does that forgot its mapping, or a container that moved:
// from now on its packets come from there, packets to the old address find nobody, and those under way to it too. The Link itself does not
// notice: its Addr, and the local address in the Paths that it resolves and receives from, stay. Rebind panics unless a Link is open on the old
// address and none on the new one, and when they are not both IPv4 or both IPv6.
func (n *Network) Rebind(from, to netip.AddrPort) {
	src, dst := n.node(from), n.node(to)
	switch {
	case src.link == nil:
		panic("sim: no Link is open on " + src.addr.String())
	case dst.link != nil:
		panic("sim: " + dst.addr.String() + " has a Link already")
	case src.addr.Addr().Is4() != dst.addr.Addr().Is4():
		panic("sim: " + src.addr.String() + " cannot move to " + dst.addr.String() + ", which is of the other IP version")
	}
	l := src.link
	src.link, dst.link, l.node = nil, l, dst
	clear(l.dirs)
	l.lastDir = nil
}

func (n *Network) node(a netip.AddrPort) *node {
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	nd := n.nodes[a]
	if nd == nil {
		if !a.IsValid() || a.Addr().IsUnspecified() || a.Port() == 0 {
			panic("sim: " + a.String() + " is not one host's address and port")
		}
		nd = &node{addr: a}
		n.nodes[a] = nd
	}
	return nd
}

func (n *Network) direction(from, to netip.AddrPort) *direction {
	src, dst := n.node(from), n.node(to)
	key := [2]netip.AddrPort{src.addr, dst.addr}
	d := n.directions[key]
	if d == nil {
		d = &direction{from: src, to: dst, back: pathOf(dst.addr, src.addr), overhead: overhead4}
		if dst.addr.Addr().Is6() {
			d.overhead = overhead6
		}
		d.setFaults(n.faults)
		n.directions[key] = d
	}
	return d
}

func pathOf(local, remote netip.AddrPort) transport.Path {
	return transport.Path{RemoteIP: remote.Addr().As16(), RemotePort: remote.Port(), LocalIP: local.Addr().As16(), LocalPort: local.Port()}
}
