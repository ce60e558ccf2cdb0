package xdp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/transport"
)

// holding is a UDP port that the steering program takes on the device. The program knows ports, not addresses. So that it takes nothing
// from others, kernel sockets of ours hold the port on every address on which it could: one socket on the unspecified address, or, where
// Ports listen on single addresses, one on each of the interface's addresses.
type holding struct {
	port    uint16
	sockets []*kernelSocket
	ports   map[netip.Addr]*port // the unspecified address stands for all
}

// boundAddr is an address that a Port listens on.
type boundAddr struct {
	ip   [16]byte
	port uint16
}

// isBound tells whether a Port listens there: ports that are not in the list are held on every address.
func isBound(list []boundAddr, ip *[16]byte, port uint16) bool {
	held := true
	for i := range list {
		if list[i].port == port {
			if list[i].ip == *ip {
				return true
			}
			held = false
		}
	}
	return held
}

// port is a transport.Port.
type port struct {
	dev    *device
	local  netip.AddrPort // what is held
	source netip.Addr     // of Dial: where packets leave from
	links  []transport.Link
	once   sync.Once
	err    error
}

var _ transport.Port = (*port)(nil)

// Links returns the device's Links.
func (p *port) Links() []transport.Link { return slices.Clone(p.links) }

// Local returns the address that is held, or that Dial's packets come from.
func (p *port) Local() netip.AddrPort {
	if p.source.IsValid() {
		return netip.AddrPortFrom(p.source, p.local.Port())
	}
	return p.local
}

// Close gives the address up.
func (p *port) Close() error {
	p.once.Do(func() { p.err = p.dev.drop(p) })
	return p.err
}

// hold makes a Port of an address of the device, on which the caller has a reference to every Link. ip is unspecified for all addresses;
// number 0 takes a free port; to is what Dial's packets go to.
func (d *device) hold(ifi iface, ip netip.Addr, number uint16, to *dialled) (*port, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, opened := d.held[number], []*kernelSocket(nil)
	switch {
	case h == nil:
		var err error
		if h, err = d.openSuitable(ifi, ip, number, to); err != nil {
			return nil, err
		}
		for _, s := range h.sockets {
			if err := d.ready.add(s); err != nil {
				return nil, errors.Join(fmt.Errorf("xdp: %w", err), h.close())
			}
		}
		if err := d.prog.AllowPort(h.port); err != nil { // last: the port is ours before its packets are
			return nil, errors.Join(fmt.Errorf("xdp: %w", err), h.close())
		}
		d.held[h.port], opened = h, h.sockets
		d.card.add(h.port)
	case !h.takes(ip):
		return nil, portTaken(ip, number, errors.New("this process listens there already"))
	}
	p := &port{dev: d, local: netip.AddrPortFrom(ip, h.port)}
	for _, l := range d.links {
		p.links = append(p.links, l)
	}
	if to != nil {
		p.source = to.source
		p.expect(to.remote)
	}
	h.ports[ip] = p
	d.publishNew(ip, h.port, opened)
	return p, nil
}

// takes tells whether a further Port may listen on ip.
func (h *holding) takes(ip netip.Addr) bool {
	if ip.IsUnspecified() || h.ports[ip] != nil {
		return false
	}
	for held := range h.ports {
		if held.IsUnspecified() {
			return false
		}
	}
	return slices.ContainsFunc(h.sockets, func(s *kernelSocket) bool { return s.ip == ip.As16() })
}

// openSuitable opens a holding of a port that will do, or, after some tries, of any that is free.
func (d *device) openSuitable(ifi iface, ip netip.Addr, number uint16, to *dialled) (h *holding, err error) {
	for range sourceTries {
		refused := h // held until there is another one, or the kernel would offer it again
		if h, err = openHolding(ifi, ip, number); refused != nil {
			err = errors.Join(err, refused.close())
		}
		if err != nil || to == nil || d.suits(h.port, to) {
			break
		}
	}
	return h, err
}

