package dissect

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/fastrpc/fastrpc/transport/wire"
)

// quotedBytes is how much of a reason is shown.
const quotedBytes = 256

// String returns one line on the packet and, indented by two spaces, one on each frame and on what is wrong, without a newline at the end.
// No byte of the packet gets into it unquoted.
func (p *Packet) String() string {
	var b strings.Builder
	switch {
	case p.HeaderCut:
		fmt.Fprintf(&b, "%v", p.Kind)
		if len(p.Contents) >= 16 {
			fmt.Fprintf(&b, " to %016x", p.Handshake.Session)
		}
	case p.Kind == wire.Data:
		p.writeHeader(&b)
	default:
		p.writeHandshake(&b)
	}
	if p.Checksum == ChecksumWrong {
		b.WriteString(", checksum wrong")
	}
	if len(p.Contents) < p.Length {
		fmt.Fprintf(&b, ", %d of %s captured", len(p.Contents), many(p.Length, "byte"))
	}
	for i := range p.Frames {
		b.WriteString("\n  ")
		b.WriteString(p.Frames[i].String())
	}
	if p.Malformed != "" {
		b.WriteString("\n  malformed: ")
		b.WriteString(p.Malformed)
	}
	return b.String()
}

func (p *Packet) writeHeader(b *strings.Builder) {
	h := &p.Header
	fmt.Fprintf(b, "Data to %016x #%d", h.Session, h.Number)
	if h.Flags&wire.FlagPhase != 0 {
		b.WriteString(" phase 1")
	}
	if h.Flags&wire.FlagAck != 0 {
		fmt.Fprintf(b, " ack %d(+%d) delay %v", h.AckLargest, bits.OnesCount64(h.AckBits), micros(uint32(h.AckDelay)))
	}
	if h.Flags&wire.FlagCE != 0 {
		b.WriteString(" CE")
	}
}

func (p *Packet) writeHandshake(b *strings.Builder) {
	h := &p.Handshake
	b.WriteString(p.Kind.String())
	if p.Kind == wire.Reset {
		fmt.Fprintf(b, ": %016x is not known", h.Source)
		return
	}
	if p.Kind != wire.Hello {
		fmt.Fprintf(b, " to %016x", h.Session)
	}
	if p.Kind == wire.Hello || p.Kind == wire.Accept {
		fmt.Fprintf(b, " from %016x %v, %s, messages to %d bytes, packets to %d, idle %ds, ack delay %v, stream window %d",
			h.Source, h.Security, many(h.Calls, "call"), h.MaxMessage, h.MaxPacket, h.IdleSeconds, micros(h.AckDelay), h.StreamWindow)
	}
	switch {
	case p.Kind == wire.Refuse:
		fmt.Fprintf(b, ": %s %s", codeName(h.Code), quote(h.Payload))
	case p.PayloadLength > 0:
		fmt.Fprintf(b, ", payload of %s", many(p.PayloadLength, "byte"))
	}
}

