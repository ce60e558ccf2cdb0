//go:build linux

package afxdp_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

func TestUmemConfigIsChecked(t *testing.T) {
	for _, c := range []afxdp.UmemConfig{
		{},
		{Chunks: 16, ChunkBytes: 1024},
		{Chunks: 16, ChunkBytes: 3000},
		{Chunks: 16, ChunkBytes: 8192},
		{Chunks: 0, ChunkBytes: 2048},
		{Chunks: -1, ChunkBytes: 2048},
		{Chunks: 1<<20 + 1, ChunkBytes: 2048},
		{Chunks: 16, ChunkBytes: 2048, HeadroomBytes: -1},
		{Chunks: 16, ChunkBytes: 2048, HeadroomBytes: 2048 - 256},
	} {
		if u, err := afxdp.NewUmem(c); err == nil {
			u.Close()
			t.Errorf("%+v was accepted", c)
		}
	}
}

func TestUmemViews(t *testing.T) {
	u := newUmem(t, 4)
	mem := u.Bytes()
	if len(mem) != 4*chunkBytes {
		t.Fatalf("%d bytes, want %d", len(mem), 4*chunkBytes)
	}
	for _, c := range []struct {
		addr   uint64
		length uint32
		ok     bool
	}{
		{addr: 0, length: 0, ok: true},
		{addr: 0, length: chunkBytes, ok: true},
		{addr: chunkBytes + 256, length: 100, ok: true},
		{addr: 4*chunkBytes - 1, length: 1, ok: true},
		{addr: 1, length: chunkBytes},           // over the chunk's end
		{addr: 4 * chunkBytes, length: 1},       // behind the memory
		{addr: 1<<64 - 1, length: 1},            // and far behind
		{addr: chunkBytes, length: 1<<32 - 1},   // a length that would wrap around 32 bits
		{addr: 4*chunkBytes - 1, length: 2},     // the last byte and one more
		{addr: 1<<64 - chunkBytes, length: 100}, // an aligned address that is none
	} {
		data := u.Data(unix.XDPDesc{Addr: c.addr, Len: c.length})
		if (data != nil) != c.ok || (c.ok && len(data) != int(c.length)) {
			t.Errorf("Data of %d bytes at %#x: %d bytes, want ok=%v", c.length, c.addr, len(data), c.ok)
		}
		if c.ok && c.length > 0 && &data[0] != &mem[c.addr] {
			t.Errorf("Data at %#x starts elsewhere", c.addr)
		}
	}
	chunk := u.Chunk(2*chunkBytes + 300)
	if len(chunk) != chunkBytes || cap(chunk) != chunkBytes || &chunk[0] != &mem[2*chunkBytes] || u.Base(2*chunkBytes+300) != 2*chunkBytes {
		t.Error("Chunk and Base do not give the whole chunk that an address lies in")
	}
	if u.Chunk(4*chunkBytes) != nil {
		t.Error("Chunk gave memory outside the UMEM")
	}
}

// TestHugePagesFallBack asks for huge pages; whether or not the machine has some, the memory must work and the answer must be true.
func TestHugePagesFallBack(t *testing.T) {
	u, err := afxdp.NewUmem(afxdp.UmemConfig{Chunks: 100, ChunkBytes: 4096, HugePages: true})
	must(t, err)
	defer u.Close()
	if len(u.Bytes()) != 100*4096 {
		t.Errorf("%d bytes, want %d", len(u.Bytes()), 100*4096)
	}
	u.Bytes()[100*4096-1] = 1
	t.Logf("on huge pages: %v", u.HugePages())
	must(t, u.Close())
	must(t, u.Close())
	if _, err := afxdp.Open(u, afxdp.SocketConfig{Ifindex: 1, RxEntries: 64}); err == nil {
		t.Error("a socket was opened on a closed UMEM")
	}
}

func TestFrameStack(t *testing.T) {
	u := newUmem(t, 32)
	left, right := newFrames(t, u, 0, 16), newFrames(t, u, 16, 16)
	seen := map[uint64]bool{}
	for _, f := range []*afxdp.FrameStack{left, right} {
		for range 16 {
			addr, ok := f.Alloc()
			if !ok || seen[addr] || addr%chunkBytes != 0 || u.Chunk(addr) == nil {
				t.Fatalf("Alloc gave %#x, %v", addr, ok)
			}
			seen[addr] = true
		}
		if addr, ok := f.Alloc(); ok {
			t.Fatalf("an empty stack gave %#x", addr)
		}
	}
	right.Free(20*chunkBytes + 256) // any address within the chunk
	if addr, ok := right.Alloc(); !ok || addr != 20*chunkBytes {
		t.Errorf("got %#x, want the chunk that was freed last", addr)
	}
	for addr := range seen {
		if addr < 16*chunkBytes {
			left.Free(addr)
		}
	}
	addrs := make([]uint64, 20)
	if n := left.AllocBurst(addrs); n != 16 || left.Available() != 0 {
		t.Errorf("AllocBurst of 20 gave %d, leaving %d", n, left.Available())
	}
	left.FreeBurst(addrs[:16])
	if left.Available() != left.Size() {
		t.Errorf("%d of %d chunks are free after all were freed", left.Available(), left.Size())
	}
}

func TestFrameStackFindsMistakes(t *testing.T) {
	u := newUmem(t, 32)
	f := newFrames(t, u, 8, 8)
	addr, _ := f.Alloc()
	f.Free(addr)
	other, _ := f.Alloc()
	f.Free(other)
	for _, c := range []struct {
		addr uint64
		text string
	}{
		{addr, "twice"},
		{addr + 100, "twice"},
		{15 * chunkBytes, "twice"}, // never taken
		{7 * chunkBytes, "not of this partition"},
		{16 * chunkBytes, "not of this partition"},
		{1 << 60, "not of this partition"},
	} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.Contains(text, c.text) {
					t.Errorf("Free(%#x): got panic %q, want one that says %q", c.addr, text, c.text)
				}
			}()
			f.Free(c.addr)
		}()
	}
	if f.Available() != 8 {
		t.Errorf("%d of 8 chunks are free after the refused ones", f.Available())
	}
	for _, p := range [][2]int{{-1, 4}, {0, 0}, {30, 3}, {0, 33}, {33, 1}} {
		if _, err := afxdp.NewFrameStack(u, p[0], p[1]); err == nil {
			t.Errorf("a partition of %d chunks from %d was accepted", p[1], p[0])
		}
	}
}

func TestSocketConfigIsChecked(t *testing.T) {
	u := newUmem(t, 16)
	for _, c := range []struct {
		config afxdp.SocketConfig
		text   string
	}{
		{afxdp.SocketConfig{Ifindex: 1}, "RxEntries, TxEntries or both"},
		{afxdp.SocketConfig{Ifindex: 1, RxEntries: 48}, "powers of two"},
		{afxdp.SocketConfig{Ifindex: 1, RxEntries: 64, FillEntries: 100}, "powers of two"},
		{afxdp.SocketConfig{RxEntries: 64}, "interface index 0"},
		{afxdp.SocketConfig{Ifindex: 1, Queue: -1, RxEntries: 64}, "queue -1"},
		{afxdp.SocketConfig{Ifindex: 1, RxEntries: 2, Fill: make([]uint64, 5)}, "do not fit"},
	} {
		if _, err := afxdp.Open(u, c.config); err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%+v: got %v, want an error that says %q", c.config, err, c.text)
		}
	}
}
