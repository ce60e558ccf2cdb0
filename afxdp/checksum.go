//go:build linux

package afxdp

import (
	"encoding/binary"
	"math/bits"
)

// Checksums of UDP and TCP over IPv4 and IPv6 (RFC 768, 9293, 1071, 8200 section 8.1), for packets that bypass the kernel's. They take a
// packet from its IP header on, never write outside it, and allocate nothing.

// ChecksumState tells what stands in a packet's UDP or TCP checksum field.
type ChecksumState uint8

// The states.
const (
	// ChecksumUnknown: neither UDP nor TCP over IP, a fragment, cut short, lengths that disagree, or an IPv6 packet with extension headers.
	ChecksumUnknown ChecksumState = iota
	// ChecksumNone: UDP over IPv4 without one.
	ChecksumNone
	// ChecksumFull: it is right.
	ChecksumFull
	// ChecksumPseudo: it holds the sum of the pseudo-header alone. Kernel sockets leave the rest to a device with checksum offload, and a
	// virtual one (veth, tap, virtio) hands the packet over as it is: nothing was damaged, because nothing went over a wire.
	ChecksumPseudo
	// ChecksumWrong: the packet is damaged.
	ChecksumWrong
)

func (s ChecksumState) String() string {
	return [...]string{"unknown", "none", "full", "pseudo-header only", "wrong"}[s]
}

// CheckChecksum tells what stands in the checksum field of an IP packet; bytes behind the packet's own length, and behind a UDP datagram's, are
// ignored. A full checksum that happens to look like a pseudo-header's sum counts as full.
func CheckChecksum(ip []byte) ChecksumState {
	s, ok := findSegment(ip)
	if !ok {
		return ChecksumUnknown
	}
	field := binary.BigEndian.Uint16(s.field)
	pseudo := s.pseudoSum()
	switch {
	case field == 0 && s.protocol == protocolUDP:
		if s.ipv6 {
			return ChecksumWrong
		}
		return ChecksumNone
	case fold(sum(pseudo, s.bytes)) == 0xffff:
		return ChecksumFull
	case field == fold(pseudo):
		return ChecksumPseudo
	}
	return ChecksumWrong
}

// PutChecksum computes the UDP or TCP checksum of an IP packet in software and stores it. It returns false, and changes nothing, where
// CheckChecksum says ChecksumUnknown.
func PutChecksum(ip []byte) bool {
	s, ok := findSegment(ip)
	if !ok {
		return false
	}
	binary.BigEndian.PutUint16(s.field, 0)
	c := ^fold(sum(s.pseudoSum(), s.bytes))
	if c == 0 && s.protocol == protocolUDP {
		c = 0xffff // 0 stands for none
	}
	binary.BigEndian.PutUint16(s.field, c)
	return true
}

// PutPseudoChecksum stores the pseudo-header's sum in the checksum field and returns the request that has the device compute the rest, where
// the IP header stands ipOffset bytes behind the start of the packet, which must end with the datagram or segment. It returns false, and
// changes nothing, where CheckChecksum says ChecksumUnknown.
func PutPseudoChecksum(ip []byte, ipOffset int) (r TxRequest, ok bool) {
	s, ok := findSegment(ip)
	if !ok {
		return r, false
	}
	binary.BigEndian.PutUint16(s.field, fold(s.pseudoSum()))
	return TxRequest{Checksum: true, ChecksumStart: uint16(ipOffset + s.at), ChecksumOffset: uint16(s.fieldAt)}, true
}

const (
	protocolTCP = 6
	protocolUDP = 17
)

// segment is the UDP or TCP part of an IP packet.
type segment struct {
	addresses []byte // source and destination
	bytes     []byte // header and payload
	field     []byte // the checksum
	at        int    // where bytes starts in the IP packet
	fieldAt   int    // where field starts in bytes
	protocol  byte
	ipv6      bool
}

func findSegment(ip []byte) (s segment, ok bool) {
	if len(ip) < 20 {
		return s, false
	}
	var end int
	switch ip[0] >> 4 {
	case 4:
		s.at, end = int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
		s.addresses, s.protocol = ip[12:20], ip[9]
		if binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 || s.at < 20 { // more fragments, or an offset
			return s, false
		}
	case 6:
		if len(ip) < 40 {
			return s, false
		}
		s.at, end = 40, 40+int(binary.BigEndian.Uint16(ip[4:]))
		s.addresses, s.protocol, s.ipv6 = ip[8:40], ip[6], true
	default:
		return s, false
	}
	headerBytes := 8
	switch s.fieldAt = 6; s.protocol {
	case protocolUDP:
	case protocolTCP:
		s.fieldAt, headerBytes = 16, 20
	default:
		return s, false
	}
	if end > len(ip) || end-s.at < headerBytes {
		return s, false
	}
	if s.protocol == protocolUDP { // its own length counts; RFC 9868 has options behind it (net/ipv4/udp.c, __udp4_lib_rcv)
		length := int(binary.BigEndian.Uint16(ip[s.at+4:]))
		if length < headerBytes || length > end-s.at {
			return s, false
		}
		end = s.at + length
	}
	s.bytes = ip[s.at:end]
	s.field = s.bytes[s.fieldAt:][:2]
	return s, true
}

// pseudoSum is the sum of the pseudo-header. That of IPv6 has wider fields, which sums to the same.
func (s *segment) pseudoSum() uint64 {
	return sum(uint64(s.protocol)+uint64(len(s.bytes)), s.addresses)
}

// sum adds the big-endian words of b to acc, eight bytes at a time: 2^16 is 1 in ones' complement arithmetic, so wide words fold to the same
// sum (RFC 1071 section 2(C)).
func sum(acc uint64, b []byte) uint64 {
	var carry uint64
	for ; len(b) >= 8; b = b[8:] {
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b), carry)
	}
	var tail [8]byte
	copy(tail[:], b)
	acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(tail[:]), carry)
	acc, carry = bits.Add64(acc, 0, carry)
	return acc + carry
}

// fold reduces a sum to 16 bits.
func fold(acc uint64) uint16 {
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>16 + acc&0xffff
	return uint16(acc>>16 + acc)
}
