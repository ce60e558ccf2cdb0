package wire

import (
	"bytes"
	"testing"
)

// FuzzParse reads any bytes as a data packet and as a handshake. Nothing may panic, and what can be read is written back as it was.
func FuzzParse(f *testing.F) {
	header := make([]byte, DataHeaderBytes)
	goldenHeader.Put(header)
	packet := bytes.Clone(header)
	for _, g := range goldenFrames {
		one := append(bytes.Clone(header), putFrame(&g.frame)...)
		f.Add(append(one, 0, 0, 0, 0))
		packet = append(packet, putFrame(&g.frame)...)
	}
	f.Add(append(packet, 0, 0, 0, 0))
	f.Add(header)
	for kind := Hello; kind <= Reset; kind++ {
		h := goldenFields(kind, "payload")
		b := make([]byte, 1024)
		f.Add(b[:h.Put(b)])
	}
	f.Add([]byte{})
	f.Add([]byte{0x11})
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.Clone(b)
		checkData(t, b)
		checkHandshake(t, b)
		if len(b) >= ChecksumBytes { // the same with a right checksum, behind which all the rest hides
			Sum(b)
			checkData(t, b)
			checkHandshake(t, b)
		}
	})
}

func checkData(t *testing.T, b []byte) {
	var h DataHeader
	if !h.Parse(b) {
		if len(b) >= DataHeaderBytes+ChecksumBytes {
			t.Fatal("a header of full length was refused")
		}
		return
	}
	again := make([]byte, DataHeaderBytes)
	h.Put(again)
	again[0] = b[0] // the kind is KindOf's business
	if !bytes.Equal(again, b[:DataHeaderBytes]) {
		t.Fatalf("header %x was written back as %x", b[:DataHeaderBytes], again)
	}
	if SessionOf(b) != h.Session {
		t.Fatal("SessionOf and Parse differ")
	}
	frames := b[DataHeaderBytes : len(b)-ChecksumBytes]
	for len(frames) > 0 {
		var f Frame
		rest, ok := f.Next(frames)
		if !ok {
			return
		}
		size := len(frames) - len(rest)
		if size < FrameHeaderBytes || size != FrameHeaderBytes+len(f.Payload) {
			t.Fatalf("a frame of %d bytes with a payload of %d", size, len(f.Payload))
		}
		if got := putFrame(&f); !bytes.Equal(got, frames[:size]) {
			t.Fatalf("frame %x was written back as %x", frames[:size], got)
		}
		if id := CallID(SlotOf(f.Call), SeqOf(f.Call)); id != f.Call {
			t.Fatalf("call %#x became %#x", f.Call, id)
		}
		if f.Type == Fragment && f.Flags&FlagStream != 0 {
			f.CutNumber()
		}
		if r, ok := f.Remote(); ok {
			again := make([]byte, RemoteBytes)
			if r.Put(again); !bytes.Equal(again, f.Payload) {
				t.Fatalf("%x was written back as %x", f.Payload, again)
			}
		}
		f.CutTotal()
		frames = rest
	}
}

func checkHandshake(t *testing.T, b []byte) {
	var h, back Handshake
	if !h.Parse(b) {
		return
	}
	again := make([]byte, max(len(b), HelloBytes))
	n := h.Put(again)
	if n == 0 || n > len(b) {
		t.Fatalf("%d bytes were written back as %d", len(b), n)
	}
	// Beside the reserved field, the padding and the checksum over them every byte means something.
	defined := reservedOffset
	if !bytes.Equal(again[:defined], b[:defined]) || !bytes.Equal(again[HandshakeBytes:HandshakeBytes+len(h.Payload)], h.Payload) {
		t.Fatalf("handshake %x was written back as %x", b, again[:n])
	}
	if !back.Parse(again[:n]) || !equalHandshakes(&back, &h) {
		t.Fatal("what was written cannot be read")
	}
}
