package dissect

import (
	"encoding/json"
	"fmt"

	"github.com/fastrpc/fastrpc/transport/wire"
)

// packetJSON is a packet's JSON form. Session IDs and other 64-bit numbers are in hexadecimal, because JSON's readers keep 53 bits.
type packetJSON struct {
	Kind        string       `json:"kind"`
	Length      int          `json:"length"`
	Captured    int          `json:"captured"`
	Checksum    string       `json:"checksum"`
	To          string       `json:"to,omitempty"` // the receiver's session ID
	Number      *uint32      `json:"number,omitempty"`
	Phase       *uint8       `json:"phase,omitempty"`
	StampMicros *uint32      `json:"stamp_us,omitempty"`
	Ack         *ackJSON     `json:"ack,omitempty"`
	Limits      *limitsJSON  `json:"handshake,omitempty"`
	Frames      []*frameJSON `json:"frames,omitempty"`
	Malformed   string       `json:"malformed,omitempty"`
}

type ackJSON struct {
	Largest     uint32 `json:"largest"`
	Bits        string `json:"bits"`
	DelayMicros uint16 `json:"delay_us"`
	CE          bool   `json:"ce"`
}

type limitsJSON struct {
	Security       string `json:"security"`
	From           string `json:"from"` // the sender's session ID; in a Reset, the one that is not known
	Incarnation    string `json:"incarnation"`
	Echo           string `json:"echo"`
	Calls          uint32 `json:"calls"`
	MaxMessage     uint32 `json:"max_message"`
	MaxPacket      uint16 `json:"max_packet"`
	IdleSeconds    uint16 `json:"idle_s"`
	AckDelayMicros uint32 `json:"ack_delay_us"`
	StreamWindow   uint16 `json:"stream_window"`
	Code           string `json:"code,omitempty"`
	Reason         string `json:"reason,omitempty"`
	Payload        int    `json:"payload"` // bytes as sent
}

type frameJSON struct {
	Type        string  `json:"type"`
	Slot        *uint32 `json:"slot,omitempty"`
	Seq         *uint32 `json:"seq,omitempty"`
	Stream      bool    `json:"stream,omitempty"`
	More        bool    `json:"more,omitempty"`
	NotExecuted bool    `json:"not_executed,omitempty"`
	Metadata    bool    `json:"metadata,omitempty"`
	Method      *uint32 `json:"method,omitempty"`
	LeftMicros  *uint32 `json:"left_us,omitempty"` // absent: no deadline
	Code        string  `json:"code,omitempty"`
	Reason      string  `json:"reason,omitempty"`
	Message     *uint32 `json:"message,omitempty"`  // a message's number on its stream
	Messages    *uint32 `json:"messages,omitempty"` // End, trailer: how many were sent; Window: the first number that is not allowed
	Offset      *uint32 `json:"offset,omitempty"`
	Total       *uint32 `json:"total,omitempty"`
	Limit       *uint32 `json:"limit,omitempty"`  // Grant: the first byte that is not allowed
	Remote      bool    `json:"remote,omitempty"` // Grant: may be fetched; Fragment: lies in the sender's memory; Fetched: wanted in packets if absent
	Piece       *uint32 `json:"piece,omitempty"`
	Data        string  `json:"data,omitempty"` // Challenge, Response
	Bytes       int     `json:"bytes"`          // of the message, as sent
	Captured    int     `json:"captured"`
}

// MarshalJSON implements json.Marshaler: an object with the fields that the packet's kind has. docs/protocol.md names their meaning.
func (p *Packet) MarshalJSON() ([]byte, error) {
	j := packetJSON{Kind: p.Kind.String(), Length: p.Length, Captured: len(p.Contents), Checksum: p.Checksum.String(), Malformed: p.Malformed}
	switch {
	case p.HeaderCut:
		if len(p.Contents) >= 16 {
			j.To = hex(p.Header.Session)
		}
	case p.Kind == wire.Data:
		h := p.Header
		phase := h.Flags & wire.FlagPhase
		j.To, j.Number, j.Phase, j.StampMicros = hex(h.Session), &h.Number, &phase, &h.Stamp
		if h.Flags&wire.FlagAck != 0 {
			j.Ack = &ackJSON{Largest: h.AckLargest, Bits: hex(h.AckBits), DelayMicros: h.AckDelay, CE: h.Flags&wire.FlagCE != 0}
		}
		for i := range p.Frames {
			j.Frames = append(j.Frames, p.Frames[i].json())
		}
	default:
		h := &p.Handshake
		j.To = hex(h.Session)
		j.Limits = &limitsJSON{
			Security: h.Security.String(), From: hex(h.Source), Incarnation: hex(h.Incarnation), Echo: hex(h.Echo), Calls: h.Calls,
			MaxMessage: h.MaxMessage, MaxPacket: h.MaxPacket, IdleSeconds: h.IdleSeconds, AckDelayMicros: h.AckDelay,
			StreamWindow: h.StreamWindow, Payload: p.PayloadLength,
		}
		if p.Kind == wire.Refuse {
			j.Limits.Code, j.Limits.Reason = codeName(h.Code), string(h.Payload)
		}
	}
	return json.Marshal(j)
}

// MarshalJSON implements json.Marshaler, as Packet's does.
func (f *Frame) MarshalJSON() ([]byte, error) { return json.Marshal(f.json()) }

func (f *Frame) json() *frameJSON {
	j := &frameJSON{
		Type: f.Type.String(), Stream: f.Flags&wire.FlagStream != 0, More: f.opensWithTotal(), NotExecuted: f.Flags&wire.FlagNotExecuted != 0,
		Metadata: f.Flags&wire.FlagMetadata != 0 && (f.Type == wire.Request || f.Type == wire.Reply || f.Type == wire.Message),
		Bytes:    f.Length, Captured: len(f.Payload),
	}
	if f.ofCall() {
		slot, seq := wire.SlotOf(f.Call), wire.SeqOf(f.Call)
		j.Slot, j.Seq = &slot, &seq
	}
	a, b, number, total := f.A, f.B, f.Number, f.Total
	if j.More && !f.PrefixCut {
		j.Total = &total
	}
	switch f.Type {
	case wire.Request:
		j.Method = &a
		if b != 0 {
			j.LeftMicros = &b
		}
	case wire.Reply:
		j.Code = codeName(a)
		if j.Stream {
			j.Messages = &b
		}
		if a != 0 && !j.Metadata {
			j.Reason = string(f.Payload)
		}
	case wire.Fragment:
		j.Offset, j.Total = &a, &b
		if r, ok := f.remote(); ok {
			j.Remote, j.Piece, j.Bytes = true, &r.Piece, int(r.Length)
		}
		if j.Stream && !f.PrefixCut {
			j.Message = &number
		}
	case wire.Cancel:
		if a != 0 {
			j.Code = codeName(a)
		}
	case wire.Close:
		j.Code, j.Reason = codeName(a), string(f.Payload)
	case wire.Grant:
		j.Limit, j.Remote = &a, f.Flags&wire.FlagRemote != 0
		if j.Stream {
			j.Message = &b
		}
	case wire.Fetched:
		j.Piece, j.Remote = &a, b != 0
	case wire.Message:
		j.Message = &a
	case wire.End, wire.Window:
		j.Messages = &a
	case wire.Challenge, wire.Response:
		j.Data = hex(f.challenge())
	}
	return j
}

func hex(v uint64) string { return fmt.Sprintf("%016x", v) }
