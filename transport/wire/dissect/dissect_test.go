package dissect

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/transport/wire"
)

const sessionID = 0x0300000a_1b2c3d4e

// data builds a data packet as it travels. A frame's payload is given whole, with what precedes the message.
func data(h wire.DataHeader, frames ...wire.Frame) []byte {
	b := make([]byte, wire.DataHeaderBytes)
	h.Put(b)
	for _, f := range frames {
		var header [wire.FrameHeaderBytes]byte
		f.Put(header[:], len(f.Payload))
		b = append(append(b, header[:]...), f.Payload...)
	}
	b = append(b, make([]byte, wire.ChecksumBytes)...)
	wire.Sum(b)
	return b
}

func handshake(h wire.Handshake) []byte {
	b := make([]byte, 2048)
	return b[:h.Put(b)]
}

var (
	plain  = wire.DataHeader{Session: sessionID, Number: 17}
	acking = wire.DataHeader{Session: sessionID, Number: 17, Flags: wire.FlagAck, AckLargest: 12, AckBits: 0b1011, AckDelay: 40}
	call   = wire.CallID(5, 9)
	hello  = wire.Handshake{Kind: wire.Hello, Source: sessionID, Calls: 1024, MaxMessage: 1 << 20, MaxPacket: 1472, IdleSeconds: 60, AckDelay: 20000, StreamWindow: 64}
)

func accept() wire.Handshake {
	h := hello
	h.Kind, h.Session, h.Source = wire.Accept, 0x0100000b_00c0ffee, sessionID
	return h
}

