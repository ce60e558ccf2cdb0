// Package netpath holds what lies between a packet buffer and a peer: Ethernet, VLAN, IP and UDP headers on the packet's way (zero
// allocation, no lock), and the routes and neighbours of a network namespace, read from the kernel over netlink, off the packet's way.
package netpath

import "errors"

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

// A Flow says from where to where packets go. IPv4 addresses are IPv4-mapped (::ffff:a.b.c.d); both addresses are of one family.
type Flow struct {
	SrcMAC, DstMAC   [6]byte
	VLAN             uint16 // VLAN ID, 1 to 4094; 0 sends untagged
	SrcIP, DstIP     [16]byte
	SrcPort, DstPort uint16
	DSCP             uint8 // 0 to 63
	TTL              uint8 // or hop limit; 0 stands for 64
}

// ErrFlow is the reason why MakeHeader refuses a Flow.
var ErrFlow = errors.New("netpath: bad flow")

// A Header is the prepared headers of one Flow. It does not change once made, so that any number of goroutines may Put it.
type Header struct {
	bytes [MaxHeaderBytes]byte
	len   uint8
}

// MakeHeader prepares the headers of f.
func MakeHeader(f Flow) (Header, error) { return Header{}, ErrFlow }

// Len is the number of bytes that Put writes in front of a payload.
func (h *Header) Len() int { return int(h.len) }

// Put completes a packet: packet starts Len bytes before the payload and ends with it. Lengths, the two ECN bits and the checksums are set
// for this payload; UDP checksums are 0 on IPv4 and computed on IPv6. The caller keeps the payload within MaxPayload of the path's MTU.
func (h *Header) Put(packet []byte, ecn uint8) {}

// HeaderBytes is the number of header bytes of a UDP packet in an Ethernet frame.
func HeaderBytes(ipv6, vlan bool) int { return 0 }

// MaxPayload is the largest UDP payload that an unfragmented packet carries over a path of that MTU (bytes from the IP header on).
func MaxPayload(mtu int, ipv6 bool) int { return 0 }
