// Package netpath holds what lies between a packet buffer and a peer: Ethernet, VLAN, IP and UDP headers on the packet's way (zero
// allocation, no lock), and the routes and neighbours of a network namespace, read from the kernel over netlink, off the packet's way.
package netpath

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Bytes of each header.
const (
	EthernetBytes = 14
	VLANBytes     = 4
	IPv4Bytes     = 20 // as sent; received options are skipped
	IPv6Bytes     = 40
	UDPBytes      = 8

	// MaxHeaderBytes is the headroom that any Header needs: Ethernet, one VLAN tag, IPv6 and UDP.
	MaxHeaderBytes = EthernetBytes + VLANBytes + IPv6Bytes + UDPBytes
)

// Numbers on the wire.
const (
	etherTypeIPv4 = 0x0800
	etherTypeVLAN = 0x8100
	etherTypeIPv6 = 0x86dd

	protocolUDP      = 17
	protocolFragment = 44 // IPv6's fragment header

	flagDF          = 0x4000 // IPv4: don't fragment
	fragmentBits    = 0x3fff // IPv4: more fragments, and the offset
	defaultTTL      = 64
	maxVLAN         = 4094 // 4095 is reserved (IEEE 802.1Q)
	maxDSCP         = 63
	maxPacketBytes  = 65535
	ecnBits         = 0x03
	vlanIDBits      = 0x0fff
	groupAddressBit = 0x01 // of a MAC's first byte: multicast or broadcast
)

// A Flow says from where to where packets go. IPv4 addresses are IPv4-mapped (::ffff:a.b.c.d); both addresses are of one family.
type Flow struct {
	SrcMAC, DstMAC   [6]byte
	VLAN             uint16 // VLAN ID, 1 to 4094; 0 sends untagged
	SrcIP, DstIP     [16]byte
	SrcPort, DstPort uint16
	DSCP             uint8 // 0 to 63
	TTL              uint8 // or hop limit; 0 stands for 64
}

// ErrFlow is the reason why MakeHeader refuses a Flow; its errors wrap it and name the field.
var ErrFlow = errors.New("netpath: headers cannot be made")

// A Header is the prepared headers of one Flow. It does not change once made, so that any number of goroutines may Put it.
type Header struct {
	sum   uint64 // IPv4: of the IP header; IPv6: of the pseudo-header and the ports; without what Put sets
	bytes [MaxHeaderBytes]byte
	len   uint8
	ip    uint8 // offset of the IP header
	ipv6  bool
}

// MakeHeader prepares the headers of f.
func MakeHeader(f Flow) (Header, error) {
	if err := f.check(); err != nil {
		return Header{}, err
	}
	h := Header{ipv6: !is4(&f.SrcIP), ip: EthernetBytes}
	b := h.bytes[:]
	copy(b, f.DstMAC[:])
	copy(b[6:], f.SrcMAC[:])
	if f.VLAN != 0 {
		h.ip += VLANBytes
		binary.BigEndian.PutUint16(b[12:], etherTypeVLAN)
		binary.BigEndian.PutUint16(b[14:], f.VLAN)
	}
	h.len = uint8(HeaderBytes(h.ipv6, f.VLAN != 0))
	etherType, ip, udp := b[h.ip-2:h.ip], b[h.ip:h.len-UDPBytes], b[h.len-UDPBytes:h.len]
	binary.BigEndian.PutUint16(udp, f.SrcPort)
	binary.BigEndian.PutUint16(udp[2:], f.DstPort)
	if h.ipv6 {
		binary.BigEndian.PutUint16(etherType, etherTypeIPv6)
		f.putIPv6(ip)
		h.sum = sum(pseudoSum(&f.SrcIP, &f.DstIP), udp[:4])
	} else {
		binary.BigEndian.PutUint16(etherType, etherTypeIPv4)
		f.putIPv4(ip)
		h.sum = sum(0, ip)
	}
	return h, nil
}

// Len is the number of bytes that Put writes in front of a payload.
func (h *Header) Len() int { return int(h.len) }

