package wire

import "encoding/binary"

// FrameType tells the frames of a data packet apart.
type FrameType uint8

// The frames. A message that does not fit into one packet begins with a Request, Reply or Message frame that has FlagMore, whose payload
// opens with the message's total length (4 bytes), and goes on in Fragment frames of any length; they may arrive in any order.
const (
	// Request opens a call. A: the method's number; B: remaining time in µs, 0 for no deadline. With FlagStream it opens a stream and has no
	// payload but metadata: the stream's messages follow in Message frames.
	Request FrameType = 1
	// Reply ends a call. A: the status code. With FlagStream it is the trailer of a stream; B: how many messages the server sent before it.
	Reply FrameType = 2
	// Fragment is a later part of a message, from the client the request's, from the server the reply's. A: offset; B: total length. With
	// FlagStream the payload opens with the number of the stream's message that it belongs to (4 bytes).
	Fragment FrameType = 3
	// Probe asks the server for the state of a call: a finished one's reply is sent again.
	Probe FrameType = 4
	// Cancel ends a call or stream that the other end still works on. A: a status code.
	Cancel FrameType = 5
	// Ping asks for an acknowledgement.
	Ping FrameType = 6
	// Close ends the session. A: a status code; the payload says why.
	Close FrameType = 7
	// Grant allows the sender of a long message to send its bytes below A, an offset that never moves back. B: the number of the message on
	// its stream, with FlagStream; 0 for a unary message.
	Grant FrameType = 8
	// Message is one message of a stream, or with FlagMore its first part. A: its number in its direction, from 0.
	Message FrameType = 9
	// End says that the client sends no more messages on a stream. A: how many it sent.
	End FrameType = 10
	// Window allows messages on a stream with numbers below A, which never moves back.
	Window FrameType = 11
	// Challenge asks a client that came from a new address to return A and B, 64 random bits, from there.
	Challenge FrameType = 12
	// Response returns A and B of a Challenge.
	Response FrameType = 13
	// Fetched says that the piece with the number A, which a Fragment with FlagRemote told of, is not read any more. B: 1 if its bytes are
	// there, 0 if they are to be sent in packets.
	Fetched FrameType = 14

	maxFrameType = Fetched
)

// Flags of a frame.
const (
	FlagMore        = 1 << 0 // Request, Reply, Message: fragments follow
	FlagNotExecuted = 1 << 1 // Reply and its Fragments: refused before the handler ran
	FlagStream      = 1 << 2 // Request, Reply, Fragment, Grant: of a stream
	FlagMetadata    = 1 << 3 // Request, Reply: the message ends in metadata; Message: it is nothing else, the server's header
	FlagRemote      = 1 << 4 // Grant: parts may lie in the sender's memory; Fragment: one does, and the payload says where
)

// What precedes the bytes of a message in some payloads.
const (
	TotalBytes  = 4 // the message's total length, in a frame with FlagMore
	NumberBytes = 4 // the message's number, in a Fragment with FlagStream
)

// RemoteBytes is the length of a Remote, in a Fragment with FlagRemote.
const RemoteBytes = 20

// Remote says where a part of a message lies in its sender's memory:
//
//	 0                           4                         8
//	+---------------------------+-------------------------+
//	| length                    | piece: its number       |
//	+---------------------------+-------------------------+
//	| address                                             |
//	+---------------------------+-------------------------+
//	| key                       |
type Remote struct {
	Length uint32
	Piece  uint32
	Addr   uint64
	Key    uint32
}

// Put writes r over the first RemoteBytes of b.
func (r *Remote) Put(b []byte) {
	_ = b[RemoteBytes-1]
	binary.LittleEndian.PutUint32(b, r.Length)
	binary.LittleEndian.PutUint32(b[4:], r.Piece)
	binary.LittleEndian.PutUint64(b[8:], r.Addr)
	binary.LittleEndian.PutUint32(b[16:], r.Key)
}

// Remote reads the payload of a Fragment with FlagRemote, from which CutNumber has taken what stands before it; false when it is no Remote.
func (f *Frame) Remote() (r Remote, ok bool) {
	b := f.Payload
	if len(b) != RemoteBytes {
		return Remote{}, false
	}
	return Remote{
		Length: binary.LittleEndian.Uint32(b), Piece: binary.LittleEndian.Uint32(b[4:]),
		Addr: binary.LittleEndian.Uint64(b[8:]), Key: binary.LittleEndian.Uint32(b[16:]),
	}, true
}

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
	n := FrameHeaderBytes + f.ReadHeader(b)
	if n > len(b) {
		return nil, false
	}
	f.Payload = b[FrameHeaderBytes:n:n]
	return b[n:], f.Type.Known()
}

// ReadHeader reads a frame's header, the first FrameHeaderBytes of b, as it stands, and returns the payload's length; f.Payload stays as it
// was. It is for those who look at packets that Next refuses.
func (f *Frame) ReadHeader(b []byte) (length int) {
	_ = b[FrameHeaderBytes-1]
	f.Type = FrameType(b[0])
	f.Flags = b[1]
	f.Call = binary.LittleEndian.Uint32(b[4:])
	f.A = binary.LittleEndian.Uint32(b[8:])
	f.B = binary.LittleEndian.Uint32(b[12:])
	return int(binary.LittleEndian.Uint16(b[2:]))
}

// CutTotal takes the total length off the payload of a frame with FlagMore.
func (f *Frame) CutTotal() (total uint32, ok bool) { return f.cut() }

// Total is what CutTotal would return, 0 where the frame has no FlagMore or is too short for it.
func (f *Frame) Total() uint32 {
	if f.Flags&FlagMore == 0 || len(f.Payload) < TotalBytes {
		return 0
	}
	return binary.LittleEndian.Uint32(f.Payload)
}

// CutNumber takes the message's number off the payload of a Fragment with FlagStream.
func (f *Frame) CutNumber() (number uint32, ok bool) { return f.cut() }

func (f *Frame) cut() (v uint32, ok bool) {
	if len(f.Payload) < 4 {
		return 0, false
	}
	v = binary.LittleEndian.Uint32(f.Payload)
	f.Payload = f.Payload[4:]
	return v, true
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
