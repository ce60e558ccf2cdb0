// Package wire lays out packets and frames: offsets, checked views, and nothing that decides.
//
// All integers are little-endian. docs/protocol.md draws the layouts; golden bytes in this package's tests pin them.
package wire

import (
	"encoding/binary"
	"hash/crc32"
)

// Version is the protocol's, in the high half of a packet's first byte.
const Version = 1

// Kind is what a packet is, in the low half of its first byte.
type Kind uint8

// The kinds of packet.
const (
	Data   Kind = 1 // belongs to an established session: DataHeader, then frames
	Hello  Kind = 2 // client to server: open a session
	Accept Kind = 3 // server to client: it is open
	Retry  Kind = 4 // server to client: say Hello again with this token
	Refuse Kind = 5 // server to client: no, with a code and a reason
	Reset  Kind = 6 // either way: the session that you named is not known here
)

// Sizes, in bytes.
const (
	DataHeaderBytes  = 32
	FrameHeaderBytes = 16
	// ChecksumBytes closes every packet in insecure mode: CRC32C over all before it.
	ChecksumBytes = 4
	// TagBytes closes a sealed packet in the checksum's place.
	TagBytes = 16
	// Overhead is all that surrounds a small unary message in an established session, checksum or tag not counted.
	Overhead = DataHeaderBytes + FrameHeaderBytes
)

// Flags of a data packet, its second byte.
const (
	FlagPhase  = 1 << 0 // the key phase, for sealed packets
	FlagAck    = 1 << 1 // AckDelay, AckLargest and AckBits are valid
	FlagCE     = 1 << 2 // of the packets acknowledged here for the first time, some bore the mark CE (RFC 3168, section 5)
	FlagAckNow = 1 << 3 // the sender waits for the acknowledgement: its window is full
)

// DataHeader opens a data packet:
//
//	 0      1      2             4                         8
//	+------+------+-------------+-------------------------+
//	|ver|kd| flags| ack delay µs| packet number, low 32   |
//	+------+------+-------------+-------------------------+
//	| receiver's session: engine 12 | index 20 | gen 32   |
//	+---------------------------+-------------------------+
//	| largest received, low 32  | send stamp, µs          |
//	+---------------------------+-------------------------+
//	| bit i: packet largest-1-i was received too          |
//	+-----------------------------------------------------+
type DataHeader struct {
	Flags      uint8
	AckDelay   uint16 // between receiving AckLargest and sending this, µs, saturating
	Number     uint32
	Session    uint64
	AckLargest uint32
	Stamp      uint32 // the sender's clock, µs, modulo 2³²
	AckBits    uint64
}

// Put writes h over the first DataHeaderBytes of b.
func (h *DataHeader) Put(b []byte) {
	_ = b[DataHeaderBytes-1]
	b[0] = Version<<4 | uint8(Data)
	b[1] = h.Flags
	binary.LittleEndian.PutUint16(b[2:], h.AckDelay)
	binary.LittleEndian.PutUint32(b[4:], h.Number)
	binary.LittleEndian.PutUint64(b[8:], h.Session)
	binary.LittleEndian.PutUint32(b[16:], h.AckLargest)
	binary.LittleEndian.PutUint32(b[20:], h.Stamp)
	binary.LittleEndian.PutUint64(b[24:], h.AckBits)
}

// Parse reads a data packet's header. It is false when b is too short to be one with a checksum.
func (h *DataHeader) Parse(b []byte) bool {
	if len(b) < DataHeaderBytes+ChecksumBytes {
		return false
	}
	h.Flags = b[1]
	h.AckDelay = binary.LittleEndian.Uint16(b[2:])
	h.Number = binary.LittleEndian.Uint32(b[4:])
	h.Session = binary.LittleEndian.Uint64(b[8:])
	h.AckLargest = binary.LittleEndian.Uint32(b[16:])
	h.Stamp = binary.LittleEndian.Uint32(b[20:])
	h.AckBits = binary.LittleEndian.Uint64(b[24:])
	return true
}

// KindOf tells what a packet is; 0 when it is none of this version.
func KindOf(b []byte) Kind {
	if len(b) == 0 || b[0]>>4 != Version {
		return 0
	}
	return Kind(b[0] & 15)
}

// SessionOf reads the receiver's session ID, which stands at the same place in every kind of packet. b holds at least 16 bytes.
func SessionOf(b []byte) uint64 { return binary.LittleEndian.Uint64(b[8:]) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Sum writes the checksum of b's packet over its last ChecksumBytes.
func Sum(b []byte) {
	n := len(b) - ChecksumBytes
	binary.LittleEndian.PutUint32(b[n:], crc32.Checksum(b[:n], castagnoli))
}

// Verify cuts the checksum off a packet; false when it is wrong or not there.
func Verify(b []byte) ([]byte, bool) {
	n := len(b) - ChecksumBytes
	if n < 0 || binary.LittleEndian.Uint32(b[n:]) != crc32.Checksum(b[:n], castagnoli) {
		return nil, false
	}
	return b[:n], true
}

// Expand completes a packet number's low 32 bits to the full number nearest to expected (RFC 9000, appendix A.3).
func Expand(low uint32, expected uint64) uint64 {
	n := expected&^0xffffffff | uint64(low)
	switch {
	case n < expected && expected-n >= 1<<31 && n < 1<<64-1<<32:
		return n + 1<<32
	case n > expected && n-expected > 1<<31 && n >= 1<<32:
		return n - 1<<32
	}
	return n
}
