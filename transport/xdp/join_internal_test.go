package xdp

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/transport"
)

// jumboLink is a bare Link whose packets may have several chunks, with all its receiving chunks in the kernel's hands.
func jumboLink(n int) *Link {
	const chunk = 4096
	d := &device{settings: settings{chunk: chunk, span: 4, frames: n}}
	d.sockets.Store(&[]*kernelSocket{})
	d.setMTU(9000)
	l := &Link{dev: d, memory: make([]byte, d.settings.memory()), frames: newFrames(0, 12, 14, n)}
	l.caps.FrameBytes = 4*chunk - dataOffset
	l.frames.reserve = l.frames.reserve[:0]
	return l
}

// arrive cuts a packet of size bytes of data into parts behind the headroom of chunks first, first+1, ..., as the kernel does.
func (l *Link) arrive(t *testing.T, first uint64, size int) (parts []unix.XDPDesc, data []byte) {
	t.Helper()
	var f transport.Frame
	if !l.Alloc(&f) {
		t.Fatal("no frame")
	}
	f.Path, f.Data = barePath(), f.Data[:size]
	f.Path.MTU = 9000
	for i := range f.Data {
		f.Data[i] = byte(i * 7 >> 3)
	}
	sent, err := l.pack(&f)
	if err != nil {
		t.Fatal(err)
	}
	packet := bytes.Clone(l.memory[sent.Addr : sent.Addr+uint64(sent.Len)])
	data = bytes.Clone(f.Data)
	l.Free([]transport.Frame{f})
	for rest := packet; len(rest) > 0; first++ {
		at := first<<12 + unix.XDP_PACKET_HEADROOM
		n := copy(l.memory[at:(first+1)<<12], rest)
		rest = rest[n:]
		parts = append(parts, unix.XDPDesc{Addr: at, Len: uint32(n), Options: unix.XDP_PKT_CONTD})
	}
	parts[len(parts)-1].Options = 0
	return parts, data
}

// receive gives the parts to the Link, one at a time, and returns the frame that came of them, if one did.
func (l *Link) receiveParts(t *testing.T, parts []unix.XDPDesc) (f transport.Frame, ok bool) {
	t.Helper()
	for i := range parts {
		if ok = l.unpack(&parts[i], &f); ok && i < len(parts)-1 {
			t.Fatalf("a packet after %d of %d parts", i+1, len(parts))
		}
	}
	return f, ok
}

// A packet in several chunks becomes one slice; its chunks are to receive with again at once, and its frame when it is freed.
func TestJoin(t *testing.T) {
	for _, size := range []int{3900, 8000, 8958} {
		l := jumboLink(64)
		parts, data := l.arrive(t, 3, size)
		if len(parts) != (size+42+3839)/3840 {
			t.Fatalf("%d bytes in %d parts", size, len(parts))
		}
		free := len(l.frames.spare)
		f, ok := l.receiveParts(t, parts)
		if !ok || !bytes.Equal(f.Data, data) {
			t.Fatalf("%d bytes: received %v, %d bytes", size, ok, len(f.Data))
		}
		if len(l.frames.reserve) != len(parts) || len(l.frames.spare) != free-1 || l.Counts().Borrowed != 1 {
			t.Errorf("%d chunks of %d are back, %d of %d frames free, %+v", len(l.frames.reserve), len(parts), len(l.frames.spare), free, l.Counts())
		}
		l.Free([]transport.Frame{f})
		if len(l.frames.spare) != free || l.Counts().Borrowed != 0 {
			t.Errorf("after Free: %+v", l.Counts())
		}
		one, data := l.arrive(t, 10, 100) // a packet in one chunk stays where it is
		f, ok = l.receiveParts(t, one)
		if !ok || !bytes.Equal(f.Data, data) || f.ID != 10 {
			t.Errorf("a packet in one chunk: %v, frame %d", ok, f.ID)
		}
	}
}

// What cannot be put together is dropped with all its parts, and the next packet is not.
func TestJoinRefused(t *testing.T) {
	l := jumboLink(64)
	check := func(what string, parts []unix.XDPDesc, counter *uint64) {
		t.Helper()
		back, free, before := len(l.frames.reserve), len(l.frames.spare), *counter
		if _, ok := l.receiveParts(t, parts); ok {
			t.Errorf("%s: received", what)
		}
		if *counter != before+1 || len(l.frames.reserve) != back+len(parts) || len(l.frames.spare) != free || l.joint.state != jointNone {
			t.Errorf("%s: counted %d, %d of %d chunks back, %d of %d frames free", what, *counter-before, len(l.frames.reserve)-back, len(parts),
				len(l.frames.spare), free)
		}
	}
	broken, _ := l.arrive(t, 0, 8000)
	l.memory[broken[0].Addr+14] = 0 // no IP version
	check("headers that are none", broken, &l.stats.Malformed)

	long := make([]unix.XDPDesc, 6) // more than a frame holds
	for i := range long {
		long[i] = unix.XDPDesc{Addr: uint64(3+i)<<12 + 256, Len: 3840, Options: unix.XDP_PKT_CONTD}
	}
	long[5].Options = 0
	check("six full chunks", long, &l.stats.TooLong)

	var held []transport.Frame
	parts, data := l.arrive(t, 9, 5000)
	for len(l.frames.spare) > 8 { // a quarter of 32
		var f transport.Frame
		l.Alloc(&f)
		held = append(held, f)
	}
	check("a packet when the frames to send run out", parts, &l.stats.NoFrame)
	l.Free(held[:1])
	for _, p := range parts {
		l.frames.reserve = l.frames.reserve[:len(l.frames.reserve)-1]
		l.frames.owner[p.Addr>>12] = ownedReceive
	}
	if f, ok := l.receiveParts(t, parts); !ok || !bytes.Equal(f.Data, data) {
		t.Errorf("with a frame more: %v", ok)
	}
}
