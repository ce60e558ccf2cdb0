package rdma

import (
	"encoding/binary"
)

// The header that a card writes before a datagram: an InfiniBand global route header, which has the form of IPv6's (sources at 8, destination
// at 24), or behind 20 bytes of anything an IPv4 header (InfiniBand specification, annex A17, RoCEv2).
const (
	headerBytes = 40
	ip4At       = 20
)

// addresses reads who sent a datagram and where to, IPv4 as IPv4-mapped addresses. Nothing says which of the two forms a header has but the
// header itself: what begins as IPv6 may be anything before an IPv4 header, whose checksum decides then. Else the checksum may be
// missing: soft-RoCE does not make one for packets of a host to itself.
func addresses(h *[headerBytes]byte) (from, to [16]byte, ok bool) {
	ip4 := (*[headerBytes - ip4At]byte)(h[ip4At:])
	six, four := h[0]>>4 == 6, ip4[0] == 0x45
	switch {
	case four && (!six || sum16(ip4) == 0xffff):
		return mapped(ip4[12:16]), mapped(ip4[16:20]), true
	case six:
		return [16]byte(h[8:24]), [16]byte(h[24:40]), true
	}
	return from, to, false
}

// sum16 is the ones' complement sum of a header, all ones if its checksum is right.
func sum16(h *[20]byte) uint16 {
	var sum uint32
	for i := 0; i < len(h); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	sum = sum&0xffff + sum>>16
	return uint16(sum + sum>>16)
}

func mapped(ip4 []byte) (ip [16]byte) {
	ip[10], ip[11] = 0xff, 0xff
	copy(ip[12:], ip4)
	return ip
}
