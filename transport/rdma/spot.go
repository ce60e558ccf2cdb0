//go:build rdma

package rdma

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/sock"
	verbs "github.com/fastrpc/fastrpc/rdma"
)

// bound is an end that rdma_cm has bound to an address of this machine's. It knows the device, the port and the GID on every fabric; GIDs are
// IP addresses with RoCE alone.
type bound interface {
	Device() (name string, port int)
	GID() verbs.GID
}

// spotTo is the spot from which a remote address is reached.
func spotTo(ctx context.Context, cm *verbs.CM, kind verbs.QPType, remote netip.AddrPort, gid int) (spot, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	r, err := cm.Resolve(ctx, kind, netip.AddrPort{}, remote)
	if err != nil {
		return spot{}, err
	}
	defer r.Close()
	p, err := portOf(r)
	if err != nil {
		return spot{}, err
	}
	var row verbs.GIDEntry
	if gid < 0 {
		row, err = p.Row(r.GID())
	} else {
		row, err = p.GID(gid, netip.Addr{})
	}
	if err != nil {
		return spot{}, err
	}
	local, _ := r.Addrs()
	number := uint16(firstEphemeral + rand.IntN(1<<16-firstEphemeral))
	return spot{device: p.Device, port: p.Number, from: row, local: netip.AddrPortFrom(local.Addr().WithZone(""), number)}, nil
}

// A port number of a client's is only a name: its queue pair is what is its own.
const firstEphemeral = 49152

const dialLimit = 5 * time.Second

// portOf queries the port that an end is bound to.
func portOf(b bound) (verbs.Port, error) {
	device, number := b.Device()
	if device == "" {
		return verbs.Port{}, fmt.Errorf("not an address of one device: %w", verbs.ErrNoGID)
	}
	c, err := verbs.Open(device)
	if err != nil {
		return verbs.Port{}, err
	}
	defer c.Close()
	return c.Port(number)
}

// rowOf is the row of a port's table with an end's GID or, unless index is negative, with that index: of RoCE it must be the end's, too, but a port of
// InfiniBand has the same GID for all its addresses, and others beside.
func rowOf(p *verbs.Port, own verbs.GID, index int) (verbs.GIDEntry, error) {
	if index < 0 {
		return p.Row(own)
	}
	e, err := p.GID(index, netip.Addr{})
	if err == nil && p.Ethernet && e.GID != own {
		err = fmt.Errorf("index %d is %v and not %v: %w", index, e, own, verbs.ErrNoGID)
	}
	return e, err
}

// devices are the names of the devices, of which there is one at least.
func devices() ([]string, error) {
	names, err := verbs.Devices()
	if err == nil && len(names) == 0 {
		_, err = verbs.Open("") // which explains it
	}
	return names, err
}

// findSpot finds what the host of an address means: the best of the addresses of this machine's that it names.
func findSpot(cm *verbs.CM, kind verbs.QPType, names []string, host string, gid int) (best spot, err error) {
	active := false // whether the port of the best is
	var unfit error // an address that was meant has no GID that will do
	try := func(ip netip.Addr, named bool) error {
		r, err := cm.Reserve(kind, ip)
		if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EADDRNOTAVAIL) {
			return nil // of no RDMA device
		}
		if err != nil {
			return err
		}
		defer r.Close()
		p, err := portOf(r)
		var row verbs.GIDEntry
		if err == nil && (named || p.Device == host) {
			row, err = rowOf(&p, r.GID(), gid)
		}
		switch {
		case errors.Is(err, verbs.ErrNoGID):
			unfit = fmt.Errorf("%v: %w", ip, err)
			return nil
		case err == nil && row.GID == verbs.GID{}:
			return nil // of another device
		case err != nil:
			return err
		case best.device != "" && best.device != p.Device:
			return sock.Invalid("%q means several devices, %s and %s: give an IP address: %w", host, best.device, p.Device, unix.EINVAL)
		case best.device != "" && !better(row, p.Active, best.from, active):
			return nil
		}
		best, active = spot{device: p.Device, port: p.Number, from: row, local: netip.AddrPortFrom(ip, 0)}, p.Active
		return nil
	}
	ip, notIP := netip.ParseAddr(host)
	switch {
	case notIP == nil && ip.Is6() && ip.IsLinkLocalUnicast() && ip.Zone() == "":
		err = sock.Invalid("link-local address %v: say of which interface, as in %v%%eth0: %w", ip, ip, unix.EINVAL)
	case notIP == nil:
		err = try(ip.Unmap(), true)
	default:
		err = eachAddress(func(iface string, ip netip.Addr) error {
			if host == "" || iface == host || slices.Contains(names, host) {
				return try(ip, host == "" || iface == host)
			}
			return nil
		})
	}
	if err == nil && best.device == "" {
		if unfit != nil {
			return best, unfit
		}
		err = fmt.Errorf("%q is neither the address of an RDMA device (of %v), nor its name or its network interface's; "+
			"see 'rdma link' and 'fastrpc doctor --rdma': %w", host, names, verbs.ErrNoGID)
	}
	return best, err
}

// better tells whether a row is to be preferred to another one: that of an active port, else as ChooseGID does.
func better(row verbs.GIDEntry, active bool, than verbs.GIDEntry, thanActive bool) bool {
	if active != thanActive {
		return active
	}
	e, _ := verbs.ChooseGID([]verbs.GIDEntry{than, row}, netip.Addr{})
	return e != than
}

// eachAddress calls f with the addresses of this machine's interfaces, without those that mean something on one link alone.
func eachAddress(f func(iface string, ip netip.Addr) error) error {
	ifis, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, ifi := range ifis {
		addrs, err := ifi.Addrs()
		if err != nil {
			return err
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if ip := p.Addr().Unmap(); err == nil && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
				if err := f(ifi.Name, ip); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
