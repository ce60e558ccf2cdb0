package netpath

import (
	"io"
	"net/netip"
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
	IP      netip.Addr
	MAC     [6]byte
}

// Watch calls f with each Change that concerns one of the interfaces (all, when none is given) until it is closed. Calls come one after
// another from one goroutine; f must not block for long, or changes are lost (Overrun). Close waits until f has returned and is not to be
// called from within f.
func (t *Tables) Watch(f func(Change), ifindex ...int) (io.Closer, error) { return nil, nil }
