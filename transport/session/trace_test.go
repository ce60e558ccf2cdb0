package session_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/sim"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// tracer writes down what becomes of the packets of a stage, and whatever a test notes between them.
type tracer struct {
	net   *sim.Network
	names map[netip.AddrPort]string
	began transport.Time
	lines []string
}

// listen hears of all that happens in a network from now on.
func (tr *tracer) listen(n *sim.Network, names map[netip.AddrPort]string) {
	tr.net, tr.names, tr.began = n, names, n.Now()
	n.Trace(func(r sim.TraceRecord) {
		what := fmt.Sprintf("#%d %s > %s %v", r.Number, tr.name(r.From), tr.name(r.To), r.Fate)
		if r.Fate == sim.Sent {
			what = fmt.Sprintf("%-30s %s", what, describePacket(r.Packet))
		}
		tr.note("%s", what)
	})
}

func (tr *tracer) name(a netip.AddrPort) string {
	if name, ok := tr.names[a]; ok {
		return name
	}
	return a.String()
}

// note writes a line of the test's own.
func (tr *tracer) note(format string, args ...any) {
	at := float64(tr.net.Now().Sub(tr.began)) / float64(time.Millisecond)
	tr.lines = append(tr.lines, fmt.Sprintf("%11.3f ms  ", at)+fmt.Sprintf(format, args...))
}

// String is the trace, without its middle when it is long.
func (tr *tracer) String() string {
	const ends = 60
	lines := tr.lines
	if n := len(lines); n > 2*ends {
		lines = append(append(lines[:ends:ends], fmt.Sprintf("   ... %d lines ...", n-2*ends)), lines[n-ends:]...)
	}
	return strings.Join(lines, "\n")
}

// describePacket says in a line what is in a packet.
func describePacket(b []byte) string {
	if _, ok := wire.Verify(b); !ok {
		return fmt.Sprintf("damaged, %d bytes", len(b))
	}
	var h wire.Handshake
	if h.Parse(b) {
		s := fmt.Sprintf("%v source %x incarnation %d", h.Kind, h.Source, h.Incarnation)
		if h.Kind == wire.Refuse {
			s += fmt.Sprintf(" code %d %q", h.Code, h.Payload)
		}
		return s
	}
	var hd wire.DataHeader
	if wire.KindOf(b) != wire.Data || !hd.Parse(b) {
		return fmt.Sprintf("of no known kind, %d bytes", len(b))
	}
	s := fmt.Sprintf("#%d", hd.Number)
	if hd.Flags&wire.FlagAck != 0 {
		s += " ack " + describeAck(&hd)
	}
	var fr wire.Frame
	for rest := b[wire.DataHeaderBytes : len(b)-wire.ChecksumBytes]; len(rest) > 0; {
		var ok bool
		if rest, ok = fr.Next(rest); !ok {
			return s + "  and something that is no frame"
		}
		s += "  " + describeFrame(&fr)
	}
	return s
}

// describeAck lists what a header acknowledges, as ranges, the latest first.
func describeAck(hd *wire.DataHeader) string {
	var s []string
	for low, high := hd.AckLargest, hd.AckLargest; ; low, high = low-1, low-1 {
		for ; low > 0 && hd.AckLargest-low < 64 && hd.AckBits>>(hd.AckLargest-low)&1 != 0; low-- {
		}
		if low == high {
			s = append(s, fmt.Sprint(low))
		} else {
			s = append(s, fmt.Sprintf("%d-%d", low, high))
		}
		for ; low > 0 && hd.AckLargest-low < 64 && hd.AckBits>>(hd.AckLargest-low)&1 == 0; low-- {
		}
		if low == 0 || hd.AckLargest-low >= 64 {
			return strings.Join(s, ",")
		}
	}
}

func describeFrame(fr *wire.Frame) string {
	s := fmt.Sprintf("%v %d.%d", fr.Type, wire.SlotOf(fr.Call), wire.SeqOf(fr.Call))
	switch fr.Type {
	case wire.Ping:
		return "Ping"
	case wire.Close:
		return fmt.Sprintf("Close code %d %q", fr.A, fr.Payload)
	case wire.Request:
		s += fmt.Sprintf(" method %d", fr.A)
		if fr.B != 0 {
			s += fmt.Sprintf(" within %v", time.Duration(fr.B)*time.Microsecond)
		}
	case wire.Reply:
		s += fmt.Sprintf(" code %d", fr.A)
		if fr.Flags&wire.FlagNotExecuted != 0 {
			s += " not executed"
		}
	case wire.Fragment:
		s += fmt.Sprintf(" from %d of %d", fr.A, fr.B)
	case wire.Probe, wire.Cancel:
		return s
	default:
		s += fmt.Sprintf(" %d %d", fr.A, fr.B)
	}
	s += fmt.Sprintf(", %d B", len(fr.Payload))
	if fr.Flags&wire.FlagMore != 0 {
		s += ", more"
	}
	return s
}

func TestDescribePacket(t *testing.T) {
	data := func(hd wire.DataHeader, frames ...wire.Frame) []byte {
		b := make([]byte, wire.DataHeaderBytes)
		hd.Put(b)
		for _, fr := range frames {
			n := len(b)
			b = append(append(b, make([]byte, wire.FrameHeaderBytes)...), fr.Payload...)
			fr.Put(b[n:], len(fr.Payload))
		}
		b = append(b, make([]byte, wire.ChecksumBytes)...)
		wire.Sum(b)
		return b
	}
	hello := make([]byte, 512)
	hello = hello[:(&wire.Handshake{Kind: wire.Hello, Source: 0xab, Incarnation: 3}).Put(hello)]
	ack := wire.DataHeader{Flags: wire.FlagAck, Number: 9, AckLargest: 7, AckBits: 0b110011}
	for _, c := range []struct {
		packet []byte
		want   string
	}{
		{hello, "Hello source ab incarnation 3"},
		{hello[:100], "damaged, 100 bytes"},
		{data(wire.DataHeader{Number: 1}, wire.Frame{Type: wire.Ping}), "#1  Ping"},
		{data(ack), "#9 ack 5-7,1-2"},
		{data(wire.DataHeader{Flags: wire.FlagAck, AckLargest: 3}), "#0 ack 3"},
		{data(wire.DataHeader{Number: 2}, wire.Frame{Type: wire.Request, Call: wire.CallID(4, 1), A: 7, B: 1500, Payload: []byte("abc")}, wire.Frame{Type: wire.Cancel, Call: 1}),
			"#2  Request 4.1 method 7 within 1.5ms, 3 B  Cancel 0.1"},
		{data(wire.DataHeader{}, wire.Frame{Type: 99}), "#0  and something that is no frame"},
	} {
		if got := describePacket(c.packet); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
