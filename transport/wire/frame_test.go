package wire

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// goldenFrames is at least one frame of each type, with its bytes.
var goldenFrames = []struct {
	name  string
	frame Frame
	hex   string
}{
	{"request", Frame{Type: Request, Call: CallID(1, 2), A: 0x11121314, B: 0x21222324, Payload: []byte("abc")},
		"01 00 0300 02001000 14131211 24232221 616263"},
	{"first part of a request", Frame{Type: Request, Flags: FlagMore, Call: CallID(0xfff, SeqMask), A: 1, B: 0, Payload: []byte{0x39, 0x30, 0, 0, 'x'}},
		"01 01 0500 ffffffff 01000000 00000000 39300000 78"},
	{"reply", Frame{Type: Reply, Call: CallID(1, 2), A: 5}, "02 00 0000 02001000 05000000 00000000"},
	{"refusal", Frame{Type: Reply, Flags: FlagNotExecuted, Call: CallID(1, 2), A: 8, Payload: []byte("no")},
		"02 02 0200 02001000 08000000 00000000 6e6f"},
	{"fragment", Frame{Type: Fragment, Call: CallID(0, 1), A: 0x500, B: 0x1234, Payload: []byte{9}},
		"03 00 0100 01000000 00050000 34120000 09"},
	{"probe", Frame{Type: Probe, Call: CallID(7, 0)}, "04 00 0000 00007000 00000000 00000000"},
	{"cancel", Frame{Type: Cancel, Call: CallID(7, 1)}, "05 00 0000 01007000 00000000 00000000"},
	{"ping", Frame{Type: Ping}, "06 00 0000 00000000 00000000 00000000"},
	{"close", Frame{Type: Close, A: 14, Payload: []byte("bye")}, "07 00 0300 00000000 0e000000 00000000 627965"},
	{"opening of a stream", Frame{Type: Request, Flags: FlagStream, Call: CallID(1, 2), A: 0x11121314, B: 0x21222324},
		"01 04 0000 02001000 14131211 24232221"},
	{"trailer", Frame{Type: Reply, Flags: FlagStream, Call: CallID(1, 2), A: 5, B: 0x21222324, Payload: []byte("no")},
		"02 04 0200 02001000 05000000 24232221 6e6f"},
	{"fragment of a stream", Frame{Type: Fragment, Flags: FlagStream, Call: CallID(0, 1), A: 0x500, B: 0x1234, Payload: []byte{7, 0, 0, 0, 9}},
		"03 04 0500 01000000 00050000 34120000 07000000 09"},
	{"cancel with a code", Frame{Type: Cancel, Call: CallID(7, 1), A: 1}, "05 00 0000 01007000 01000000 00000000"},
	{"grant", Frame{Type: Grant, Call: CallID(7, 1), A: 0x31323334}, "08 00 0000 01007000 34333231 00000000"},
	{"grant on a stream", Frame{Type: Grant, Flags: FlagStream, Call: CallID(7, 1), A: 0x31323334, B: 6}, "08 04 0000 01007000 34333231 06000000"},
	{"message", Frame{Type: Message, Call: CallID(7, 1), A: 6, Payload: []byte("abc")}, "09 00 0300 01007000 06000000 00000000 616263"},
	{"first part of a message", Frame{Type: Message, Flags: FlagMore, Call: CallID(7, 1), A: 6, Payload: []byte{0x39, 0x30, 0, 0, 'x'}},
		"09 01 0500 01007000 06000000 00000000 39300000 78"},
	{"request with metadata", Frame{Type: Request, Flags: FlagMetadata, Call: CallID(1, 2), A: 1, Payload: AppendMetadata([]byte("abc"), []byte{1, 'k', 1, 0, 0, 0, 'v'})},
		"01 08 0e00 02001000 01000000 00000000 616263 01 6b 01000000 76 07000000"},
	{"header of a stream", Frame{Type: Message, Flags: FlagMetadata, Call: CallID(7, 1), Payload: []byte{1, 'k', 1, 0, 0, 0, 'v'}},
		"09 08 0700 01007000 00000000 00000000 01 6b 01000000 76"},
	{"end", Frame{Type: End, Call: CallID(7, 1), A: 7}, "0a 00 0000 01007000 07000000 00000000"},
	{"window", Frame{Type: Window, Call: CallID(7, 1), A: 0x41}, "0b 00 0000 01007000 41000000 00000000"},
	{"challenge", Frame{Type: Challenge, A: 0x11121314, B: 0x21222324}, "0c 00 0000 00000000 14131211 24232221"},
	{"grant of a message that may be fetched", Frame{Type: Grant, Flags: FlagStream | FlagRemote, Call: CallID(7, 1), A: 0x31323334, B: 6},
		"08 14 0000 01007000 34333231 06000000"},
	{"part that lies in the sender's memory", Frame{Type: Fragment, Flags: FlagRemote, Call: CallID(0, 1), A: 0x500, B: 0x123456,
		Payload: []byte("\x04\x03\x02\x01\x14\x13\x12\x11\x28\x27\x26\x25\x24\x23\x22\x21\x34\x33\x32\x31")},
		"03 10 1400 01000000 00050000 56341200 04030201 14131211 2827262524232221 34333231"},
	{"fetched", Frame{Type: Fetched, A: 0x11121314, B: 1}, "0e 00 0000 00000000 14131211 01000000"},
	{"response", Frame{Type: Response, A: 0x11121314, B: 0x21222324}, "0d 00 0000 00000000 14131211 24232221"},
}