// samples is each kind of packet and each type of frame, and what is said of them. Of a sample with a cut, only so much is captured.
var samples = []struct {
	name   string
	packet []byte
	cut    int
	text   string
}{
	{"header", data(acking), 0, "Data to 0300000a1b2c3d4e #17 ack 12(+3) delay 40µs"},
	{"flags", data(wire.DataHeader{Session: 1, Flags: 7, AckDelay: 1500}), 0, "Data to 0000000000000001 #0 phase 1 ack 0(+0) delay 1.5ms CE"},
	{"request", data(plain, wire.Frame{Type: wire.Request, Call: call, A: 3, B: 950, Payload: make([]byte, 64)}), 0,
		"Data to 0300000a1b2c3d4e #17\n  Request slot 5 seq 9 method 3, 950µs left, 64 bytes"},
	{"long request", data(plain, wire.Frame{Type: wire.Request, Flags: wire.FlagMore, Call: call, A: 3, Payload: []byte{0, 1, 0, 0, 'x'}}), 0,
		"Data to 0300000a1b2c3d4e #17\n  Request slot 5 seq 9 method 3, no deadline, the first 1 of 256 bytes"},
	{"stream", data(plain,
		wire.Frame{Type: wire.Request, Flags: wire.FlagStream, Call: call, A: 3},
		wire.Frame{Type: wire.Message, Call: call, A: 0, Payload: make([]byte, 64)},
		wire.Frame{Type: wire.Message, Flags: wire.FlagMore, Call: call, A: 1, Payload: []byte{0, 1, 0, 0, 'x', 'y'}},
		wire.Frame{Type: wire.Fragment, Flags: wire.FlagStream, Call: call, A: 2, B: 256, Payload: []byte{1, 0, 0, 0, 'z'}},
		wire.Frame{Type: wire.Grant, Flags: wire.FlagStream, Call: call, A: 65536, B: 1},
		wire.Frame{Type: wire.Window, Call: call, A: 64},
		wire.Frame{Type: wire.End, Call: call, A: 2},
		wire.Frame{Type: wire.Reply, Flags: wire.FlagStream, Call: call, B: 1}), 0,
		`Data to 0300000a1b2c3d4e #17
  Request slot 5 seq 9 method 3, no deadline, opens a stream
  Message slot 5 seq 9 number 0, 64 bytes
  Message slot 5 seq 9 number 1, the first 2 of 256 bytes
  Fragment slot 5 seq 9 message 1, bytes 2 to 3 of 256
  Grant slot 5 seq 9 message 1 bytes below 65536
  Window slot 5 seq 9 messages below 64
  End slot 5 seq 9 after 2 messages
  Reply slot 5 seq 9 OK, ends a stream after 1 message`},
	{"call", data(plain,
		wire.Frame{Type: wire.Reply, Call: call, Payload: make([]byte, 64)},
		wire.Frame{Type: wire.Reply, Flags: wire.FlagNotExecuted, Call: call, A: 8, Payload: []byte("full\n")},
		wire.Frame{Type: wire.Fragment, Call: call, A: 1400, B: 3000, Payload: make([]byte, 1400)},
		wire.Frame{Type: wire.Grant, Call: call, A: 65536},
		wire.Frame{Type: wire.Probe, Call: call},
		wire.Frame{Type: wire.Cancel, Call: call},
		wire.Frame{Type: wire.Cancel, Call: call, A: 1}), 0,
		`Data to 0300000a1b2c3d4e #17
  Reply slot 5 seq 9 OK, 64 bytes
  Reply slot 5 seq 9 ResourceExhausted, not executed, 5 bytes "full\n"
  Fragment slot 5 seq 9, bytes 1400 to 2800 of 3000
  Grant slot 5 seq 9 bytes below 65536
  Probe slot 5 seq 9
  Cancel slot 5 seq 9
  Cancel slot 5 seq 9 Canceled`},
	{"metadata", data(plain,
		wire.Frame{Type: wire.Request, Flags: wire.FlagMetadata, Call: call, A: 3, Payload: make([]byte, 64)},
		wire.Frame{Type: wire.Request, Flags: wire.FlagStream | wire.FlagMetadata, Call: call, A: 3, Payload: make([]byte, 12)},
		wire.Frame{Type: wire.Message, Flags: wire.FlagMetadata, Call: call, Payload: make([]byte, 8)},
		wire.Frame{Type: wire.Reply, Flags: wire.FlagMetadata, Call: call, A: 8, Payload: []byte("full\n\x00\x00\x00\x00")}), 0,
		`Data to 0300000a1b2c3d4e #17
  Request slot 5 seq 9 method 3, no deadline, with metadata, 64 bytes
  Request slot 5 seq 9 method 3, no deadline, opens a stream, with metadata, 12 bytes
  Message slot 5 seq 9 number 0, the header, 8 bytes
  Reply slot 5 seq 9 ResourceExhausted, with metadata, 9 bytes`},
	{"fetched", data(plain,
		wire.Frame{Type: wire.Grant, Flags: wire.FlagRemote, Call: call, A: 65536},
		wire.Frame{Type: wire.Fragment, Flags: wire.FlagRemote, Call: call, A: 8000, B: 100_000, Payload: remoteBytes},
		wire.Frame{Type: wire.Fragment, Flags: wire.FlagRemote | wire.FlagStream, Call: call, A: 8000, B: 100_000, Payload: append([]byte{3, 0, 0, 0}, remoteBytes...)},
		wire.Frame{Type: wire.Fetched, A: 9, B: 1},
		wire.Frame{Type: wire.Fetched, A: 9}), 0,
		`Data to 0300000a1b2c3d4e #17
  Grant slot 5 seq 9 bytes below 65536, may be fetched
  Fragment slot 5 seq 9, bytes 8000 to 9000 of 100000, in the sender's memory as piece 9
  Fragment slot 5 seq 9 message 3, bytes 8000 to 9000 of 100000, in the sender's memory as piece 9
  Fetched piece 9
  Fetched piece 9, wanted in packets`},
	{"session", data(plain,
		wire.Frame{Type: wire.Ping},
		wire.Frame{Type: wire.Challenge, A: 0x89abcdef, B: 0x01234567},
		wire.Frame{Type: wire.Response, A: 0x89abcdef, B: 0x01234567},
		wire.Frame{Type: wire.Close, A: 99, Payload: []byte("\x1b[31mbye")}), 0,
		`Data to 0300000a1b2c3d4e #17
  Ping
  Challenge 0123456789abcdef
  Response 0123456789abcdef
  Close Code(99) "\x1b[31mbye"`},
	{"hello", handshake(hello), 0, "Hello from 0300000a1b2c3d4e insecure, 1024 calls, messages to 1048576 bytes, packets to 1472, idle 60s, ack delay 20ms, stream window 64"},
	{"accept", handshake(accept()), 0, "Accept to 0100000b00c0ffee from 0300000a1b2c3d4e insecure, 1024 calls, messages to 1048576 bytes, packets to 1472, idle 60s, ack delay 20ms, stream window 64"},
	{"retry", handshake(wire.Handshake{Kind: wire.Retry, Session: sessionID, Payload: make([]byte, 20)}), 0, "Retry to 0300000a1b2c3d4e, payload of 20 bytes"},
	{"refuse", handshake(wire.Handshake{Kind: wire.Refuse, Session: sessionID, Code: 8, Payload: []byte("too many sessions")}), 0,
		`Refuse to 0300000a1b2c3d4e: ResourceExhausted "too many sessions"`},
	{"reset", handshake(wire.Handshake{Kind: wire.Reset, Source: sessionID}), 0, "Reset: 0300000a1b2c3d4e is not known"},

	{"cut in a payload", data(plain, wire.Frame{Type: wire.Request, Call: call, A: 3, Payload: make([]byte, 64)}, wire.Frame{Type: wire.Ping}), 58,
		"Data to 0300000a1b2c3d4e #17, 58 of 132 bytes captured\n  Request slot 5 seq 9 method 3, no deadline, 64 bytes (10 captured)"},
	{"cut in a total", data(plain, wire.Frame{Type: wire.Message, Flags: wire.FlagMore, Call: call, A: 3, Payload: make([]byte, 64)}), 50,
		"Data to 0300000a1b2c3d4e #17, 50 of 116 bytes captured\n  Message slot 5 seq 9 number 3, the first 60 bytes (0 captured)"},
	{"cut in a number", data(plain, wire.Frame{Type: wire.Fragment, Flags: wire.FlagStream, Call: call, A: 3, B: 100, Payload: make([]byte, 64)}), 51,
		"Data to 0300000a1b2c3d4e #17, 51 of 116 bytes captured\n  Fragment slot 5 seq 9, bytes 3 to 63 of 100 (0 captured)"},
	{"cut in a frame's header", data(plain, wire.Frame{Type: wire.Ping}), 40, "Data to 0300000a1b2c3d4e #17, 40 of 52 bytes captured"},
	{"cut in the checksum", data(plain, wire.Frame{Type: wire.Ping}), 50, "Data to 0300000a1b2c3d4e #17, 50 of 52 bytes captured\n  Ping"},
	{"cut in the header", data(plain, wire.Frame{Type: wire.Ping}), 20, "Data to 0300000a1b2c3d4e, 20 of 52 bytes captured"},
	{"cut before the session", data(plain, wire.Frame{Type: wire.Ping}), 8, "Data, 8 of 52 bytes captured"},
	{"cut hello", handshake(hello), 64, "Hello from 0300000a1b2c3d4e insecure, 1024 calls, messages to 1048576 bytes, packets to 1472, idle 60s, ack delay 20ms, stream window 64, 64 of 256 bytes captured"},
	{"cut refusal", handshake(wire.Handshake{Kind: wire.Refuse, Session: sessionID, Code: 8, Payload: []byte("too many sessions")}), 68,
		`Refuse to 0300000a1b2c3d4e: ResourceExhausted "too ", 68 of 85 bytes captured`},

	{"wrong checksum", damaged(data(plain, wire.Frame{Type: wire.Ping}), 51), 0, "Data to 0300000a1b2c3d4e #17, checksum wrong\n  Ping"},
	{"wrong checksum of a reset", damaged(handshake(wire.Handshake{Kind: wire.Reset, Source: sessionID}), 67), 0, "Reset: 0300000a1b2c3d4e is not known, checksum wrong"},
	{"unknown frame", data(plain, wire.Frame{Type: wire.Ping}, wire.Frame{Type: 15}), 0,
		"Data to 0300000a1b2c3d4e #17\n  Ping\n  malformed: frame 2: type 15 is not known"},
	{"frame beyond the packet", resum(data(plain, wire.Frame{Type: wire.Reply, Payload: []byte("ab")}), 34, 3), 0,
		"Data to 0300000a1b2c3d4e #17\n  malformed: frame 1: Reply with a payload of 3 bytes, where 2 are left"},
	{"no room for the total", data(plain, wire.Frame{Type: wire.Reply, Flags: wire.FlagMore, Payload: []byte("abc")}), 0,
		"Data to 0300000a1b2c3d4e #17\n  malformed: frame 1: Reply with a payload of 3 bytes, too few for what precedes the message"},
	{"remains", append(data(plain), 0), 0, "Data to 0300000a1b2c3d4e #17, checksum wrong\n  malformed: 1 byte behind the last frame"},
	{"too short for data", resum(data(plain)[:35], 1, 0), 0, "Data to 0300000a1b2c3d4e\n  malformed: 35 bytes are less than the header and the checksum"},
	{"short hello", resum(handshake(hello)[:255], 1, 0), 0,
		"Hello from 0300000a1b2c3d4e insecure, 1024 calls, messages to 1048576 bytes, packets to 1472, idle 60s, ack delay 20ms, stream window 64\n  malformed: a Hello of 255 bytes, where 256 are the least"},
	{"payload beyond the packet", resum(handshake(wire.Handshake{Kind: wire.Refuse, Session: sessionID}), 2, 9), 0,
		"Refuse to 0300000a1b2c3d4e: OK \"\"\n  malformed: a payload of 9 bytes, where 0 are the most"},
}