// Put completes a packet: packet starts Len bytes before the payload and ends with it. Lengths, the two ECN bits and the checksums are set
// for this payload; UDP checksums are 0 on IPv4 and computed on IPv6. The caller keeps the payload within MaxPayload of the path's MTU.
// A packet shorter than Len panics.
func (h *Header) Put(packet []byte, ecn uint8) {
	n := copy(packet[:h.len], h.bytes[:])
	ip := packet[h.ip:]
	udp := ip[n-int(h.ip)-UDPBytes:]
	ecn &= ecnBits
	length := uint16(len(udp))
	binary.BigEndian.PutUint16(udp[4:], length)
	if h.ipv6 {
		ip[1] |= ecn << 4 // the traffic class lies across two bytes
		binary.BigEndian.PutUint16(ip[4:], length)
		acc := addWord(h.sum, length) // in the pseudo-header
		acc = addWord(acc, length)    // and in the UDP header
		binary.LittleEndian.PutUint16(udp[6:], neverZero(^fold(sum(acc, udp[UDPBytes:]))))
		return
	}
	ip[1] |= ecn
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	acc := addWord(h.sum, uint16(ecn))
	acc = addWord(acc, uint16(len(ip)))
	binary.LittleEndian.PutUint16(ip[10:], ^fold(acc))
}

// HeaderBytes is the number of header bytes of a UDP packet in an Ethernet frame.
func HeaderBytes(ipv6, vlan bool) int {
	n := EthernetBytes + IPv4Bytes + UDPBytes
	if ipv6 {
		n += IPv6Bytes - IPv4Bytes
	}
	if vlan {
		n += VLANBytes
	}
	return n
}

// MaxPayload is the largest UDP payload that an unfragmented packet carries over a path of that MTU (bytes from the IP header on).
func MaxPayload(mtu int, ipv6 bool) int {
	return max(0, min(mtu, maxPacketBytes)-HeaderBytes(ipv6, false)+EthernetBytes)
}

func (f *Flow) check() error {
	switch {
	case is4(&f.SrcIP) != is4(&f.DstIP):
		return fmt.Errorf("%w: source and destination are of different IP versions", ErrFlow)
	case f.DstMAC == [6]byte{}:
		return fmt.Errorf("%w: the destination has no MAC address; resolve the route first", ErrFlow)
	case f.VLAN > maxVLAN:
		return fmt.Errorf("%w: VLAN %d is not between 0 and %d", ErrFlow, f.VLAN, maxVLAN)
	case f.SrcPort == 0 || f.DstPort == 0:
		return fmt.Errorf("%w: a port is 0", ErrFlow)
	case f.DSCP > maxDSCP:
		return fmt.Errorf("%w: DSCP %d is not between 0 and %d", ErrFlow, f.DSCP, maxDSCP)
	}
	return nil
}

func (f *Flow) ttl() uint8 {
	if f.TTL == 0 {
		return defaultTTL
	}
	return f.TTL
}

// putIPv4 writes all but the total length and the checksum. The identification stays 0: it has no meaning in a packet that is not a
// fragment and may not become one (RFC 6864 section 4.1).
func (f *Flow) putIPv4(b []byte) {
	b[0] = 4<<4 | IPv4Bytes/4
	b[1] = f.DSCP << 2
	binary.BigEndian.PutUint16(b[6:], flagDF)
	b[8] = f.ttl()
	b[9] = protocolUDP
	copy(b[12:], f.SrcIP[12:])
	copy(b[16:], f.DstIP[12:])
}

// putIPv6 writes all but the payload length.
func (f *Flow) putIPv6(b []byte) {
	b[0] = 6<<4 | f.DSCP>>2
	b[1] = f.DSCP << 6
	b[6] = protocolUDP
	b[7] = f.ttl()
	copy(b[8:], f.SrcIP[:])
	copy(b[24:], f.DstIP[:])
}

// is4 tells an IPv4-mapped address.
func is4(a *[16]byte) bool {
	return binary.BigEndian.Uint64(a[:]) == 0 && binary.BigEndian.Uint32(a[8:]) == 0xffff
}
