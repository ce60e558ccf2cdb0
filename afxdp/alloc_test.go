//go:build linux

package afxdp_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

// TestNoModeAllocates sends packets one way through all that a data path calls, in every mode that a veth device has.
func TestNoModeAllocates(t *testing.T) {
	busy := func(c *afxdp.SocketConfig) { c.BusyPoll = afxdp.BusyPoll{Micros: 20, Budget: 64, Prefer: true} }
	none := func(*afxdp.SocketConfig) {}
	for hook, flag := range hooks {
		for _, c := range []struct {
			name   string
			umem   afxdp.UmemConfig
			edit   func(*afxdp.SocketConfig)
			pieces int // descriptors a packet, of 1500 bytes each
		}{
			{"2K", afxdp.UmemConfig{ChunkBytes: 2048}, none, 1},
			{"4K", afxdp.UmemConfig{ChunkBytes: 4096, HeadroomBytes: 128}, none, 1},
			{"unaligned", afxdp.UmemConfig{ChunkBytes: 3001, Unaligned: true}, none, 1},
			{"copy by flag", afxdp.UmemConfig{ChunkBytes: 2048}, func(c *afxdp.SocketConfig) { c.Mode = afxdp.Copy }, 1},
			{"busy polling", afxdp.UmemConfig{ChunkBytes: 2048}, busy, 1},
			{"multi-buffer", afxdp.UmemConfig{ChunkBytes: 2048}, multiBuffer, 6},
			{"unaligned multi-buffer", afxdp.UmemConfig{ChunkBytes: 2501, Unaligned: true}, multiBuffer, 6},
			{"metadata", afxdp.UmemConfig{ChunkBytes: 2048, TxMetadata: true}, none, 1},
		} {
			t.Run(hook+"/"+c.name, func(t *testing.T) {
				a, b := newPairOf(t, pairConfig{mtu: jumboMTU, hook: flag})
				c.umem.Chunks = 512
				from := &flow{port: a.newPortOf(t, c.umem, c.edit), metadata: c.umem.TxMetadata}
				to := &flow{port: b.newPortOf(t, c.umem, c.edit)}
				if n := testing.AllocsPerRun(500, func() { from.send(t, c.pieces); to.take(t, c.pieces*1500); from.reap(t, c.pieces) }); n != 0 {
					t.Errorf("%v allocations a packet", n)
				}
			})
		}
	}
}

// flow is a port with the buffers of a data path, made once.
type flow struct {
	*port
	ds       [32]unix.XDPDesc
	addrs    [32]uint64
	metadata bool
}

func (f *flow) send(t *testing.T, pieces int) {
	n := f.frames.AllocBurst(f.addrs[:pieces])
	for i, addr := range f.addrs[:n] {
		f.ds[i] = unix.XDPDesc{Addr: f.umem.At(addr, 64), Len: 1500, Options: unix.XDP_PKT_CONTD}
	}
	f.ds[n-1].Options = 0
	writeHeader(f.umem.Data(f.ds[0]))
	if f.metadata {
		if err := f.umem.SetTxRequest(&f.ds[0], afxdp.TxRequest{Timestamp: true}); err != nil {
			t.Fatal(err)
		}
	}
	if f.Transmit(f.ds[:n]) != pieces {
		t.Fatal("TX ring is full")
	}
	for range int(tries) {
		if err := f.Kick(); err == nil {
			return
		} else if !errors.Is(err, afxdp.ErrRetry) {
			t.Fatal(err)
		}
	}
	t.Fatal("the TX ring is not drained")
}

// tries is how often a test looks that must not read a clock: more than anything that works needs.
const tries = 1e7

func (f *flow) take(t *testing.T, bytes int) {
	for left := int(tries); bytes > 0; left-- {
		if left == 0 {
			t.Fatalf("%d bytes did not come", bytes)
		}
		n := f.Receive(f.ds[:])
		for i, d := range f.ds[:n] {
			bytes -= len(f.umem.Data(d))
			f.frames.Free(d.Addr)
			f.addrs[i], _ = f.frames.Alloc()
		}
		f.Fill(f.addrs[:n])
		if err := f.WakeFill(); err != nil && !errors.Is(err, afxdp.ErrRetry) {
			t.Fatal(err)
		}
	}
}

func (f *flow) reap(t *testing.T, pieces int) {
	for left := int(tries); pieces > 0; left-- {
		if left == 0 {
			t.Fatalf("%d descriptors were not completed", pieces)
		}
		n := f.Complete(f.addrs[:])
		f.frames.FreeBurst(f.addrs[:n])
		if pieces -= n; f.metadata && n > 0 && f.umem.TxTimestamp(f.umem.At(f.umem.Base(f.addrs[0]), 64)) == 0 {
			t.Fatal("no timestamp")
		}
	}
}

func writeHeader(b []byte) {
	copy(b, "\x02\x00\x00\x00\x00\x0b\x02\x00\x00\x00\x00\x0a\x88\xb5")
}
