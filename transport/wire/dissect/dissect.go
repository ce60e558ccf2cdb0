// Package dissect reads packets of the protocol for people: out of captures, damaged and cut ones too, with gopacket's layers or without.
//
// It verifies and names, and decides nothing: what transport/session would drop is shown here with what is wrong about it. It allocates, and
// has no place on the way of a call. No input makes it panic. docs/protocol.md draws the layouts.
package dissect

import (
	"errors"
	"fmt"

	"github.com/google/gopacket/layers"

	"github.com/fastrpc/fastrpc/transport/wire"
)

// ErrForeign says that a payload is no packet of this version of the protocol: its first byte is none of ours.
var ErrForeign = errors.New("not a fastrpc packet of version 1")

// Checksum is what a packet's last bytes say about the rest.
type Checksum uint8

// The verdicts.
const (
	ChecksumRight   Checksum = iota
	ChecksumWrong            // damaged on its way, or sealed, or no packet of ours
	ChecksumUnknown          // the capture does not hold all of the packet
)

func (c Checksum) String() string {
	switch c {
	case ChecksumRight:
		return "right"
	case ChecksumWrong:
		return "wrong"
	}
	return "unknown"
}

// Packet is one packet, which is the payload of one UDP datagram. It is a gopacket.ApplicationLayer and a gopacket.DecodingLayer. One Packet
// can decode any number of payloads, one after the other; what it says of the one before is overwritten. It is not for concurrent use.
type Packet struct {
	layers.BaseLayer // Contents: what was captured of the packet. Payload: nil

	Kind     wire.Kind
	Length   int // in bytes as sent, len(Contents) or more
	Checksum Checksum
	// HeaderCut: the capture ends before the header does. Of Header and Handshake then nothing is set but the session's ID, if it is there.
	HeaderCut bool
	Header    wire.DataHeader // of a Data packet
	Frames    []Frame         // of a Data packet; payloads are parts of Contents
	Handshake wire.Handshake  // of any other; Payload is what was captured of it
	// PayloadLength is the length of a handshake's payload as sent.
	PayloadLength int
	// Malformed says what is wrong with the lengths or types within the packet, "" if nothing is. The frames before that place are in Frames.
	Malformed string
}

// Decode reads the payload of a UDP datagram that was length bytes long when it was sent, of which data was captured. p keeps parts of
// data. The error is ErrForeign or nil: damage is told in p.
func (p *Packet) Decode(data []byte, length int) error {
	*p = Packet{Frames: p.Frames[:0]}
	kind := wire.KindOf(data)
	if !kind.Known() {
		return ErrForeign
	}
	p.Contents = data
	p.Kind = kind
	p.Length = max(length, len(data))
	p.Checksum = ChecksumUnknown
	if len(data) == p.Length {
		p.Checksum = ChecksumWrong
		if _, ok := wire.Verify(data); ok {
			p.Checksum = ChecksumRight
		}
	}
	least, header := wire.DataHeaderBytes+wire.ChecksumBytes, wire.DataHeaderBytes
	if kind != wire.Data {
		least, header = wire.HandshakeBytes+wire.ChecksumBytes, wire.HandshakeBytes
	}
	switch {
	case p.Length < least:
		p.Malformed = fmt.Sprintf("%d bytes are less than the header and the checksum", p.Length)
		fallthrough
	case len(data) < header:
		p.HeaderCut = true
		if len(data) >= 16 {
			p.Header.Session = wire.SessionOf(data)
			p.Handshake.Session = p.Header.Session
		}
	case kind == wire.Data:
		p.decodeData()
	default:
		p.decodeHandshake()
	}
	return nil
}

// body is what was captured of the packet behind the first header bytes and before the checksum, and its length as sent.
func (p *Packet) body(header int) (captured []byte, length int) {
	length = p.Length - wire.ChecksumBytes
	return p.Contents[header:min(len(p.Contents), length)], length - header
}

func (p *Packet) decodeHandshake() {
	h := &p.Handshake
	p.PayloadLength = h.ReadFields(p.Contents)
	body, length := p.body(wire.HandshakeBytes)
	if most := min(length, wire.MaxPayloadBytes); p.PayloadLength > most {
		p.Malformed = fmt.Sprintf("a payload of %d bytes, where %d are the most", p.PayloadLength, most)
	} else if p.Kind == wire.Hello && p.Length < wire.HelloBytes {
		p.Malformed = fmt.Sprintf("a Hello of %d bytes, where %d are the least", p.Length, wire.HelloBytes)
	}
	h.Payload = body[:min(len(body), p.PayloadLength)]
}

// Plausible tells whether p, decoded from a payload of which nothing else is known, is likely a packet of the protocol: its checksum is
// right, or it has lengths, types and reserved bits as only a packet of ours would have them. A packet whose checksum cannot vouch for it
// and that has no whole frame header is not.
func (p *Packet) Plausible() bool {
	const knownFlags = 1<<3 - 1 // of a data packet's header, and of a frame
	switch {
	case p.Checksum == ChecksumRight:
		return true
	case p.HeaderCut || p.Malformed != "":
		return false
	case p.Kind != wire.Data:
		padded := p.Kind == wire.Hello
		return p.Handshake.Security <= wire.TLS && (padded || p.Length == wire.HandshakeBytes+p.PayloadLength+wire.ChecksumBytes)
	}
	for i := range p.Frames {
		if p.Frames[i].Flags&^knownFlags != 0 {
			return false
		}
	}
	return len(p.Frames) > 0 && p.Header.Flags&^knownFlags == 0
}
