package bench

import (
	"fmt"
	"net"
	"net/netip"
)

// endpointTo is where this machine stands for packets to another one: at the interface of that name, or at the one that routes lead through.
func endpointTo(remote netip.Addr, name string) (Endpoint, error) {
	remote = remote.Unmap()
	if name != "" {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			return Endpoint{}, fmt.Errorf("interface %s: %w", name, err)
		}
		return endpointAt(ifi, func(a netip.Addr) bool { return a.Is4() == remote.Is4() && !a.IsLinkLocalUnicast() })
	}
	conn, err := net.Dial("udp", netip.AddrPortFrom(remote, 9).String()) // sends nothing: the kernel looks the route up
	if err != nil {
		return Endpoint{}, fmt.Errorf("no route to %v: %w", remote, err)
	}
	defer conn.Close()
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	all, err := net.Interfaces()
	if err != nil {
		return Endpoint{}, err
	}
	for i := range all {
		if e, err := endpointAt(&all[i], func(a netip.Addr) bool { return a == local.WithZone("") }); err == nil {
			return e, nil
		}
	}
	return Endpoint{}, fmt.Errorf("no interface has the address %v, which packets to %v come from; name one with --interface", local, remote)
}

// endpointAt takes the interface's first address that fits.
func endpointAt(ifi *net.Interface, fits func(netip.Addr) bool) (Endpoint, error) {
	addrs, err := ifi.Addrs()
	if err != nil {
		return Endpoint{}, fmt.Errorf("interface %s: %w", ifi.Name, err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && fits(p.Addr()) {
			return Endpoint{Interface: ifi.Name, Local: netip.AddrPortFrom(p.Addr(), 0)}, nil
		}
	}
	return Endpoint{}, fmt.Errorf("interface %s has no address that fits", ifi.Name)
}