// damaged changes a byte.
func damaged(b []byte, at int) []byte {
	b[at] ^= 0x80
	return b
}

// resum sets a byte and gives the packet a right checksum.
func resum(b []byte, at int, v byte) []byte {
	b[at] = v
	wire.Sum(b)
	return b
}

func TestString(t *testing.T) {
	var p Packet // the same for all: nothing may stay from the one before
	for _, s := range samples {
		captured := s.packet
		if s.cut > 0 {
			captured = captured[:s.cut]
		}
		if err := p.Decode(captured, len(s.packet)); err != nil {
			t.Errorf("%s: %v", s.name, err)
		} else if got := p.String(); got != s.text {
			t.Errorf("%s:\n got %s\nwant %s", s.name, got, s.text)
		}
	}
}

// TestEveryCut decodes each sample at each length that a capture may have left of it: nothing is made up, and the beginning stays as it was.
func TestEveryCut(t *testing.T) {
	for _, s := range samples {
		var whole, p Packet
		if err := whole.Decode(s.packet, len(s.packet)); err != nil {
			t.Fatal(err)
		}
		for n := 1; n < len(s.packet); n++ {
			if err := p.Decode(s.packet[:n:n], len(s.packet)); err != nil {
				t.Fatal(err)
			}
			if p.Checksum != ChecksumUnknown || p.Length != len(s.packet) || len(p.Frames) > len(whole.Frames) {
				t.Fatalf("%s cut to %d: %+v", s.name, n, p)
			}
			for i := range p.Frames {
				f, w := &p.Frames[i], &whole.Frames[i]
				if f.Type != w.Type || f.Length != w.Length || !f.PrefixCut && (f.Total != w.Total || f.Number != w.Number) || !strings.HasPrefix(string(w.Payload), string(f.Payload)) {
					t.Fatalf("%s cut to %d: frame %+v, want %+v", s.name, n, f, w)
				}
			}
			if p.Malformed != "" && p.Malformed != whole.Malformed {
				t.Fatalf("%s cut to %d: malformed: %s", s.name, n, p.Malformed)
			}
		}
	}
}

