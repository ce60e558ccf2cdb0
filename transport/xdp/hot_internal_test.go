package xdp

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/transport"
)

// bareLink is a Link without a kernel behind it, for what happens in memory alone.
func bareLink() *Link {
	const frames, chunk = 4096, 2048
	d := &device{settings: settings{chunk: chunk, span: 1}}
	d.sockets.Store(&[]*kernelSocket{})
	d.setMTU(1500)
	l := &Link{dev: d, memory: make([]byte, frames*chunk), frames: newFrames(0, 11, 11, frames), first: true, socket: new(afxdp.Socket)}
	l.caps.FrameBytes = chunk - dataOffset
	return l
}

func barePath() transport.Path {
	p := transport.Path{
		RemoteIP: mapped([4]byte{198, 18, 0, 1}), LocalIP: mapped([4]byte{198, 18, 0, 2}), RemotePort: 9001, LocalPort: 9002, MTU: 1472,
	}
	putNextHop(&p.Opaque, [6]byte{2, 0, 0, 0, 0, 1}, 0)
	return p
}

// What the Link itself costs a packet, without rings, system calls and cache misses.
func BenchmarkPack(b *testing.B) {
	l := bareLink()
	var f transport.Frame
	l.Alloc(&f)
	f.Path, f.Data = barePath(), f.Data[:64]
	for b.Loop() {
		l.descs[0], _ = l.pack(&f)
	}
}

func BenchmarkAllocFree(b *testing.B) {
	l := bareLink()
	var fs [1]transport.Frame
	for b.Loop() {
		l.Alloc(&fs[0])
		l.Free(fs[:])
	}
}

func BenchmarkUnpack(b *testing.B) {
	l := bareLink()
	var f transport.Frame
	l.Alloc(&f)
	f.Path, f.Data = barePath(), f.Data[:64]
	sent, err := l.pack(&f)
	if err != nil {
		b.Fatal(err)
	}
	copy(l.memory[unix.XDP_PACKET_HEADROOM:], l.memory[sent.Addr:sent.Addr+uint64(sent.Len)])
	received := unix.XDPDesc{Addr: unix.XDP_PACKET_HEADROOM, Len: sent.Len}
	for b.Loop() {
		if !l.unpack(&received, &f) {
			b.Fatal("not a packet")
		}
		l.frames.owner[0] = ownedReceive
	}
}