func putFrame(f *Frame) []byte {
	b := make([]byte, FrameHeaderBytes+len(f.Payload))
	f.Put(b, len(f.Payload))
	copy(b[FrameHeaderBytes:], f.Payload)
	return b
}

func equalFrames(a, b *Frame) bool {
	return a.Type == b.Type && a.Flags == b.Flags && a.Call == b.Call && a.A == b.A && a.B == b.B && string(a.Payload) == string(b.Payload)
}

func TestGoldenFrames(t *testing.T) {
	for _, g := range goldenFrames {
		t.Run(g.name, func(t *testing.T) {
			want := golden(t, g.hex)
			same(t, g.name, putFrame(&g.frame), want)
			var f Frame
			if rest, ok := f.Next(want); !ok || len(rest) != 0 || !equalFrames(&f, &g.frame) {
				t.Errorf("read %+v, want %+v", f, g.frame)
			}
			for n := range want {
				if _, ok := f.Next(want[:n]); ok {
					t.Errorf("read from %d of %d bytes", n, len(want))
				}
			}
		})
	}
}

// TestFramesInRow reads frames that share a packet, each ending where the next begins.
func TestFramesInRow(t *testing.T) {
	var b []byte
	for _, g := range goldenFrames {
		b = append(b, golden(t, g.hex)...)
	}
	for i, g := range goldenFrames {
		var f Frame
		var ok bool
		if b, ok = f.Next(b); !ok || !equalFrames(&f, &g.frame) {
			t.Fatalf("frame %d: read %+v, want %+v", i, f, g.frame)
		}
		if cap(f.Payload) != len(f.Payload) {
			t.Errorf("frame %d: an append to its payload would overwrite the next frame", i)
		}
	}
	if len(b) != 0 {
		t.Errorf("%d bytes left", len(b))
	}
}

func TestUnknownFrameTypes(t *testing.T) {
	b := make([]byte, FrameHeaderBytes)
	for typ := range 256 {
		b[0] = byte(typ)
		var f Frame
		if _, ok := f.Next(b); ok != (typ >= 1 && typ <= 14) || f.Type.Known() != ok {
			t.Errorf("type %d: %v", typ, ok)
		}
	}
}

// TestNames: each known type and kind has a name of its own, and the others show their number.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for i := range 256 {
		for _, n := range []struct {
			name  string
			known bool
		}{
			{FrameType(i).String(), i >= 1 && i <= 14}, {Kind(i).String(), i >= 1 && i <= 6}, {Security(i).String(), i <= 1},
		} {
			if n.name == "" || seen[n.name] || strings.Contains(n.name, fmt.Sprintf("(%d)", i)) == n.known {
				t.Errorf("%d is called %q", i, n.name)
			}
			seen[n.name] = true
		}
	}
}

// TestReadHeader reads the headers of frames whose payload is not there.
func TestReadHeader(t *testing.T) {
	for _, g := range goldenFrames {
		var f Frame
		if n := f.ReadHeader(golden(t, g.hex)[:FrameHeaderBytes]); n != len(g.frame.Payload) || f.Payload != nil {
			t.Errorf("%s: %d bytes, want %d", g.name, n, len(g.frame.Payload))
		}
		f.Payload = g.frame.Payload
		if !equalFrames(&f, &g.frame) {
			t.Errorf("%s: read %+v, want %+v", g.name, f, g.frame)
		}
	}
}

func TestFrameRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for range 1000 {
		want := Frame{Type: FrameType(1 + r.IntN(14)), Flags: uint8(r.Uint32()), Call: r.Uint32(), A: r.Uint32(), B: r.Uint32(), Payload: make([]byte, r.IntN(100))}
		var got Frame
		if rest, ok := got.Next(append(putFrame(&want), "tail"...)); !ok || string(rest) != "tail" || !equalFrames(&got, &want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
	longest := Frame{Type: Reply, Payload: make([]byte, 1<<16-1)}
	var got Frame
	if _, ok := got.Next(putFrame(&longest)); !ok || len(got.Payload) != 1<<16-1 {
		t.Error("a payload of 65535 bytes does not survive")
	}
}

func TestCutTotal(t *testing.T) {
	for n := range 8 {
		f := Frame{Payload: []byte{1, 2, 3, 4, 5, 6, 7, 8}[:n]}
		total, ok := f.CutTotal()
		if ok != (n >= TotalBytes) || ok && (total != 0x04030201 || len(f.Payload) != n-TotalBytes) {
			t.Errorf("of %d bytes: total %#x, %v, %d left", n, total, ok, len(f.Payload))
		}
	}
}

func TestCutNumber(t *testing.T) {
	for n := range 8 {
		f := Frame{Payload: []byte{1, 2, 3, 4, 5, 6, 7, 8}[:n]}
		number, ok := f.CutNumber()
		if ok != (n >= NumberBytes) || ok && (number != 0x04030201 || len(f.Payload) != n-NumberBytes) {
			t.Errorf("of %d bytes: number %#x, %v, %d left", n, number, ok, len(f.Payload))
		}
	}
}

func TestCallID(t *testing.T) {
	for _, x := range []struct{ slot, seq, id uint32 }{
		{0, 0, 0}, {1, 0, 1 << 20}, {Slots - 1, SeqMask, 1<<32 - 1}, {5, SeqMask + 1, 5 << 20},
	} {
		id := CallID(x.slot, x.seq)
		if id != x.id || SlotOf(id) != x.slot || SeqOf(id) != x.seq&SeqMask {
			t.Errorf("CallID(%d, %d) = %#x, of slot %d, seq %d", x.slot, x.seq, id, SlotOf(id), SeqOf(id))
		}
	}
}

func TestSeqAfter(t *testing.T) {
	const half = (SeqMask + 1) / 2
	for _, x := range []struct {
		a, b uint32
		want bool
	}{
		{0, 0, false}, {1, 0, true}, {0, 1, false},
		{0, SeqMask, true}, {SeqMask, 0, false}, // over the wrap
		{half - 1, 0, true}, {half, 0, false}, {half + 1, 0, false}, // half the range away is no longer after
		{10, SeqMask - 10, true},
	} {
		if got := SeqAfter(x.a, x.b); got != x.want {
			t.Errorf("SeqAfter(%#x, %#x) = %v", x.a, x.b, got)
		}
	}
}

// TestRemote writes and reads where a part lies, and refuses a payload of another length.
func TestRemote(t *testing.T) {
	want := Remote{Length: 0x01020304, Piece: 0x11121314, Addr: 0x2122232425262728, Key: 0x31323334}
	b := make([]byte, RemoteBytes+1)
	want.Put(b)
	for n := range len(b) + 1 {
		f := Frame{Payload: b[:n]}
		if got, ok := f.Remote(); ok != (n == RemoteBytes) || ok && got != want {
			t.Errorf("of %d bytes: %+v, %v", n, got, ok)
		}
	}
	for _, g := range goldenFrames {
		if g.frame.Flags&FlagRemote != 0 && g.frame.Type == Fragment {
			if got, ok := g.frame.Remote(); !ok || got != want {
				t.Errorf("the golden bytes are %+v, %v", got, ok)
			}
		}
	}
}

// ExampleFrame_Next walks over the frames of a packet.
func ExampleFrame_Next() {
	b := append(putFrame(&Frame{Type: Ping}), putFrame(&Frame{Type: Cancel, Call: CallID(2, 3)})...)
	for len(b) > 0 {
		var f Frame
		var ok bool
		if b, ok = f.Next(b); !ok {
			break
		}
		fmt.Println(f.Type, SlotOf(f.Call), SeqOf(f.Call))
	}
	// Output:
	// Ping 0 0
	// Cancel 2 3
}