func TestForeign(t *testing.T) {
	for _, b := range []string{"", "\x00", "\x10", "\x17", "\x21abcdefghijklmnopqrstuvwxyz", "GET / HTTP/1.1"} {
		if err := new(Packet).Decode([]byte(b), len(b)); err != ErrForeign {
			t.Errorf("%q: %v", b, err)
		}
	}
}

func TestPlausible(t *testing.T) {
	request := wire.Frame{Type: wire.Request, Call: call, Payload: []byte("abc")}
	for _, c := range []struct {
		name   string
		packet []byte
		length int
		want   bool
	}{
		{"sound", data(plain), 36, true},
		{"sound but malformed", data(plain, wire.Frame{Type: 14}), 52, true},
		{"damaged", damaged(data(plain, request), 50), 55, true},
		{"damaged, nothing but a header", damaged(data(plain), 35), 36, false},
		{"damaged in a length", damaged(data(plain, request), 34), 55, false},
		{"damaged in reserved bits", damaged(data(plain, request), 33), 55, false},
		{"damaged in the header's reserved bits", damaged(data(plain, request), 1), 55, false},
		{"cut behind a frame's header", data(plain, request)[:48], 55, true},
		{"cut before it", data(plain, request)[:47], 55, false},
		{"damaged retry", damaged(handshake(wire.Handshake{Kind: wire.Retry, Payload: make([]byte, 20)}), 70), 88, true},
		{"retry with more behind it", append(handshake(wire.Handshake{Kind: wire.Retry}), 0), 69, false},
		{"cut hello", handshake(hello)[:64], 256, true},
		{"cut hello without its header", handshake(hello)[:63], 256, false},
	} {
		var p Packet
		if err := p.Decode(c.packet, c.length); err != nil || p.Plausible() != c.want {
			t.Errorf("%s: %v, %v", c.name, err, !c.want)
		}
	}
}

