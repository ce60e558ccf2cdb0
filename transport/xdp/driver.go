package xdp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"

	"github.com/fastrpc/fastrpc/internal/netpath"
	"github.com/fastrpc/fastrpc/transport"
)

const scheme = "xdp"

func init() { transport.Register(scheme, driver{}) }

// driver is the transport.Driver. Its methods open sockets in the network namespace of the calling thread; what they return may be used
// from any.
type driver struct{}

// Listen holds a UDP port of an interface, which t.Host names, or of one address of this host. A VLAN's interface stands for the one below.
func (driver) Listen(ctx context.Context, t transport.Target) (transport.Port, error) {
	runtime.LockOSThread() // all that follows concerns one namespace
	defer runtime.UnlockOSThread()

	s, err := parseSettings(t.Query)
	if err != nil {
		return nil, fmt.Errorf("xdp: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("xdp: %w", err)
	}
	ip := netip.IPv6Unspecified()
	var ifi iface
	if addr, addrErr := netip.ParseAddr(t.Host); addrErr == nil && !addr.IsUnspecified() {
		ip = addr.Unmap().WithZone("")
		ifi, err = interfaceOf(ip, addr.Zone())
	} else if t.Host == "" || addrErr == nil {
		return nil, transport.Mark(transport.ErrInvalid, fmt.Errorf("xdp: %w: AF_XDP listens on one interface; name it or one of its addresses, "+
			"as in xdp://eth0:%d", ErrNoInterface, t.Port))
	} else {
		ifi, err = interfaceNamed(t.Host)
	}
	if err != nil {
		return nil, err
	}
	p, err := openPort(ifi, s, ip, t.Port, nil)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Dial holds a free UDP port of the interface that the route to remote leaves by.
func (driver) Dial(ctx context.Context, t transport.Target, remote netip.AddrPort) (transport.Port, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	s, err := parseSettings(t.Query)
	if err != nil {
		return nil, fmt.Errorf("xdp: %w", err)
	}
	tables, err := netpath.Open()
	if err != nil {
		return nil, fmt.Errorf("xdp: %w", err)
	}
	route, err := tables.Lookup(ctx, remote.Addr().Unmap(), netip.Addr{})
	if err = errors.Join(err, tables.Close()); err != nil {
		return nil, setupError(fmt.Errorf("xdp: path to %v: %w", remote.Addr(), err))
	}
	if route.Local {
		return nil, localAddress(remote.Addr())
	}
	ifi, err := interfaceNumbered(route.LowerIfindex)
	if err != nil {
		return nil, err
	}
	// It is held on every address, so that no other process has it on one of them; route.Src is the one that packets to remote leave from.
	p, err := openPort(ifi, s, netip.IPv6Unspecified(), 0, &dialled{route.Src, remote})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func openPort(ifi iface, s settings, ip netip.Addr, number uint16, to *dialled) (*port, error) {
	d, err := acquireDevice(ifi, s)
	if err != nil {
		return nil, err
	}
	p, err := d.hold(ifi, ip, number, to)
	if err != nil {
		errs := []error{err}
		for _, l := range d.links {
			errs = append(errs, l.Close())
		}
		return nil, errors.Join(errs...)
	}
	return p, nil
}
