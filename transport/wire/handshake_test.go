package wire

import (
	"bytes"
	"strings"
	"testing"
)

// goldenFields is what all handshake packets of the tests have in common, with the 60 bytes that follow the payload's length.
func goldenFields(kind Kind, payload string) Handshake {
	h := Handshake{
		Kind: kind, Security: TLS, Calls: 0x04030201, Session: 0x0c0b0a0908070605, Source: 0x14131211100f0e0d,
		Incarnation: 0x1c1b1a1918171615, Echo: 0x24232221201f1e1d, MaxMessage: 0x28272625, MaxPacket: 0x2a29, IdleSeconds: 0x2c2b,
		Code: 0x302f2e2d, AckDelay: 0x34333231, StreamWindow: 0x3635,
	}
	if payload != "" {
		h.Payload = []byte(payload)
	}
	return h
}

const goldenFieldsHex = `
	01 02 03 04             # calls at once
	05 06 07 08 09 0a 0b 0c # receiver's session ID
	0d 0e 0f 10 11 12 13 14 # sender's session ID
	15 16 17 18 19 1a 1b 1c # incarnation
	1d 1e 1f 20 21 22 23 24 # echo
	25 26 27 28             # largest message
	29 2a                   # largest packet
	2b 2c                   # idle, s
	2d 2e 2f 30             # code
	31 32 33 34             # acknowledgement delay, µs
	35 36                   # messages on a new stream
	00 00 00 00 00 00       # reserved
`

func TestGoldenHandshakes(t *testing.T) {
	for _, g := range []struct {
		name          string
		kind          Kind
		payload       string
		before, after string // the four bytes that open the packet, and what follows the fixed part
	}{
		{"hello", Hello, "", "12 01 0000", strings.Repeat("00", 188) + "3ffda44e"},
		{"hello with a token", Hello, "token", "12 01 0500", "746f6b656e" + strings.Repeat("00", 183) + "af665c3c"},
		{"accept", Accept, "", "13 01 0000", "240abd13"},
		{"retry", Retry, "token", "14 01 0500", "746f6b656e 1caef107"},
		{"refuse", Refuse, "no", "15 01 0200", "6e6f 90716f5b"},
		{"reset", Reset, "", "16 01 0000", "df2f64b2"},
	} {
		t.Run(g.name, func(t *testing.T) {
			want := golden(t, g.before+"\n"+goldenFieldsHex+g.after)
			h := goldenFields(g.kind, g.payload)
			got := bytes.Repeat([]byte{0xff}, 2048)
			got = got[:h.Put(got)]
			same(t, g.name, got, want)
			var back Handshake
			if !back.Parse(want) || !equalHandshakes(&back, &h) {
				t.Errorf("parsed %+v, want %+v", back, h)
			}
			if n := back.ReadFields(want[:HandshakeBytes]); n != len(h.Payload) || back.Payload != nil {
				t.Errorf("the payload has %d bytes, want %d", n, len(h.Payload))
			}
			back.Payload = h.Payload
			if !equalHandshakes(&back, &h) {
				t.Errorf("read %+v, want %+v", back, h)
			}
			for n := range want {
				if back.Parse(want[:n]) {
					t.Errorf("parsed from %d of %d bytes", n, len(want))
				}
			}
		})
	}
}

func equalHandshakes(a, b *Handshake) bool {
	x, y := *a, *b
	x.Payload, y.Payload = nil, nil
	return bytes.Equal(a.Payload, b.Payload) && x.Kind == y.Kind && x.Security == y.Security && x.Calls == y.Calls && x.Session == y.Session &&
		x.Source == y.Source && x.Incarnation == y.Incarnation && x.Echo == y.Echo && x.MaxMessage == y.MaxMessage && x.MaxPacket == y.MaxPacket &&
		x.IdleSeconds == y.IdleSeconds && x.Code == y.Code && x.AckDelay == y.AckDelay && x.StreamWindow == y.StreamWindow
}

// TestHandshakeTruncatedAndSummed cuts packets and gives them a right checksum again, as a hostile sender would.
func TestHandshakeTruncatedAndSummed(t *testing.T) {
	for kind := Hello; kind <= Reset; kind++ {
		h := goldenFields(kind, "a payload")
		b := make([]byte, 1024)
		whole := b[:h.Put(b)]
		least := HandshakeBytes + len(h.Payload) + ChecksumBytes
		if kind == Hello {
			least = HelloBytes
		}
		for n := range len(whole) + 1 {
			cut := bytes.Clone(whole[:n])
			if n >= ChecksumBytes {
				Sum(cut)
			}
			var back Handshake
			if ok := back.Parse(cut); ok != (n >= least) {
				t.Errorf("kind %d, %d bytes: %v", kind, n, ok)
			}
		}
	}
}

func TestHandshakeLimits(t *testing.T) {
	h := goldenFields(Accept, "")
	h.Payload = make([]byte, MaxPayloadBytes)
	b := make([]byte, 2048)
	n := h.Put(b)
	var back Handshake
	if n != HandshakeBytes+MaxPayloadBytes+ChecksumBytes || !back.Parse(b[:n]) || len(back.Payload) != MaxPayloadBytes {
		t.Errorf("the longest payload: %d bytes", n)
	}
	if h.Put(b[:n-1]) != 0 {
		t.Error("written into too little room")
	}
	h.Payload = make([]byte, MaxPayloadBytes+1)
	if h.Put(b) != 0 {
		t.Error("a payload beyond the limit was written")
	}
	b[2], b[3] = 0x01, 0x04 // says 1025
	b = b[:HandshakeBytes+MaxPayloadBytes+1+ChecksumBytes]
	Sum(b)
	if back.Parse(b) {
		t.Error("a payload beyond the limit was read")
	}
	b[0] = Version<<4 | byte(Data)
	Sum(b)
	if back.Parse(b) {
		t.Error("a data packet was read as a handshake")
	}
}

// TestNoAmplification: the longest answer to the shortest Hello stays below three times its length.
func TestNoAmplification(t *testing.T) {
	longest := HandshakeBytes + 256 + ChecksumBytes // a reason is at most 256 bytes
	if longest > 3*HelloBytes {
		t.Errorf("an answer of %d bytes to a Hello of %d", longest, HelloBytes)
	}
	if reset := HandshakeBytes + ChecksumBytes; reset > 3*(DataHeaderBytes+ChecksumBytes) {
		t.Errorf("a Reset of %d bytes", reset)
	}
}