// String returns one line, without indentation or newline.
func (f *Frame) String() string {
	var b strings.Builder
	b.WriteString(f.Type.String())
	if f.ofCall() {
		fmt.Fprintf(&b, " slot %d seq %d", wire.SlotOf(f.Call), wire.SeqOf(f.Call))
	}
	stream := f.Flags&wire.FlagStream != 0
	switch f.Type {
	case wire.Request:
		fmt.Fprintf(&b, " method %d, ", f.A)
		if f.B == 0 {
			b.WriteString("no deadline")
		} else {
			fmt.Fprintf(&b, "%v left", micros(f.B))
		}
		if stream {
			b.WriteString(", opens a stream")
		}
		f.writeMetadata(&b)
		if !stream || f.Length > 0 {
			f.writeMessage(&b)
		}
	case wire.Reply:
		b.WriteByte(' ')
		b.WriteString(codeName(f.A))
		if f.Flags&wire.FlagNotExecuted != 0 {
			b.WriteString(", not executed")
		}
		if stream {
			fmt.Fprintf(&b, ", ends a stream after %s", many(f.B, "message"))
		}
		f.writeMetadata(&b)
		if !stream || f.Length > 0 {
			f.writeMessage(&b)
		}
		if f.A != 0 && len(f.Payload) > 0 && f.Flags&wire.FlagMetadata == 0 {
			fmt.Fprintf(&b, " %s", quote(f.Payload))
		}
	case wire.Fragment:
		if stream && !f.PrefixCut {
			fmt.Fprintf(&b, " message %d", f.Number)
		}
		if r, ok := f.remote(); ok {
			fmt.Fprintf(&b, ", bytes %d to %d of %d, in the sender's memory as piece %d", f.A, uint64(f.A)+uint64(r.Length), f.B, r.Piece)
		} else {
			fmt.Fprintf(&b, ", bytes %d to %d of %d", f.A, uint64(f.A)+uint64(f.Length), f.B)
		}
	case wire.Cancel:
		if f.A != 0 {
			fmt.Fprintf(&b, " %s", codeName(f.A))
		}
	case wire.Close:
		fmt.Fprintf(&b, " %s", codeName(f.A))
		if f.Length > 0 {
			fmt.Fprintf(&b, " %s", quote(f.Payload))
		}
	case wire.Grant:
		if stream {
			fmt.Fprintf(&b, " message %d", f.B)
		}
		fmt.Fprintf(&b, " bytes below %d", f.A)
		if f.Flags&wire.FlagRemote != 0 {
			b.WriteString(", may be fetched")
		}
	case wire.Fetched:
		fmt.Fprintf(&b, " piece %d", f.A)
		if f.B == 0 {
			b.WriteString(", wanted in packets")
		}
	case wire.Message:
		fmt.Fprintf(&b, " number %d", f.A)
		f.writeMetadata(&b)
		f.writeMessage(&b)
	case wire.End:
		fmt.Fprintf(&b, " after %s", many(f.A, "message"))
	case wire.Window:
		fmt.Fprintf(&b, " messages below %d", f.A)
	case wire.Challenge, wire.Response:
		fmt.Fprintf(&b, " %016x", f.challenge())
	}
	if len(f.Payload) < f.Length || f.PrefixCut {
		fmt.Fprintf(&b, " (%d captured)", len(f.Payload))
	}
	return b.String()
}

// writeMetadata tells whether metadata goes with the message.
func (f *Frame) writeMetadata(b *strings.Builder) {
	switch {
	case f.Flags&wire.FlagMetadata == 0:
	case f.Type == wire.Message:
		b.WriteString(", the header")
	default:
		b.WriteString(", with metadata")
	}
}

// writeMessage tells how much of a message the frame holds.
func (f *Frame) writeMessage(b *strings.Builder) {
	switch {
	case !f.opensWithTotal():
		fmt.Fprintf(b, ", %s", many(f.Length, "byte"))
	case f.PrefixCut:
		fmt.Fprintf(b, ", the first %s", many(f.Length, "byte"))
	default:
		fmt.Fprintf(b, ", the first %d of %d bytes", f.Length, f.Total)
	}
}

// ofCall tells whether the frame belongs to a call or stream, and not to the session.
func (f *Frame) ofCall() bool {
	switch f.Type {
	case wire.Ping, wire.Close, wire.Challenge, wire.Response, wire.Fetched:
		return false
	}
	return true
}

// challenge is the number in a Challenge or a Response, in the byte order of all numbers.
func (f *Frame) challenge() uint64 { return uint64(f.B)<<32 | uint64(f.A) }

func many[N int | uint32](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func micros(us uint32) time.Duration { return time.Duration(us) * time.Microsecond }

func quote(b []byte) string { return strconv.QuoteToGraphic(string(b[:min(len(b), quotedBytes)])) }

// Status codes are gRPC's: https://grpc.io/docs/guides/status-codes/
var codeNames = [...]string{"OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied",
	"ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated"}

func codeName(c uint32) string {
	if c < uint32(len(codeNames)) {
		return codeNames[c]
	}
	return fmt.Sprintf("Code(%d)", c)
}
