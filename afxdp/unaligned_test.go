//go:build linux

package afxdp_test

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

func TestUnalignedViews(t *testing.T) {
	const chunk = 3008
	u, err := afxdp.NewUmem(afxdp.UmemConfig{Chunks: 8, ChunkBytes: chunk, Unaligned: true})
	must(t, err)
	defer u.Close()
	mem := u.Bytes()
	if len(mem) != 8*chunk {
		t.Fatalf("%d bytes, want %d", len(mem), 8*chunk)
	}
	for _, c := range []struct {
		addr   uint64
		length uint32
		want   int // index in the memory; -1: none
	}{
		{0, chunk, 0},
		{2 * chunk, 10, 2 * chunk},
		{2*chunk + 256<<48, 10, 2*chunk + 256},
		{u.At(7*chunk, 3007), 1, 8*chunk - 1},
		{u.At(7*chunk, 3007), 2, -1},
		{7*chunk + 0xffff<<48, 1, -1},
		{chunk + 2500, 1000, chunk + 2500}, // over the end of a chunk: the kernel allows it too
		{8 * chunk, 1, -1},
		{1<<64 - 1, 1, -1},
		{0, 1<<32 - 1, -1},
	} {
		data := u.Data(unix.XDPDesc{Addr: c.addr, Len: c.length})
		if (data != nil) != (c.want >= 0) || data != nil && (len(data) != int(c.length) || cap(data) != len(data) || &data[0] != &mem[c.want]) {
			t.Errorf("Data of %d bytes at %#x: %d bytes, want index %d", c.length, c.addr, len(data), c.want)
		}
	}
	for _, addr := range []uint64{4 * chunk, 4*chunk + 3007, 4*chunk + 256<<48, u.At(4*chunk, 3007)} {
		if u.Base(addr) != 4*chunk || &u.Chunk(addr)[0] != &mem[4*chunk] || len(u.Chunk(addr)) != chunk {
			t.Errorf("Base of %#x is %d, want %d", addr, u.Base(addr), 4*chunk)
		}
	}
	if u.Chunk(8*chunk) != nil || u.Chunk(1<<64-1) != nil {
		t.Error("Chunk gave memory outside the UMEM")
	}
	if at := u.At(chunk, 256); at != chunk+256<<48 {
		t.Errorf("byte 256 of the second chunk is at %#x; the offset belongs in the upper 16 bits", at)
	}
	if at := newUmem(t, 4).At(2048, 256); at != 2304 {
		t.Errorf("in an aligned UMEM byte 256 of the second chunk is at %d, want 2304", at)
	}
}

// TestUnalignedFrames gives a chunk back by every address that names it.
func TestUnalignedFrames(t *testing.T) {
	const chunk = 3328
	u, err := afxdp.NewUmem(afxdp.UmemConfig{Chunks: 16, ChunkBytes: chunk, Unaligned: true})
	must(t, err)
	defer u.Close()
	f := newFrames(t, u, 4, 8)
	for _, offset := range []int{0, 1, 256, chunk - 1} {
		for i := range 8 {
			addr, ok := f.Alloc()
			if !ok || addr != uint64(4+i)*chunk {
				t.Fatalf("Alloc %d gave %d, %v", i, addr, ok)
			}
		}
		for i := 7; i >= 0; i-- {
			f.Free(u.At(uint64(4+i)*chunk, offset))
		}
	}
	for _, c := range []struct {
		addr uint64
		text string
	}{
		{4 * chunk, "twice"}, {4*chunk - 1, "not of this partition"}, {12 * chunk, "not of this partition"}, {u.At(11*chunk, chunk), "not of this partition"},
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
}

// TestUnalignedSockets sends and receives through chunks that lie anywhere in pages, from every kind of offset, also in several pieces.
func TestUnalignedSockets(t *testing.T) {
	for hook, flag := range hooks {
		for _, chunk := range []int{2048, 2500, 3001, 4001, 4096} {
			t.Run(fmt.Sprintf("%s/%d", hook, chunk), func(t *testing.T) {
				a, b := newPairOf(t, pairConfig{mtu: jumboMTU, hook: flag})
				uc := afxdp.UmemConfig{Chunks: 1536, ChunkBytes: chunk, Unaligned: true, HeadroomBytes: 64}
				pa, pb := a.newPortOf(t, uc, multiBuffer), b.newPortOf(t, uc, multiBuffer)
				number, room := uint64(0), chunk-unix.XDP_PACKET_HEADROOM-64
				for _, offset := range []int{0, 1, 255, 1000} {
					for _, size := range []int{minPacket, 1000, room, room + 1, jumboMTU} {
						number++
						ds := pa.segments(t, number, size, 1000)
						for i := range ds { // the same bytes, further on in the chunk
							chunk := pa.umem.Chunk(ds[i].Addr)
							copy(chunk[offset:], chunk[:ds[i].Len])
							ds[i].Addr = pa.umem.At(ds[i].Addr, offset)
						}
						if pa.Transmit(ds) != len(ds) {
							t.Fatal("TX ring is full")
						}
						pa.kickAll(t)
						d := pb.collect(t, (size-1)/room+1)
						var packet []byte
						for i := range d {
							if want := uint64(unix.XDP_PACKET_HEADROOM + 64); d[i].Addr>>48 != want || pb.umem.Base(d[i].Addr) != d[i].Addr<<16>>16 {
								t.Fatalf("received at %#x; want offset %d of a chunk", d[i].Addr, want)
							}
							packet = append(packet, pb.umem.Data(d[i])...)
							if pb.Fill([]uint64{d[i].Addr}) != 1 {
								t.Fatal("fill ring is full")
							}
						}
						if got, err := checkPacket(packet); err != nil || got != number || len(packet) != size {
							t.Fatalf("offset %d: got packet %d of %d bytes, want %d of %d: %v", offset, got, len(packet), number, size, err)
						}
						pa.awaitComplete(t, len(ds))
					}
				}
				if st, err := pb.Stats(); err != nil || st != (afxdp.Stats{TxRingEmpty: st.TxRingEmpty}) {
					t.Errorf("%+v, %v", st, err)
				}
			})
		}
	}
}
