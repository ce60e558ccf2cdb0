package netpath

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// nudValid are the states in which an entry's MAC may be used (include/net/neighbour.h, NUD_VALID).
const nudValid = unix.NUD_PERMANENT | unix.NUD_NOARP | unix.NUD_REACHABLE | unix.NUD_PROBE | unix.NUD_STALE | unix.NUD_DELAY

// resolve finds the MAC of r's next hop. The table is the truth and is read anew whenever an event says that it has changed; so an event
// that is late or lost does no harm.
func (t *Tables) resolve(ctx context.Context, r *Route) ([6]byte, error) {
	changed := make(chan struct{}, 1)
	watcher, err := t.Watch(func(c Change) {
		if c.Kind == Overrun || c.Kind == LinkRemoved || c.IP == r.NextHop {
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}, r.Ifindex)
	if err != nil {
		return [6]byte{}, err
	}
	defer watcher.Close()
	for asked := false; ; {
		mac, state, err := t.neighbour(r)
		if err != nil {
			return mac, err
		}
		switch {
		case state&nudValid != 0:
			if state == unix.NUD_STALE {
				_ = t.ask(r) // to confirm it; the MAC serves meanwhile, also when we may not ask
			}
			return mac, nil
		case state == unix.NUD_FAILED && asked:
			return mac, noAnswer(r)
		case state != unix.NUD_INCOMPLETE: // no entry, or one that failed some time ago
			if err := t.ask(r); err != nil {
				return mac, fmt.Errorf("resolve neighbour %s on %s: %w", r.NextHop, r.IfName, err)
			}
		}
		asked = true // or another did
		select {
		case <-changed:
		case <-t.closed:
			return mac, ErrClosed
		case <-ctx.Done():
			return mac, fmt.Errorf("%w: %w", noAnswer(r), ctx.Err())
		}
	}
}

func noAnswer(r *Route) error {
	protocol := "neighbour discovery"
	if r.NextHop.Is4() {
		protocol = "ARP"
	}
	return fmt.Errorf("%w %s on %s (%s)", ErrNoNeighbour, r.NextHop, r.IfName, protocol)
}

// neighbour reads the entry of r's next hop; its state is NUD_NONE when there is none.
func (t *Tables) neighbour(r *Route) (mac [6]byte, state int, err error) {
	entries, err := t.handle.NeighList(r.Ifindex, family(r.NextHop))
	if err != nil {
		return mac, 0, fmt.Errorf("read neighbours of %s: %w", r.IfName, err)
	}
	for _, e := range entries {
		if ip, ok := netip.AddrFromSlice(e.IP); !ok || ip.Unmap() != r.NextHop {
			continue
		}
		if e.State&nudValid == 0 {
			return mac, e.State, nil
		}
		if len(e.HardwareAddr) != len(mac) {
			return mac, 0, fmt.Errorf("neighbour %s on %s has no MAC address: %w", r.NextHop, r.IfName, ErrNotEthernet)
		}
		return [6]byte(e.HardwareAddr), e.State, nil
	}
	return mac, unix.NUD_NONE, nil
}

// ask makes the kernel resolve, or confirm, r's next hop: as if a packet had been sent to it (net/core/neighbour.c, neigh_add with NTF_USE),
// or, without CAP_NET_ADMIN, by sending one.
func (t *Tables) ask(r *Route) error {
	err := t.handle.NeighSet(&netlink.Neigh{
		LinkIndex: r.Ifindex, Family: family(r.NextHop), IP: r.NextHop.AsSlice(), State: unix.NUD_NONE, Flags: unix.NTF_USE,
	})
	if errors.Is(err, unix.EPERM) {
		return t.knock(r)
	}
	return err
}

// knock sends r's next hop an empty datagram for the discard port (RFC 863).
func (t *Tables) knock(r *Route) error {
	if r.NextHop.Is4() {
		to := &unix.SockaddrInet4{Port: 9, Addr: r.NextHop.As4()}
		return unix.Sendmsg(t.udp4, nil, unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(r.Ifindex)}), to, unix.MSG_DONTROUTE|unix.MSG_DONTWAIT)
	}
	to := &unix.SockaddrInet6{Port: 9, Addr: r.NextHop.As16(), ZoneId: uint32(r.Ifindex)}
	return unix.Sendmsg(t.udp6, nil, unix.PktInfo6(&unix.Inet6Pktinfo{Ifindex: uint32(r.Ifindex)}), to, unix.MSG_DONTWAIT)
}

func family(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
