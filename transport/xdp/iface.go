package xdp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/fastrpc/fastrpc/internal/nic"
)

// iface is what set-up must know of an interface that XDP can attach to.
type iface struct {
	name     string
	index    int
	mtu      int
	mac      [6]byte
	rxQueues int // that the kernel has memory for; the driver may use fewer
	addrs    []ifaceAddr
}

// ifaceAddr is one of the addresses that packets from the interface may be for: its own, and those of the VLANs on it.
type ifaceAddr struct {
	ip      netip.Addr
	ifindex int
}

// interfaceNamed finds an interface, or the one below a VLAN's, in the calling thread's namespace.
func interfaceNamed(name string) (iface, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return iface{}, noInterface(fmt.Sprintf("interface %q", name), err)
	}
	return toIface(l)
}

func interfaceNumbered(index int) (iface, error) {
	l, err := netlink.LinkByIndex(index)
	if err != nil {
		return iface{}, noInterface(fmt.Sprintf("interface %d", index), err)
	}
	return toIface(l)
}

func noInterface(what string, err error) error {
	return fmt.Errorf("xdp: %s: %w in this network namespace; see 'ip -brief link': %w", what, ErrNoInterface, err)
}

// interfaceOf finds the interface that has an address of this host. A link-local address needs a zone.
func interfaceOf(ip netip.Addr, zone string) (iface, error) {
	if ip.IsLoopback() {
		return iface{}, localAddress(ip)
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return iface{}, fmt.Errorf("xdp: listing addresses: %w", err)
	}
	for _, a := range addrs {
		if have, ok := netip.AddrFromSlice(a.IP); !ok || have.Unmap() != ip {
			continue
		}
		l, err := netlink.LinkByIndex(a.LinkIndex)
		if err != nil {
			return iface{}, noInterface("the interface of "+ip.String(), err)
		}
		if zone == "" || zone == l.Attrs().Name {
			return toIface(l)
		}
	}
	return iface{}, fmt.Errorf("xdp: %v is no address of this host: %w; see 'ip -brief address'", ip, ErrNoInterface)
}

func toIface(l netlink.Link) (iface, error) {
	if vlan, ok := l.(*netlink.Vlan); ok {
		lower, err := netlink.LinkByIndex(vlan.ParentIndex)
		if err != nil {
			return iface{}, noInterface("the interface below "+vlan.Name, err)
		}
		l = lower
	}
	a := l.Attrs()
	_, bond := l.(*netlink.Bond)
	switch {
	case bond: // an AF_XDP socket takes the packets of its own device only (net/xdp/xsk.c, xsk_rcv_check), and the ports receive
		return iface{}, fmt.Errorf("xdp: %s is a bond, whose packets come in on its ports and never on AF_XDP sockets of its own: %w; use udp:// "+
			"or auto://", a.Name, ErrNoInterface)
	case a.Flags&net.FlagLoopback != 0:
		return iface{}, fmt.Errorf("xdp: %s carries packets to an %w only and has no native XDP; use udp:// or auto://", a.Name, ErrLocalAddress)
	case a.EncapType != "ether" || len(a.HardwareAddr) != 6:
		return iface{}, fmt.Errorf("xdp: %s is not an Ethernet interface (%s): %w; use udp:// or auto://", a.Name, a.EncapType, ErrNoInterface)
	}
	i := iface{name: a.Name, index: a.Index, mtu: a.MTU, mac: [6]byte(a.HardwareAddr), rxQueues: max(a.NumRxQueues, 1)}
	var err error
	i.addrs, err = addressesOf(a.Index)
	return i, err
}

// addressesOf lists the addresses of an interface and of the VLANs on it.
func addressesOf(index int) ([]ifaceAddr, error) {
	on := map[int]bool{index: true}
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("xdp: listing interfaces: %w", err)
	}
	for _, l := range links {
		if vlan, ok := l.(*netlink.Vlan); ok && vlan.ParentIndex == index {
			on[vlan.Index] = true
		}
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("xdp: listing addresses: %w", err)
	}
	var list []ifaceAddr
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && on[a.LinkIndex] {
			list = append(list, ifaceAddr{ip.Unmap(), a.LinkIndex})
		}
	}
	return list, nil
}

// scope is the index of the interface that has an address of i: i itself, or a VLAN on it.
func (i *iface) scope(ip netip.Addr) uint32 {
	for _, a := range i.addrs {
		if a.ip == ip {
			return uint32(a.ifindex)
		}
	}
	return uint32(i.index)
}

// queues is the number of receive queues in use. Drivers without ethtool's channels use all that they have.
func (i *iface) queues() int {
	d, err := nic.Open(i.index)
	if err != nil {
		return i.rxQueues
	}
	defer d.Close()
	now, _, err := d.Channels()
	if err != nil || now.ReceiveQueues() == 0 {
		return i.rxQueues
	}
	return min(now.ReceiveQueues(), i.rxQueues)
}
