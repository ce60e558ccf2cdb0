//go:build rdma

package rdma

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/sock"
	verbs "github.com/fastrpc/fastrpc/rdma"
)

// spotTo is the spot from which a remote address is reached.
func spotTo(ctx context.Context, cm *verbs.CM, kind verbs.QPType, remote netip.AddrPort, gid int) (spot, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	r, err := cm.Resolve(ctx, kind, netip.AddrPort{}, remote)
	if err != nil {
		return spot{}, err
	}
	defer r.Close()
	device, _ := r.Device()
	local, _ := r.Addrs()
	at, err := findOn(device, func(e verbs.GIDEntry) bool {
		return gid < 0 && e.GID.IP() == local.Addr().WithZone("") || e.Index == gid
	})
	if err != nil {
		return spot{}, err
	}
	at.local = netip.AddrPortFrom(local.Addr().WithZone(""), uint16(firstEphemeral+rand.IntN(1<<16-firstEphemeral)))
	return at, nil
}

// A port number of a client's is only a name: its queue pair is what is its own.
const firstEphemeral = 49152

const dialLimit = 5 * time.Second

// findSpot finds what the host of an address means.
func findSpot(host string, gid int) (spot, error) {
	names, err := verbs.Devices()
	if err != nil {
		return spot{}, err
	}
	ip, notIP := netip.ParseAddr(host)
	ifi, _ := net.InterfaceByName(host)
	var found []spot
	for _, name := range names {
		at, err := findOn(name, func(e verbs.GIDEntry) bool {
			named := host == "" || host == name || ifi != nil && e.Iface == ifi.Index || notIP == nil && e.GID.IP() == ip.Unmap().WithZone("")
			return named && (gid < 0 || e.Index == gid)
		})
		if err == nil {
			found = append(found, at)
		} else if !errors.Is(err, verbs.ErrNoGID) {
			return spot{}, err
		}
	}
	switch {
	case len(names) == 0:
		_, err := verbs.Open("") // which explains it
		return spot{}, err
	case len(found) == 0:
		return spot{}, fmt.Errorf("%q is neither the address of an RDMA device (of %v), nor its name or its network interface's; "+
			"see 'rdma link' and 'fastrpc doctor --rdma': %w", host, names, verbs.ErrNoGID)
	case len(found) > 1:
		return spot{}, sock.Invalid("%q means several devices, %s and %s: give an IP address: %w", host, found[0].device, found[1].device, unix.EINVAL)
	}
	return found[0], nil
}

// findOn finds the best address that a device has among those wanted, on a port that is active if one is.
func findOn(device string, want func(verbs.GIDEntry) bool) (at spot, err error) {
	c, err := verbs.Open(device)
	if err != nil {
		return at, err
	}
	defer c.Close()
	found := false
	for number := 1; number <= c.Limits().Ports; number++ {
		p, err := c.Port(number)
		if err != nil {
			return at, err
		}
		var table []verbs.GIDEntry
		for _, e := range p.GIDs {
			if want(e) {
				table = append(table, e)
			}
		}
		if e, ok := verbs.ChooseGID(table, netip.Addr{}); ok && (!found || p.Active) {
			at, found = spot{device: device, port: number, from: e, local: netip.AddrPortFrom(e.GID.IP(), 0)}, true
		}
	}
	if !found {
		return at, fmt.Errorf("%s: %w", device, verbs.ErrNoGID)
	}
	return at, nil
}
