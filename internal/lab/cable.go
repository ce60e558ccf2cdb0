package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Interface is the name of the cable's end in either namespace.
const Interface = "veth0"

// upTimeout bounds the wait for links and addresses. They take the kernel milliseconds; a second on a crowded machine.
const upTimeout = 30 * time.Second

const addrGenModeNone = 1 // IN6_ADDR_GEN_MODE_NONE, linux/if_link.h

// An end is one end of the cable while it is being built.
type end struct {
	*role
	ns     int
	handle *netlink.Handle
	events *nl.NetlinkSocket // of links and of IPv6 routes
	link   netlink.Link
}

// build makes the namespaces and what is in them. What it leaves behind after an error, the caller removes.
func build(c Config) (*Lab, error) {
	var ends [len(roles)]*end
	for i := range roles {
		if err := roles[i].create(c.Name); err != nil {
			return nil, err
		}
		e, err := roles[i].end(c.Name)
		if err != nil {
			return nil, err
		}
		defer e.close()
		ends[i] = e
	}
	if err := plug(c, ends[0], ends[1]); err != nil {
		return nil, fmt.Errorf("veth pair: %w", err)
	}
	for _, e := range ends {
		if err := e.up(); err != nil {
			return nil, fmt.Errorf("%s of %s: %w", Interface, e.namespace(c.Name), err)
		}
	}
	l := &Lab{name: c.Name}
	for _, e := range ends {
		if err := e.address(); err != nil {
			return nil, fmt.Errorf("%s of %s: %w", Interface, e.namespace(c.Name), err)
		}
		*e.of(l) = e.host(c.Name, e.link)
	}
	return l, nil
}

func (r *role) host(lab string, link netlink.Link) Host {
	return Host{
		Namespace: r.namespace(lab), Interface: Interface, Ifindex: link.Attrs().Index,
		IPv4: r.ipv4.Addr(), IPv6: r.ipv6.Addr(), MAC: link.Attrs().HardwareAddr,
	}
}

// end opens what is needed to work on the namespace.
func (r *role) end(lab string) (*end, error) {
	ns, err := r.open(lab)
	if err != nil {
		return nil, err
	}
	e := &end{role: r, ns: ns}
	err = inside(ns, func() (err error) {
		if e.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err == nil {
			e.events, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV6_ROUTE)
		}
		return err
	})
	if err != nil {
		e.close()
		return nil, fmt.Errorf("netlink: %w", err)
	}
	return e, nil
}

func (e *end) close() {
	if e.events != nil {
		e.events.Close()
	}
	if e.handle != nil {
		e.handle.Close()
	}
	unix.Close(e.ns)
}

// plug creates the pair where it belongs, so that no other namespace ever sees it. Both ends have the same number of queues: native XDP on
// veth needs at least as many receive queues as the peer has transmit queues (drivers/net/veth.c, veth_xdp_set).
func plug(c Config, a, b *end) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = Interface, c.MTU, a.mac[:]
	attrs.NumRxQueues, attrs.NumTxQueues = c.Queues, c.Queues
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerHardwareAddr, veth.PeerNamespace = Interface, b.mac[:], netlink.NsFd(b.ns)
	if err := a.handle.LinkAdd(veth); err != nil {
		return privileged(err)
	}
	for _, e := range []*end{a, b} {
		var err error
		if e.link, err = e.handle.LinkByName(Interface); err != nil {
			return err
		}
	}
	for _, e := range []*end{a, b} {
		// The link-local address is ours as well, or its duplicate detection would take a second.
		if err := e.handle.LinkSetIP6AddrGenMode(e.link, addrGenModeNone); err != nil {
			return fmt.Errorf("IPv6: %w", err)
		}
		if err := e.handle.LinkSetUp(e.link); err != nil {
			return err
		}
	}
	return nil
}

// up waits until the kernel has seen the carrier; before that it drops what is sent.
func (e *end) up() error {
	return e.await("operational state", func() (bool, error) {
		link, err := e.handle.LinkByIndex(e.link.Attrs().Index)
		return err == nil && link.Attrs().OperState == netlink.OperUp, err
	})
}

// await waits until ready, which is asked again whenever a link or an IPv6 route has changed.
func (e *end) await(what string, ready func() (bool, error)) error {
	for deadline := time.Now().Add(upTimeout); ; {
		if ok, err := ready(); ok || err != nil {
			return err
		}
		left := unix.NsecToTimeval(max(time.Until(deadline), time.Millisecond).Nanoseconds())
		if err := e.events.SetReceiveTimeout(&left); err != nil {
			return err
		}
		switch _, _, err := e.events.Receive(); {
		case errors.Is(err, unix.EAGAIN):
			return fmt.Errorf("%s: still not there after %v", what, upTimeout)
		case err != nil && !errors.Is(err, unix.ENOBUFS): // some events were lost: look again
			return err
		}
	}
}

// address adds the addresses, without duplicate address detection. The link-local one is needed for neighbour discovery that no packet
// has asked for (net/ipv6/ndisc.c, ndisc_send_ns). An IPv6 address receives only once a work queue of the kernel has made its local route
// (net/ipv6/addrconf.c, addrconf_dad_work).
func (e *end) address() error {
	for _, p := range []netip.Prefix{e.ipv4, e.local6, e.ipv6} {
		a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := e.handle.AddrAdd(e.link, a); err != nil {
			return fmt.Errorf("address %s: %w", p, err)
		}
	}
	for _, p := range []netip.Prefix{e.local6, e.ipv6} {
		if err := e.await("address "+p.String(), func() (bool, error) { return e.receives(p.Addr()) }); err != nil {
			return err
		}
	}
	return nil
}

func (e *end) receives(a netip.Addr) (bool, error) {
	routes, err := e.handle.RouteGetWithOptions(a.AsSlice(), &netlink.RouteGetOptions{OifIndex: e.link.Attrs().Index})
	if errors.Is(err, unix.ENETUNREACH) {
		return false, nil
	}
	return len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL, err
}
