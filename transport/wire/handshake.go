package wire

import "encoding/binary"

// Security is how a session's packets are protected.
type Security uint8

// The modes. The numbers are the protocol's.
const (
	Insecure Security = 0 // CRC32C against corruption, nothing against people
	TLS      Security = 1 // sealed with the keys of a TLS 1.3 handshake
)

// HandshakeBytes is the fixed part of Hello, Accept, Retry, Refuse and Reset.
const HandshakeBytes = 64

// reservedOffset is where what no field of the fixed part uses begins.
const reservedOffset = 58

// MaxPayloadBytes bounds a handshake packet's variable part.
const MaxPayloadBytes = 1024

// HelloBytes is the least length of a Hello. It is padded with zeros, so that no answer to it is three times as long.
const HelloBytes = 256

// Handshake is every packet outside an established session:
//
//	 0      1      2             4                         8
//	+------+------+-------------+-------------------------+
//	|ver|kd| secur| payload len.| calls at once           |
//	+------+------+-------------+-------------------------+
//	| Session: the receiver's ID, 0 in Hello              |
//	+-----------------------------------------------------+
//	| Source: the sender's ID (Reset: the ID not known)   |
//	+-----------------------------------------------------+
//	| Incarnation: drawn when the sender's process began  |
//	+-----------------------------------------------------+
//	| Echo: random in Hello; answers return it            |
//	+---------------------------+------+------+-----------+
//	| largest message           |packet, max. | idle, s   |
//	+---------------------------+-------------+-----------+
//	| code                      | ack delay, µs           |
//	+-------------+-------------+-------------------------+
//	| stream win. | reserved, 0                           |
//	+-------------+---------------------------------------+
//	| payload: token, reason, or key exchange; padding    |
type Handshake struct {
	Kind         Kind
	Security     Security
	Calls        uint32
	Session      uint64
	Source       uint64
	Incarnation  uint64
	Echo         uint64
	MaxMessage   uint32
	MaxPacket    uint16
	IdleSeconds  uint16
	Code         uint32
	AckDelay     uint32
	StreamWindow uint16 // messages that the sender of this takes on a new stream before it sends a Window
	Payload      []byte
}

// Put writes the whole packet with its checksum to b and returns its length, 0 when b is too small or the payload too long.
func (h *Handshake) Put(b []byte) int {
	n := HandshakeBytes + len(h.Payload) + ChecksumBytes
	if h.Kind == Hello {
		n = max(n, HelloBytes)
	}
	if n > len(b) || len(h.Payload) > MaxPayloadBytes {
		return 0
	}
	b = b[:n]
	clear(b[reservedOffset:])
	b[0] = Version<<4 | uint8(h.Kind)
	b[1] = uint8(h.Security)
	binary.LittleEndian.PutUint16(b[2:], uint16(len(h.Payload)))
	binary.LittleEndian.PutUint32(b[4:], h.Calls)
	binary.LittleEndian.PutUint64(b[8:], h.Session)
	binary.LittleEndian.PutUint64(b[16:], h.Source)
	binary.LittleEndian.PutUint64(b[24:], h.Incarnation)
	binary.LittleEndian.PutUint64(b[32:], h.Echo)
	binary.LittleEndian.PutUint32(b[40:], h.MaxMessage)
	binary.LittleEndian.PutUint16(b[44:], h.MaxPacket)
	binary.LittleEndian.PutUint16(b[46:], h.IdleSeconds)
	binary.LittleEndian.PutUint32(b[48:], h.Code)
	binary.LittleEndian.PutUint32(b[52:], h.AckDelay)
	binary.LittleEndian.PutUint16(b[56:], h.StreamWindow)
	copy(b[HandshakeBytes:], h.Payload)
	Sum(b)
	return n
}

// Parse reads a handshake packet and verifies its checksum and lengths. The payload is a part of b.
func (h *Handshake) Parse(b []byte) bool {
	kind := KindOf(b)
	if kind < Hello || kind > Reset || kind == Hello && len(b) < HelloBytes {
		return false
	}
	b, ok := Verify(b)
	if !ok || len(b) < HandshakeBytes {
		return false
	}
	var fixed Handshake
	n := fixed.ReadFields(b)
	if n > MaxPayloadBytes || n > len(b)-HandshakeBytes {
		return false
	}
	fixed.Payload = b[HandshakeBytes : HandshakeBytes+n : HandshakeBytes+n]
	*h = fixed
	return true
}

// ReadFields reads the fixed part of a handshake packet, the first HandshakeBytes of b, as it stands: nothing is verified, and Payload is
// nil. It returns the length that the payload is said to have. It is for those who look at packets that Parse refuses.
func (h *Handshake) ReadFields(b []byte) (payloadBytes int) {
	_ = b[HandshakeBytes-1]
	*h = Handshake{
		Kind:         Kind(b[0] & 15),
		Security:     Security(b[1]),
		Calls:        binary.LittleEndian.Uint32(b[4:]),
		Session:      binary.LittleEndian.Uint64(b[8:]),
		Source:       binary.LittleEndian.Uint64(b[16:]),
		Incarnation:  binary.LittleEndian.Uint64(b[24:]),
		Echo:         binary.LittleEndian.Uint64(b[32:]),
		MaxMessage:   binary.LittleEndian.Uint32(b[40:]),
		MaxPacket:    binary.LittleEndian.Uint16(b[44:]),
		IdleSeconds:  binary.LittleEndian.Uint16(b[46:]),
		Code:         binary.LittleEndian.Uint32(b[48:]),
		AckDelay:     binary.LittleEndian.Uint32(b[52:]),
		StreamWindow: binary.LittleEndian.Uint16(b[56:]),
	}
	return int(binary.LittleEndian.Uint16(b[2:]))
}
