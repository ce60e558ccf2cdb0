package netpath

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What Lookup finds to be wrong; its errors wrap one of these and say more.
var (
	ErrNoRoute     = errors.New("no route to host")
	ErrNoNeighbour = errors.New("no answer from neighbour")
	ErrNoAddress   = errors.New("not an address of this host")
	ErrNotUnicast  = errors.New("not a unicast address")
	ErrNotEthernet = errors.New("neither an Ethernet interface nor an 802.1Q VLAN over one")
)

// A Route says how packets reach a destination: the interface, the addresses of both ends of the first hop, and its limits.
type Route struct {
	Ifindex      int        // egress interface
	IfName       string     //
	LowerIfindex int        // the interface that XDP attaches to: below Ifindex when that is a VLAN, else Ifindex itself
	LowerName    string     //
	VLAN         uint16     // VLAN ID to put into the frame; 0: none
	Src          netip.Addr // source address, the one asked for or the kernel's choice
	NextHop      netip.Addr // gateway, or the destination itself on a connected network; without zone
	MTU          int        // bytes from the IP header on
	SrcMAC       [6]byte
	DstMAC       [6]byte
	Local        bool // the destination is this host: only Ifindex, IfName, Src and MTU are set besides
}

// Lookup finds the route to dst, from src when that is valid, and resolves the next hop's MAC. It blocks while the kernel resolves (ARP or
// neighbour discovery, which give up after some three seconds), until ctx ends at the latest. An invalid src leaves the choice to the
// kernel. A link-local dst carries a zone: the interface's name or index.
//
// A neighbour's entry that is stale is taken as it is, as the kernel does, which is asked to confirm it: look again when a peer has gone
// silent, and Watch tells what becomes of it. To resolve without CAP_NET_ADMIN, the next hop is sent an empty datagram.
func (t *Tables) Lookup(ctx context.Context, dst, src netip.Addr) (Route, error) {
	if err := t.enter(); err != nil {
		return Route{}, err
	}
	defer t.lookups.Done()
	r, err := t.route(dst, src)
	if err == nil && !r.Local {
		r.DstMAC, err = t.resolve(ctx, &r)
	}
	if err != nil {
		return Route{}, fmt.Errorf("netpath: %s: %w", dst, err)
	}
	return r, nil
}

// route is Lookup without the neighbour.
func (t *Tables) route(dst, src netip.Addr) (Route, error) {
	zone := dst.Zone()
	dst, src = dst.WithZone("").Unmap(), src.WithZone("").Unmap()
	if err := t.checkAddresses(dst, src); err != nil {
		return Route{}, err
	}
	opts := &netlink.RouteGetOptions{SrcAddr: src.AsSlice()}
	switch {
	case zone != "":
		link, err := t.linkByZone(zone)
		if err != nil {
			return Route{}, err
		}
		opts.OifIndex = link.Attrs().Index
	case dst.Is6() && dst.IsLinkLocalUnicast():
		return Route{}, fmt.Errorf("%w: a link-local address needs its interface, as in %s%%eth0", ErrNoRoute, dst)
	}
	found, err := t.handle.RouteGetWithOptions(dst.AsSlice(), opts)
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), // none, or an unreachable route
		errors.Is(err, unix.EACCES), errors.Is(err, unix.EINVAL): // a prohibit route, a blackhole
		return Route{}, fmt.Errorf("%w (%w); see 'ip route get %s'", ErrNoRoute, err, dst)
	case err != nil:
		return Route{}, fmt.Errorf("look the route up: %w", err)
	case len(found) == 0:
		return Route{}, fmt.Errorf("%w; see 'ip route get %s'", ErrNoRoute, dst)
	}
	return t.describe(&found[0], dst, src)
}

// describe fills a Route from the kernel's answer.
func (t *Tables) describe(k *netlink.Route, dst, src netip.Addr) (Route, error) {
	switch k.Type {
	case unix.RTN_UNICAST, unix.RTN_LOCAL:
	case unix.RTN_BROADCAST, unix.RTN_MULTICAST, unix.RTN_ANYCAST:
		return Route{}, ErrNotUnicast
	default:
		return Route{}, fmt.Errorf("%w: its route refuses packets; see 'ip route get %s'", ErrNoRoute, dst)
	}
	link, err := t.handle.LinkByIndex(k.LinkIndex)
	if err != nil {
		return Route{}, fmt.Errorf("egress interface %d: %w", k.LinkIndex, err)
	}
	a := link.Attrs()
	r := Route{Ifindex: a.Index, IfName: a.Name, Src: src, NextHop: dst, MTU: a.MTU, Local: k.Type == unix.RTN_LOCAL}
	if from, ok := netip.AddrFromSlice(k.Src); ok && !src.IsValid() {
		r.Src = from.Unmap()
	}
	if k.MTU > 0 {
		r.MTU = min(r.MTU, k.MTU) // of the route, or learnt from ICMP
	}
	if r.Local {
		r.NextHop = netip.Addr{}
		return r, nil
	}
	gateway, ok := netip.AddrFromSlice(k.Gw)
	if via, isVia := k.Via.(*netlink.Via); isVia { // a gateway of the other family (RFC 5549)
		gateway, ok = netip.AddrFromSlice(via.Addr)
	}
	if ok {
		r.NextHop = gateway.Unmap()
	}
	return r, t.describeLink(&r, link)
}

// describeLink fills in what the egress interface gives: MAC, VLAN and the interface below.
func (t *Tables) describeLink(r *Route, link netlink.Link) error {
	lower := link
	if vlan, ok := link.(*netlink.Vlan); ok && vlan.VlanProtocol == netlink.VLAN_PROTOCOL_8021Q {
		if vlan.NetNsID >= 0 {
			return fmt.Errorf("%s: its lower interface is in another network namespace: %w", r.IfName, ErrNotEthernet)
		}
		var err error
		if lower, err = t.handle.LinkByIndex(vlan.ParentIndex); err != nil {
			return fmt.Errorf("interface below %s: %w", r.IfName, err)
		}
		r.VLAN = uint16(vlan.VlanId)
	}
	_, stacked := lower.(*netlink.Vlan)
	mac := link.Attrs().HardwareAddr
	if stacked || lower.Attrs().EncapType != "ether" || len(mac) != len(r.SrcMAC) {
		return fmt.Errorf("%s: %w", r.IfName, ErrNotEthernet)
	}
	r.LowerIfindex, r.LowerName, r.SrcMAC = lower.Attrs().Index, lower.Attrs().Name, [6]byte(mac)
	return nil
}

func (t *Tables) checkAddresses(dst, src netip.Addr) error {
	broadcast := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	if !dst.IsValid() || dst.IsUnspecified() || dst.IsMulticast() || dst == broadcast {
		return ErrNotUnicast
	}
	if !src.IsValid() {
		return nil
	}
	if src.Is4() != dst.Is4() {
		return fmt.Errorf("from %s: %w of the same IP version", src, ErrNoAddress)
	}
	addrs, err := t.handle.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if a.IP.Equal(net.IP(src.AsSlice())) {
			return nil
		}
	}
	return fmt.Errorf("from %s: %w", src, ErrNoAddress)
}

func (t *Tables) linkByZone(zone string) (netlink.Link, error) {
	link, err := t.handle.LinkByName(zone)
	var index int
	if n, scanErr := fmt.Sscanf(zone, "%d", &index); err != nil && n == 1 && scanErr == nil {
		link, err = t.handle.LinkByIndex(index)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: no interface %q", ErrNoRoute, zone)
	}
	return link, nil
}
