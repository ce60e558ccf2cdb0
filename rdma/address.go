package rdma

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// AddressVector is the way to a remote port (struct ibv_ah_attr). Over Ethernet it is global and has no LID. Over InfiniBand the LID leads
// to the port, or to the router if the port is of another subnet; only then it must be global.
type AddressVector struct {
	Port     int    // this side's
	LID      uint16 // InfiniBand
	SL       uint8  // InfiniBand: service level
	PathBits uint8  // InfiniBand: the low bits of this side's LID, where the port has several
	Rate     uint8  // of sending, as enum ibv_rate numbers them; 0: the port's

	Global    bool // packets have a global route header, of what follows
	GID       GID
	FromIndex int // in the GID table of this side's port
	FlowLabel uint32
	Hops      uint8 // that packets may take
	Class     uint8 // traffic class; over IPv4 the type of service
}

// hopLimit of what begins here, as IP's usual one.
const hopLimit = 64

// To is the way from a row of the port's GID table to a GID; lid is the remote port's over InfiniBand, and 0 over Ethernet.
func (e GIDEntry) To(port int, to GID, lid uint16) AddressVector {
	return AddressVector{Port: port, LID: lid, Global: true, GID: to, FromIndex: e.Index, Hops: hopLimit}
}

// check says what no card could make of the way.
func (v *AddressVector) check(ethernet bool) error {
	switch {
	case ethernet && !v.Global:
		return errors.New("over Ethernet the way has to be global, with a GID")
	case !ethernet && v.LID == 0:
		return errors.New("over InfiniBand the way needs the remote port's LID, which Route.LookUp and WC.Reply tell")
	case v.Global && (v.FromIndex < 0 || v.FromIndex > 255 || v.FlowLabel > 1<<20-1):
		return fmt.Errorf("a GID index has 8 bits and a flow label 20, not %d and %#x", v.FromIndex, v.FlowLabel)
	}
	return nil
}

// Reply is the way back to the sender of a datagram that port received; grh is the first GRHBytes of its memory. It does what libibverbs'
// ibv_init_ah_from_wc does, without asking the kernel. The error is an ErrNoGID when the datagram went to none of the port's GIDs, such as
// a multicast group; its sender is answered from another one, by GIDEntry.To.
func (w *WC) Reply(port *Port, grh []byte) (AddressVector, error) {
	v := AddressVector{Port: port.Number, LID: w.LID, SL: w.SL, PathBits: w.PathBits}
	if w.Flags&WithGRH == 0 {
		return v, v.check(port.Ethernet)
	}
	h, err := ParseGRH(grh)
	if err != nil {
		return v, err
	}
	// The port's link layer tells the types 0 and 1 apart, which have one form.
	for _, e := range port.GIDs {
		if e.GID == h.To && (e.Type == GIDRoCE2) == h.UDP {
			v.Global, v.GID, v.FromIndex, v.FlowLabel, v.Hops, v.Class = true, h.From, e.Index, h.FlowLabel, h.Hops, h.Class
			return v, v.check(port.Ethernet)
		}
	}
	return v, failedAs(ErrNoGID, "ibv_init_ah_from_wc", 0, "port %d of %s has no GID %v to answer from", port.Number, port.Device, h.To)
}

// GRH is the header of a received datagram.
type GRH struct {
	From, To  GID
	UDP       bool   // RoCE v2
	FlowLabel uint32 // not over IPv4
	Hops      uint8  // that are left
	Class     uint8
}

// Where what is of IPv4 begins in the header, and next headers of IPv6.
const (
	ip4At = 20

	protocolUDP = 17
	protocolIBA = 0x1b // the InfiniBand transport
)

var errGRH = errors.New("rdma: the datagram has no global route header")

// ParseGRH reads the header that a card writes before a datagram: GRHBytes in the form of IPv6's, or an IPv4 header behind 20 bytes of anything
// (InfiniBand specification, annex A17, RoCEv2). It does not allocate.
//
// Nothing says which of the two forms a header has but the header itself: what begins as IPv6 may be anything before an IPv4 header, whose
// checksum decides then. Else the checksum may be missing: soft-RoCE does not make one for packets of a host to itself.
func ParseGRH(b []byte) (GRH, error) {
	if len(b) < GRHBytes {
		return GRH{}, errGRH
	}
	ip4, be := b[ip4At:GRHBytes], binary.BigEndian
	six, four := b[0]>>4 == 6, ip4[0] == 0x45
	switch {
	case four && (!six || sum16(ip4) == 0xffff):
		return GRH{From: mapped(ip4[12:16]), To: mapped(ip4[16:20]), UDP: true, Hops: ip4[8], Class: ip4[1]}, nil
	case six:
		first := be.Uint32(b)
		return GRH{
			From: GID(b[8:24]), To: GID(b[24:40]), UDP: b[6] == protocolUDP, FlowLabel: first & (1<<20 - 1), Hops: b[7], Class: uint8(first >> 20),
		}, nil
	}
	return GRH{}, errGRH
}

// sum16 is the ones' complement sum of an IPv4 header, all ones if its checksum is right.
func sum16(h []byte) uint16 {
	var sum uint32
	for i := 0; i < len(h); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	sum = sum&0xffff + sum>>16
	return uint16(sum + sum>>16)
}

func mapped(ip4 []byte) (g GID) {
	g[10], g[11] = 0xff, 0xff
	copy(g[12:], ip4)
	return g
}
