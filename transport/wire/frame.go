package wire

import "encoding/binary"

// FrameType tells the frames of a data packet apart.
type FrameType uint8

// The frames. A message that does not fit into one packet begins with a Request or Reply frame that has FlagMore, whose payload opens with
// the message's total length (4 bytes), and goes on in Fragment frames; they may arrive in any order.
const (
	// Request opens a call. A: the method's number; B: remaining time in µs, 0 for no deadline.
	Request FrameType = 1
	// Reply ends a call. A: the status code.
	Reply FrameType = 2
	// Fragment is a later part of a message, from the client the request's, from the server the reply's. A: offset; B: total length.
	Fragment FrameType = 3
	// Probe asks the server to send a finished call's reply again.
	Probe FrameType = 4
	// Cancel tells the server that nobody waits for the call any more.
	Cancel FrameType = 5
	// Ping asks for an acknowledgement.
	Ping FrameType = 6
	// Close ends the session. A: a status code; the payload says why.
	Close FrameType = 7

	maxFrameType = Close
)

// Flags of a frame.
const (
	FlagMore        = 1 << 0 // Request, Reply: fragments follow
	FlagNotExecuted = 1 << 1 // Reply: refused before the handler ran
)

// TotalBytes is the length of the total that precedes the payload of a frame with FlagMore.
const TotalBytes = 4

// Frame is one frame of a data packet:
//
//	 0      1      2             4                         8
//	+------+------+-------------+-------------------------+
//	| type | flags| length      | call: slot 12 | seq 20  |
//	+------+------+-------------+-------------------------+
//	| A                         | B                       |
//	+---------------------------+-------------------------+
//	| payload, length bytes                               |
type Frame struct {
	Type    FrameType
	Flags   uint8
	Call    uint32
	A, B    uint32
	Payload []byte
}

// Put writes f's header over the first FrameHeaderBytes of b; length is the payload's, which the caller puts behind it.
func (f *Frame) Put(b []byte, length int) {
	_ = b[FrameHeaderBytes-1]
	b[0] = uint8(f.Type)
	b[1] = f.Flags
	binary.LittleEndian.PutUint16(b[2:], uint16(length))
	binary.LittleEndian.PutUint32(b[4:], f.Call)
	binary.LittleEndian.PutUint32(b[8:], f.A)
	binary.LittleEndian.PutUint32(b[12:], f.B)
}

// Next reads the first frame of b, the frames of a verified packet, and returns what is behind it; false when b does not hold a whole
// frame of a known type.
func (f *Frame) Next(b []byte) (rest []byte, ok bool) {
	if len(b) < FrameHeaderBytes {
		return nil, false
	}
	n := FrameHeaderBytes + int(binary.LittleEndian.Uint16(b[2:]))
	if n > len(b) {
		return nil, false
	}
	f.Type = FrameType(b[0])
	f.Flags = b[1]
	f.Call = binary.LittleEndian.Uint32(b[4:])
	f.A = binary.LittleEndian.Uint32(b[8:])
	f.B = binary.LittleEndian.Uint32(b[12:])
	f.Payload = b[FrameHeaderBytes:n:n]
	return b[n:], f.Type >= Request && f.Type <= maxFrameType
}

// CutTotal takes the total length off the payload of a frame with FlagMore.
func (f *Frame) CutTotal() (total uint32, ok bool) {
	if len(f.Payload) < TotalBytes {
		return 0, false
	}
	total = binary.LittleEndian.Uint32(f.Payload)
	f.Payload = f.Payload[TotalBytes:]
	return total, true
}

// A call's number holds its slot, below Slots, and the slot's sequence number, which grows by one with each call in it.
const (
	SlotBits = 12
	Slots    = 1 << SlotBits
	SeqMask  = 1<<(32-SlotBits) - 1
)

// CallID joins a slot and a sequence number.
func CallID(slot, seq uint32) uint32 { return slot<<(32-SlotBits) | seq&SeqMask }

// SlotOf and SeqOf take a call's number apart.
func SlotOf(call uint32) uint32 { return call >> (32 - SlotBits) }

// SeqOf returns the sequence number of a call's number.
func SeqOf(call uint32) uint32 { return call & SeqMask }

// SeqAfter tells whether a comes after b, modulo the sequence numbers' range.
func SeqAfter(a, b uint32) bool { d := (a - b) & SeqMask; return d != 0 && d < (SeqMask+1)/2 }
