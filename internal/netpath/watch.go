package netpath

import (
	"encoding/binary"
	"io"
	"net/netip"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ChangeKind tells Changes apart.
type ChangeKind uint8

// The kinds of Change.
const (
	LinkChanged      ChangeKind = iota + 1 // Ifindex, Up, MTU and MAC hold the interface's state, which may be the same as before
	LinkRemoved                            // Ifindex
	NeighbourChanged                       // Ifindex, IP and MAC: this neighbour's address is known, perhaps a new one
	NeighbourLost                          // Ifindex and IP: the neighbour does not answer, or its entry was removed
	RoutesChanged                          // of any interface: look the routes up again
	AddressesChanged                       // Ifindex: an address was added or removed
	Overrun                                // changes were lost: look everything up again
)

// A Change of the tables. Which fields are set stands at its kind.
type Change struct {
	Kind    ChangeKind
	Ifindex int
	Up      bool // administratively up, with carrier
	MTU     int
	IP      netip.Addr // without zone
	MAC     [6]byte
}

// Watch calls f with each Change that concerns one of the interfaces (all, when none is given) until it is closed; RoutesChanged and Overrun
// always do. Watch both Ifindex and LowerIfindex of a Route. Calls come one after another from one goroutine; f must not block for long, or
// changes are lost (Overrun). Close waits until f has returned; neither it nor another method of t is to be called from within f.
func (t *Tables) Watch(f func(Change), ifindex ...int) (io.Closer, error) {
	w := &watcher{tables: t, f: f, ifindexes: slices.Clone(ifindex)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.watchers == nil {
		return nil, ErrClosed
	}
	t.watchers[w] = struct{}{}
	return w, nil
}

type watcher struct {
	tables    *Tables
	f         func(Change)
	ifindexes []int

	mu     sync.Mutex // held while f runs
	closed bool
}

// Close ends the watcher. A second Close does nothing.
func (w *watcher) Close() error {
	w.tables.mu.Lock()
	delete(w.tables.watchers, w) // nothing to do on a nil map
	w.tables.mu.Unlock()
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	return nil
}

func (w *watcher) call(c Change) {
	if c.Ifindex != 0 && len(w.ifindexes) != 0 && !slices.Contains(w.ifindexes, c.Ifindex) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.f(c)
	}
}

func (t *Tables) notify(c Change) {
	t.mu.Lock()
	watchers := make([]*watcher, 0, len(t.watchers))
	for w := range t.watchers {
		watchers = append(watchers, w)
	}
	t.mu.Unlock()
	for _, w := range watchers {
		w.call(c)
	}
}

// decode makes a Change of a notification; false when it tells nothing of interest.
func decode(kind uint16, data []byte) (Change, bool) {
	switch kind {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return decodeLink(kind, data)
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		return decodeNeighbour(kind, data)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if len(data) < unix.SizeofIfAddrmsg {
			return Change{}, false
		}
		index := binary.NativeEndian.Uint32(data[4:]) // struct ifaddrmsg, linux/if_addr.h
		return Change{Kind: AddressesChanged, Ifindex: int(index)}, true
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return Change{Kind: RoutesChanged}, true
	}
	return Change{}, false
}

func decodeLink(kind uint16, data []byte) (Change, bool) {
	// A bridge speaks of its ports in messages of its own family, where removed means from the bridge.
	if len(data) < unix.SizeofIfInfomsg || data[0] == unix.AF_BRIDGE {
		return Change{}, false
	}
	link, err := netlink.LinkDeserialize(nil, data)
	if err != nil {
		return Change{}, false
	}
	a := link.Attrs()
	if kind == unix.RTM_DELLINK {
		return Change{Kind: LinkRemoved, Ifindex: a.Index}, true
	}
	const upAndRunning = unix.IFF_UP | unix.IFF_RUNNING
	c := Change{Kind: LinkChanged, Ifindex: a.Index, Up: a.RawFlags&upAndRunning == upAndRunning, MTU: a.MTU}
	copy(c.MAC[:], a.HardwareAddr)
	return c, true
}

func decodeNeighbour(kind uint16, data []byte) (Change, bool) {
	if len(data) < unix.SizeofNdMsg || data[0] != unix.AF_INET && data[0] != unix.AF_INET6 {
		return Change{}, false
	}
	n, err := netlink.NeighDeserialize(data)
	if err != nil {
		return Change{}, false
	}
	ip, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return Change{}, false
	}
	c := Change{Kind: NeighbourChanged, Ifindex: n.LinkIndex, IP: ip.Unmap()}
	switch {
	case kind == unix.RTM_DELNEIGH || n.State == unix.NUD_FAILED:
		c.Kind = NeighbourLost
	case n.State&nudValid == 0 || len(n.HardwareAddr) != len(c.MAC):
		return Change{}, false
	default:
		c.MAC = [6]byte(n.HardwareAddr)
	}
	return c, true
}