// openHolding binds the kernel's sockets.
func openHolding(ifi iface, ip netip.Addr, number uint16) (_ *holding, err error) {
	h := &holding{ports: map[netip.Addr]*port{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	s, err := openKernelSocket(ip, ifi.scope(ip), number)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, portTaken(ip, number, err)
	}
	if err != nil {
		return nil, fmt.Errorf("xdp: the kernel socket of %v: %w", netip.AddrPortFrom(ip, number), err)
	}
	h.port, h.sockets = s.port, []*kernelSocket{s}
	if ip.IsUnspecified() {
		return h, nil
	}
	for _, other := range ifi.addrs {
		if other.ip == ip {
			continue
		}
		s, err := openKernelSocket(other.ip, uint32(other.ifindex), h.port)
		switch {
		case errors.Is(err, unix.EADDRNOTAVAIL): // on its way in or out: nobody can hold a port there
			continue
		case errors.Is(err, unix.EADDRINUSE):
			return nil, portTaken(other.ip, h.port, fmt.Errorf("packets to it would be taken as well, because ports are steered for all "+
				"addresses of %s: %w", ifi.name, err))
		case err != nil:
			return nil, fmt.Errorf("xdp: the kernel socket of %v: %w", netip.AddrPortFrom(other.ip, h.port), err)
		}
		h.sockets = append(h.sockets, s)
	}
	return h, nil
}

func portTaken(ip netip.Addr, number uint16, why error) error {
	return fmt.Errorf("xdp: UDP %v: %w; see 'ss -ulpn sport = %d', or choose another port: %w", netip.AddrPortFrom(ip, number), ErrPortTaken, number, why)
}

// drop ends a Port: the steering first, then the sockets that hold the port, so that no packet of somebody else is taken.
func (d *device) drop(p *port) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.held[p.local.Port()]
	if h == nil || h.ports[p.local.Addr()] != p {
		return nil // the Links went first, and took it with them
	}
	delete(h.ports, p.local.Addr())
	if len(h.ports) > 0 {
		d.publishGone(p.local.Addr(), h.port, nil)
		return nil
	}
	err := errors.Join(d.card.remove(h.port), d.prog.DenyPort(h.port))
	delete(d.held, h.port)
	d.publishGone(p.local.Addr(), h.port, h.sockets)
	return errors.Join(err, h.close())
}

func (h *holding) close() error {
	var errs []error
	for _, s := range h.sockets {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// publish shows the Links which sockets and addresses are held, and ends the Wait that does not know of them. Lists are not changed but
// replaced, for Links read them meanwhile; each change is made to the last, because a process may hold thousands of ports.
func (d *device) publish(sockets []*kernelSocket, bound []boundAddr) {
	d.sockets.Store(&sockets)
	if len(bound) == 0 {
		d.bound.Store(nil)
	} else {
		d.bound.Store(&bound)
	}
	if len(d.links) > 0 {
		d.links[0].Wake()
	}
}

// published are the lists as they are, to be changed.
func (d *device) published() (sockets []*kernelSocket, bound []boundAddr) {
	if b := d.bound.Load(); b != nil {
		bound = slices.Clone(*b)
	}
	return slices.Clone(*d.sockets.Load()), bound
}

// publishNew adds a Port at ip, and sockets if it is the first of its number.
func (d *device) publishNew(ip netip.Addr, number uint16, opened []*kernelSocket) {
	sockets, bound := d.published()
	if !ip.IsUnspecified() {
		bound = append(bound, boundAddr{ip.As16(), number})
	}
	d.publish(append(sockets, opened...), bound)
}

// publishGone takes a Port at ip out, and sockets if it was the last of its number.
func (d *device) publishGone(ip netip.Addr, number uint16, closing []*kernelSocket) {
	sockets, bound := d.published()
	bound = slices.DeleteFunc(bound, func(b boundAddr) bool { return b == boundAddr{ip.As16(), number} })
	d.publish(slices.DeleteFunc(sockets, func(s *kernelSocket) bool { return slices.Contains(closing, s) }), bound)
}

// socketOf finds the kernel's socket that a packet from a local address goes through.
func (d *device) socketOf(port uint16, ip *[16]byte) *kernelSocket {
	for _, s := range *d.sockets.Load() {
		if s.port == port && (s.ip == *ip || s.all) {
			return s
		}
	}
	return nil
}
