package wire

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"
)

// golden turns annotated hex, one field a line and what follows '#' a remark, into bytes.
func golden(t *testing.T, annotated string) []byte {
	t.Helper()
	var digits strings.Builder
	for line := range strings.Lines(annotated) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\n got %x\nwant %x", what, got, want)
	}
}

var goldenHeader = DataHeader{
	Flags: FlagPhase | FlagAck | FlagCE, AckDelay: 0x0201, Number: 0x06050403, Session: 0x0e0d0c0b0a090807,
	AckLargest: 0x1211100f, Stamp: 0x16151413, AckBits: 0x1e1d1c1b1a191817,
}

const goldenHeaderHex = `
	11                      # version 1, data
	07                      # key phase, acknowledgement, congestion
	01 02                   # acknowledgement delay, µs
	03 04 05 06             # packet number
	07 08 09 0a 0b 0c 0d 0e # receiver's session ID
	0f 10 11 12             # largest received
	13 14 15 16             # send stamp, µs
	17 18 19 1a 1b 1c 1d 1e # bitmap
`

func TestGoldenDataHeader(t *testing.T) {
	want := golden(t, goldenHeaderHex)
	got := bytes.Repeat([]byte{0xff}, DataHeaderBytes)
	goldenHeader.Put(got)
	same(t, "DataHeader", got, want)
	if KindOf(want) != Data || SessionOf(want) != goldenHeader.Session {
		t.Errorf("kind %d, session %#x", KindOf(want), SessionOf(want))
	}
	var h DataHeader
	if !h.Parse(append(want, 0, 0, 0, 0)) || h != goldenHeader {
		t.Errorf("parsed %+v, want %+v", h, goldenHeader)
	}
}

// TestGoldenPacket pins a whole packet as it travels: header, one request of five bytes, CRC32C.
func TestGoldenPacket(t *testing.T) {
	h := DataHeader{Number: 7, Session: 0x01000002_deadbeef, Stamp: 1000}
	f := Frame{Type: Request, Call: CallID(3, 9), A: 2, B: 1500}
	b := make([]byte, Overhead+5+ChecksumBytes)
	h.Put(b)
	f.Put(b[DataHeaderBytes:], 5)
	copy(b[Overhead:], "hello")
	Sum(b)
	same(t, "packet", b, golden(t, `
		11 00 0000 07000000 efbeadde02000001 00000000 e8030000 0000000000000000
		01 00 0500 09003000 02000000 dc050000
		68656c6c6f
		55c0e401                # CRC32C of the 53 bytes before it`))
}

// TestChecksumIsCRC32C holds Sum against the check value of the polynomial's catalogue entry: CRC-32C("123456789").
func TestChecksumIsCRC32C(t *testing.T) {
	b := []byte("123456789....")
	Sum(b)
	same(t, "checksum", b[9:], []byte{0x83, 0x92, 0x06, 0xe3})
}

// TestVerifyFindsEveryBit changes each bit of a packet in turn, and cuts it at each length.
func TestVerifyFindsEveryBit(t *testing.T) {
	b := golden(t, goldenHeaderHex)
	b = append(b, "payload 1234"...)
	Sum(b)
	if body, ok := Verify(b); !ok || len(body) != len(b)-ChecksumBytes {
		t.Fatal("a sound packet is refused")
	}
	for i := range len(b) * 8 {
		b[i/8] ^= 1 << (i % 8)
		if _, ok := Verify(b); ok {
			t.Errorf("bit %d changed, and nobody noticed", i)
		}
		b[i/8] ^= 1 << (i % 8)
	}
	for n := range b {
		if _, ok := Verify(b[:n]); ok {
			t.Errorf("cut to %d bytes, and nobody noticed", n)
		}
	}
}

func TestDataHeaderTruncated(t *testing.T) {
	b := append(golden(t, goldenHeaderHex), 0, 0, 0, 0)
	for n := range b {
		if h := (DataHeader{}); h.Parse(b[:n]) {
			t.Errorf("parsed from %d bytes", n)
		}
	}
}

func TestDataHeaderRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		want := DataHeader{Flags: uint8(r.Uint32()), AckDelay: uint16(r.Uint32()), Number: r.Uint32(), Session: r.Uint64(),
			AckLargest: r.Uint32(), Stamp: r.Uint32(), AckBits: r.Uint64()}
		b := make([]byte, DataHeaderBytes+ChecksumBytes)
		want.Put(b)
		var got DataHeader
		if !got.Parse(b) || got != want {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
}

func TestKindOf(t *testing.T) {
	for b, want := range map[string]Kind{
		"": 0, "\x00": 0, "\x10": 0, "\x11": Data, "\x12": Hello, "\x13": Accept, "\x14": Retry, "\x15": Refuse, "\x16": Reset,
		"\x21": 0, "\x01": 0, "\xf1": 0,
	} {
		if got := KindOf([]byte(b)); got != want {
			t.Errorf("KindOf(%x) = %d, want %d", b, got, want)
		}
	}
}

func TestExpand(t *testing.T) {
	const g = 1 << 32
	for _, x := range []struct {
		low            uint32
		expected, want uint64
	}{
		{0, 0, 0},
		{5, 0, 5},
		{0xffffffff, 0, 0xffffffff}, // there is no number below zero
		{0x80000001, 0, 0x80000001},
		{0, 1, 0},
		{0xfffffffe, 0xffffffff, 0xfffffffe},
		{0, 0xffffffff, g},                   // the first wrap, forwards
		{0xffffffff, g, 0xffffffff},          // and back
		{0xffffffff, g + 5, 0xffffffff},      //
		{0x7fffffff, g, g + 0x7fffffff},      // the far edge of what lies ahead
		{0x80000000, g, g + 0x80000000},      // in the very middle: ahead, as in RFC 9000's "<="
		{0x80000001, g, 0x80000001},          // one more is nearer behind
		{0xa82f9b32, 0xa82f30eb, 0xa82f9b32}, // RFC 9000, appendix A.3's numbers, in our width
		{3, 7*g + 0xfffffff0, 8*g + 3},
		{0xfffffff0, 8*g + 3, 7*g + 0xfffffff0},
		{0, 1<<64 - 1, 1<<64 - g}, // there is no number above the last
		{0xffffffff, 1<<64 - 1, 1<<64 - 1},
		{0xfffffffe, 1<<64 - 1, 1<<64 - 2},
	} {
		if got := Expand(x.low, x.expected); got != x.want {
			t.Errorf("Expand(%#x, %#x) = %#x, want %#x", x.low, x.expected, got, x.want)
		}
	}
}

// TestExpandIsInverse: whatever lies within 2³¹ of what is expected is found again from its low half.
func TestExpandIsInverse(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for range 100000 {
		expected := r.Uint64() >> r.UintN(64)
		d := r.Int64N(1<<32-1) - (1<<31 - 1)
		n := expected + uint64(d)
		if (n >= expected) != (d >= 0) {
			continue // beyond an end of the range
		}
		if got := Expand(uint32(n), expected); got != n {
			t.Fatalf("Expand(%#x, %#x) = %#x, want %#x", uint32(n), expected, got, n)
		}
	}
}
