package rdma

import (
	"fmt"
	"net/netip"
)

// GID is a port's address: an IPv6 address, or an IPv4 address in its IPv4-mapped form.
type GID [16]byte

func (g GID) String() string { return g.IP().String() }

// IP is the address that a GID of RoCE version 2 stands for.
func (g GID) IP() netip.Addr { return netip.AddrFrom16(g).Unmap() }

// GIDType tells the protocols apart that a port speaks for a GID (enum ibv_gid_type, rdma-core 32 and later).
type GIDType uint32

// The types.
const (
	GIDInfiniBand GIDType = 0
	GIDRoCE1      GIDType = 1 // Ethernet alone: it does not pass routers
	GIDRoCE2      GIDType = 2 // over UDP and IP
)

func (t GIDType) String() string {
	switch t {
	case GIDInfiniBand:
		return "InfiniBand"
	case GIDRoCE1:
		return "RoCE v1"
	case GIDRoCE2:
		return "RoCE v2"
	}
	return fmt.Sprintf("GID type %d", uint32(t))
}

// GIDEntry is a row of a port's GID table.
type GIDEntry struct {
	GID   GID
	Index int
	Type  GIDType
	Iface int // index of the network interface; 0: none
}

func (e GIDEntry) String() string { return fmt.Sprintf("%d: %v (%v)", e.Index, e.GID, e.Type) }

// ChooseGID picks the row to use for a peer at an address (the zero Addr: any): RoCE version 2 before InfiniBand before RoCE version 1, of
// the peer's IP version where it is known, IPv4 before IPv6, global before link-local, and the lowest index among equals.
func ChooseGID(table []GIDEntry, peer netip.Addr) (GIDEntry, bool) {
	best, found := GIDEntry{}, -1
	for _, e := range table {
		if s := score(e, peer.Unmap()); s > found {
			best, found = e, s
		}
	}
	return best, found >= 0
}

// score is higher for rows to be preferred; -1: the row does not reach the peer.
func score(e GIDEntry, peer netip.Addr) int {
	if e.GID == (GID{}) {
		return -1
	}
	ip, s := e.GID.IP(), 0
	switch e.Type {
	case GIDRoCE2:
		s = 8
		if peer.IsValid() && ip.Is4() != peer.Is4() {
			return -1
		}
	case GIDInfiniBand:
		s = 4
	}
	if ip.Is4() {
		s += 2
	}
	if !ip.IsLinkLocalUnicast() || peer.IsLinkLocalUnicast() {
		s++
	}
	return s
}
