package dissect

import (
	"fmt"

	"github.com/fastrpc/fastrpc/transport/wire"
)

// Frame is one frame of a data packet. What precedes a message's bytes is taken off its payload.
type Frame struct {
	wire.Frame        // Payload: what was captured of it
	Length     int    // of the payload as sent, len(Payload) or more
	Total      uint32 // Request, Reply, Message with FlagMore: the message's length
	Number     uint32 // Fragment with FlagStream: the message's number
	PrefixCut  bool   // the capture ends before the total or the number does, which is 0 here
}

// opensWithTotal tells whether the message's length precedes its bytes.
func (f *Frame) opensWithTotal() bool {
	return f.Flags&wire.FlagMore != 0 && (f.Type == wire.Request || f.Type == wire.Reply || f.Type == wire.Message)
}

// opensWithNumber tells whether the message's number precedes its bytes.
func (f *Frame) opensWithNumber() bool {
	return f.Type == wire.Fragment && f.Flags&wire.FlagStream != 0
}

// remote tells where the part lies that a Fragment with FlagRemote is about.
func (f *Frame) remote() (r wire.Remote, ok bool) {
	if f.Type != wire.Fragment || f.Flags&wire.FlagRemote == 0 {
		return r, false
	}
	return f.Remote()
}

// decodeData reads the header and walks over the frames, to the first that is malformed or of which the capture does not hold the header.
func (p *Packet) decodeData() {
	var header [wire.DataHeaderBytes + wire.ChecksumBytes]byte // Parse wants a checksum behind the header, which may not be captured
	copy(header[:], p.Contents)
	p.Header.Parse(header[:])
	b, length := p.body(wire.DataHeaderBytes)
	for length > 0 {
		if length < wire.FrameHeaderBytes {
			p.Malformed = many(length, "byte") + " behind the last frame"
			return
		}
		if len(b) < wire.FrameHeaderBytes {
			return
		}
		var f Frame
		n := f.ReadHeader(b)
		b, length = b[wire.FrameHeaderBytes:], length-wire.FrameHeaderBytes
		if !f.Type.Known() {
			p.Malformed = fmt.Sprintf("frame %d: type %d is not known", len(p.Frames)+1, uint8(f.Type))
			return
		}
		if n > length {
			p.Malformed = fmt.Sprintf("frame %d: %v with a payload of %d bytes, where %d are left", len(p.Frames)+1, f.Type, n, length)
			return
		}
		captured := min(n, len(b))
		f.Payload, f.Length = b[:captured:captured], n
		b, length = b[captured:], length-n
		if !f.cutPrefix() {
			p.Malformed = fmt.Sprintf("frame %d: %v with a payload of %d bytes, too few for what precedes the message", len(p.Frames)+1, f.Type, n)
			return
		}
		p.Frames = append(p.Frames, f)
	}
}

// cutPrefix takes what precedes the message's bytes off the payload; false when the payload was sent too short for it.
func (f *Frame) cutPrefix() bool {
	var n int
	ok := true
	switch {
	case f.opensWithTotal():
		n = wire.TotalBytes
		f.Total, ok = f.CutTotal()
	case f.opensWithNumber():
		n = wire.NumberBytes
		f.Number, ok = f.CutNumber()
	}
	if !ok {
		f.PrefixCut, f.Payload = true, nil
	}
	f.Length -= n
	return f.Length >= 0
}