func TestJSON(t *testing.T) {
	b := data(acking,
		wire.Frame{Type: wire.Request, Flags: wire.FlagMore, Call: call, A: 3, B: 950, Payload: []byte{0, 1, 0, 0, 'x'}},
		wire.Frame{Type: wire.Window, Call: call, A: 64})
	var p Packet
	if err := p.Decode(b, len(b)); err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(&p)
	const want = `{"kind":"Data","length":73,"captured":73,"checksum":"right","to":"0300000a1b2c3d4e","number":17,"phase":0,"stamp_us":0,` +
		`"ack":{"largest":12,"bits":"000000000000000b","delay_us":40,"ce":false},"frames":[` +
		`{"type":"Request","slot":5,"seq":9,"more":true,"method":3,"left_us":950,"total":256,"bytes":1,"captured":1},` +
		`{"type":"Window","slot":5,"seq":9,"messages":64,"bytes":0,"captured":0}]}`
	if err != nil || string(got) != want {
		t.Errorf("%v\n got %s\nwant %s", err, got, want)
	}
}

// FuzzDecode decodes any bytes as a packet of any length. Nothing may panic, what is shown has one line for the packet and one for each
// frame, and the JSON is sound.
func FuzzDecode(f *testing.F) {
	for _, s := range samples {
		f.Add(s.packet, uint16(0))
		f.Add(s.packet[:max(1, s.cut)], uint16(len(s.packet)-s.cut))
	}
	f.Fuzz(func(t *testing.T, b []byte, missing uint16) {
		var p Packet
		if p.Decode(b, len(b)+int(missing)) != nil {
			return
		}
		p.Plausible()
		lines := 1 + len(p.Frames)
		if p.Malformed != "" {
			lines++
		}
		if s := p.String(); strings.Count(s, "\n") != lines-1 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\n' }) {
			t.Fatalf("%d lines: %q", lines, s)
		}
		if j, err := json.Marshal(&p); err != nil || !json.Valid(j) {
			t.Fatal(err)
		}
	})
}

// remoteBytes tell of piece 9, 1,000 bytes.
var remoteBytes = func() []byte {
	b := make([]byte, wire.RemoteBytes)
	(&wire.Remote{Length: 1000, Piece: 9, Addr: 1 << 40, Key: 5}).Put(b)
	return b
}()
