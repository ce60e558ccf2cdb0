package netpath

import (
	"context"
	"errors"
	"net/netip"
)

// What Lookup finds to be wrong; its errors wrap one of these and say more.
var (
	ErrNoRoute     = errors.New("no route to host")
	ErrNoNeighbour = errors.New("no answer from neighbour")
	ErrNoAddress   = errors.New("not an address of this host")
	ErrNotUnicast  = errors.New("not a unicast address")
	ErrNotEthernet = errors.New("not an Ethernet interface")
)

// A Route says how packets reach a destination: the interface, the addresses of both ends of the first hop, and its limits.
type Route struct {
	Ifindex      int        // egress interface
	IfName       string     //
	LowerIfindex int        // the interface that XDP attaches to: below Ifindex when that is a VLAN, else Ifindex itself
	LowerName    string     //
	VLAN         uint16     // VLAN ID to put into the frame; 0: none
	Src          netip.Addr // source address, the one asked for or the kernel's choice
	NextHop      netip.Addr // gateway, or the destination itself on a connected network
	MTU          int        // bytes from the IP header on
	SrcMAC       [6]byte
	DstMAC       [6]byte
	Local        bool // the destination is this host: no neighbour, the MACs are zero
}

// Tables gives access to the route and neighbour tables of one network namespace. It is safe for concurrent use.
type Tables struct{}

// Open gives access to the tables of the calling thread's network namespace, for good: the methods of Tables may be called from any
// goroutine, on any thread.
func Open() (*Tables, error) { return nil, ErrNoRoute }

// Close releases what Open took. Watchers are closed on their own.
func (t *Tables) Close() error { return nil }

// Lookup finds the route to dst, from src when that is valid, and resolves the next hop's MAC. It blocks while the kernel resolves (ARP or
// neighbour discovery), until ctx ends at the latest. An invalid src leaves the choice to the kernel. dst may carry a zone.
func (t *Tables) Lookup(ctx context.Context, dst, src netip.Addr) (Route, error) {
	return Route{}, ErrNoRoute
}
