package netpath

import (
	"encoding/binary"
	"errors"
)

// Why Parse refuses a frame. The values are fixed, so that a caller may count by them.
var (
	ErrTruncated = errors.New("netpath: frame is shorter than its headers say")
	ErrNotUDP    = errors.New("netpath: not UDP over IPv4 or IPv6 with at most one VLAN tag")
	ErrFragment  = errors.New("netpath: IP fragment")
	ErrMalformed = errors.New("netpath: malformed header")
	ErrAddress   = errors.New("netpath: an address or port that cannot be answered")
)

// Parsed is what the headers of a received frame say. IPv4 addresses are IPv4-mapped.
type Parsed struct {
	SrcMAC, DstMAC   [6]byte
	SrcIP, DstIP     [16]byte
	SrcPort, DstPort uint16
	VLAN             uint16 // VLAN ID; 0 when untagged or only priority-tagged
	ECN              uint8  // the two ECN bits
	Offset           int    // of the UDP payload in the frame
	Bytes            int    // of the UDP payload; what follows it is padding
}

// Parse reads the headers of frame into p. Nothing outside frame is read and nothing allocated, whatever frame holds; after an error p is
// unspecified.
//
// The IPv4 header's checksum is verified (RFC 1122 section 3.2.1.2). The UDP checksum is not: a kernel sender on veth, tap or virtio leaves
// only the pseudo-header's sum. But none at all is refused on IPv6 (RFC 8200 section 8.1).
//
// Refused with ErrAddress: frames to or from a group MAC; multicast, broadcast, unspecified and loopback IP addresses (RFC 1122 section
// 3.2.1.3); IPv4-mapped addresses in an IPv6 header, which would pass for IPv4 ones; port 0. Whether the addresses are this host's is
// for the caller to check.
func Parse(frame []byte, p *Parsed) error {
	if len(frame) < EthernetBytes {
		return ErrTruncated
	}
	p.DstMAC = [6]byte(frame[0:6])
	p.SrcMAC = [6]byte(frame[6:12])
	if (p.DstMAC[0]|p.SrcMAC[0])&groupAddressBit != 0 {
		return ErrAddress
	}
	etherType, ip := binary.BigEndian.Uint16(frame[12:]), frame[EthernetBytes:]
	p.VLAN = 0
	if etherType == etherTypeVLAN {
		if len(ip) < VLANBytes {
			return ErrTruncated
		}
		p.VLAN = binary.BigEndian.Uint16(ip) & vlanIDBits
		etherType, ip = binary.BigEndian.Uint16(ip[2:]), ip[VLANBytes:]
	}
	var udp []byte
	var err error
	switch etherType {
	case etherTypeIPv4:
		udp, err = p.parseIPv4(ip)
	case etherTypeIPv6:
		udp, err = p.parseIPv6(ip)
	default:
		return ErrNotUDP
	}
	if err != nil {
		return err
	}
	return p.parseUDP(frame, udp, etherType == etherTypeIPv6)
}

// parseIPv4 returns what the header's length says is behind it: a UDP segment, perhaps with padding.
func (p *Parsed) parseIPv4(ip []byte) ([]byte, error) {
	if len(ip) < IPv4Bytes {
		return nil, ErrTruncated
	}
	headerBytes, total := int(ip[0]&0x0f)*4, int(binary.BigEndian.Uint16(ip[2:]))
	switch {
	case ip[0]>>4 != 4 || headerBytes < IPv4Bytes || total < headerBytes:
		return nil, ErrMalformed
	case total > len(ip):
		return nil, ErrTruncated
	case fold(sumIPv4(ip[:headerBytes])) != 0xffff:
		return nil, ErrMalformed
	case ip[9] != protocolUDP:
		return nil, ErrNotUDP
	case binary.BigEndian.Uint16(ip[6:])&fragmentBits != 0:
		return nil, ErrFragment
	}
	src, dst := binary.BigEndian.Uint32(ip[12:]), binary.BigEndian.Uint32(ip[16:])
	if !unicast4(src) || !unicast4(dst) {
		return nil, ErrAddress
	}
	p.ECN = ip[1] & ecnBits
	binary.BigEndian.PutUint64(p.SrcIP[:], 0)
	binary.BigEndian.PutUint64(p.SrcIP[8:], 0xffff<<32|uint64(src))
	binary.BigEndian.PutUint64(p.DstIP[:], 0)
	binary.BigEndian.PutUint64(p.DstIP[8:], 0xffff<<32|uint64(dst))
	return ip[headerBytes:total], nil
}

// parseIPv6 is parseIPv4's counterpart. Extension headers are not looked behind: the steering program leaves such packets to the kernel.
func (p *Parsed) parseIPv6(ip []byte) ([]byte, error) {
	if len(ip) < IPv6Bytes {
		return nil, ErrTruncated
	}
	payloadBytes := int(binary.BigEndian.Uint16(ip[4:])) // 0 in a jumbogram (RFC 2675), which is then too short for UDP
	switch {
	case ip[0]>>4 != 6:
		return nil, ErrMalformed
	case payloadBytes > len(ip)-IPv6Bytes:
		return nil, ErrTruncated
	case ip[6] == protocolFragment:
		return nil, ErrFragment
	case ip[6] != protocolUDP:
		return nil, ErrNotUDP
	}
	p.SrcIP, p.DstIP = [16]byte(ip[8:24]), [16]byte(ip[24:40])
	if !unicast6(&p.SrcIP) || !unicast6(&p.DstIP) {
		return nil, ErrAddress
	}
	p.ECN = ip[1] >> 4 & ecnBits
	return ip[IPv6Bytes : IPv6Bytes+payloadBytes], nil
}

func (p *Parsed) parseUDP(frame, udp []byte, ipv6 bool) error {
	if len(udp) < UDPBytes {
		return ErrMalformed
	}
	length := int(binary.BigEndian.Uint16(udp[4:])) // may be less than IP says, as the kernel allows (net/ipv4/udp.c, __udp4_lib_rcv)
	if length < UDPBytes || length > len(udp) || ipv6 && udp[6]|udp[7] == 0 {
		return ErrMalformed
	}
	p.SrcPort, p.DstPort = binary.BigEndian.Uint16(udp), binary.BigEndian.Uint16(udp[2:])
	if p.SrcPort == 0 || p.DstPort == 0 {
		return ErrAddress
	}
	p.Offset = cap(frame) - cap(udp) + UDPBytes // udp was cut from frame, which leaves their capacities with one end
	p.Bytes = length - UDPBytes
	return nil
}

// unicast4 tells whether one host may have the address a: all but 0.0.0.0, 127/8, 224/4 and 255.255.255.255.
func unicast4(a uint32) bool {
	return a-1 < 0xffffffff-1 && a>>24 != 127 && a>>28 != 0xe
}

// unicast6 tells the same of an IPv6 address: all but ::, ::1, ff00::/8 and, since they are not IPv6 addresses on a wire, ::ffff:0:0/96.
func unicast6(a *[16]byte) bool {
	if a[0] == 0xff {
		return false
	}
	low := binary.BigEndian.Uint64(a[8:])
	return binary.BigEndian.Uint64(a[:]) != 0 || low > 1 && low>>32 != 0xffff
}
