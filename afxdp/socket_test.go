//go:build linux

package afxdp_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

func TestBytesArriveBothWays(t *testing.T) {
	a, b := newPair(t, 1)
	for _, mode := range []afxdp.Mode{afxdp.PreferZeroCopy, afxdp.Copy} {
		edit := func(c *afxdp.SocketConfig) { c.Mode = mode }
		pa, pb := a.newPort(t, edit), b.newPort(t, edit)
		if pa.ZeroCopy() || pb.ZeroCopy() {
			t.Errorf("mode %d: veth granted zero-copy, which it does not have", mode)
		}
		for number, size := range []int{minPacket, 61, 64, 100, 128, 777, 1400, 1514} {
			for _, way := range [][2]*port{{pa, pb}, {pb, pa}} {
				from, to := way[0], way[1]
				from.put(t, uint64(number), size)
				from.kickAll(t)
				if got := to.receive(t, 1); got[0] != uint64(number) {
					t.Errorf("mode %d, %d bytes: got packet %d, want %d", mode, size, got[0], number)
				}
				from.awaitComplete(t, 1)
			}
		}
		must(t, pa.Close())
		must(t, pb.Close())
	}
}

func TestZeroCopyOnlyIsRefused(t *testing.T) {
	a, _ := newPair(t, 2)
	u := newUmem(t, 64)
	c := a.config(0, newFrames(t, u, 0, 32))
	c.Mode = afxdp.ZeroCopy
	if _, err := a.open(t, u, c); !errors.Is(err, afxdp.ErrNoZeroCopy) || !strings.Contains(err.Error(), "xa") ||
		!strings.Contains(err.Error(), "xdp-features: basic redirect") {
		t.Errorf("got %v, want ErrNoZeroCopy with the interface's name and what its driver has", err)
	}

	c.Mode = afxdp.Copy
	first, err := a.open(t, u, c)
	must(t, err)
	defer first.Close()
	c = a.config(1, newFrames(t, u, 32, 32))
	c.Mode, c.Shared = afxdp.ZeroCopy, first
	if _, err := a.open(t, u, c); !errors.Is(err, afxdp.ErrNoZeroCopy) {
		t.Errorf("sharing a UMEM in copy mode: got %v, want ErrNoZeroCopy", err)
	}
}

// TestSharedUmem sends on both queues and expects each packet on the same queue of the other side, in a chunk of that queue's partition.
func TestSharedUmem(t *testing.T) {
	const queues, chunks, packets = 2, 256, 40
	a, b := newPair(t, queues)
	ports := map[*host][]*port{}
	for _, h := range []*host{a, b} {
		u := newUmem(t, queues*chunks)
		for q := range queues {
			p := &port{umem: u, frames: newFrames(t, u, q*chunks, chunks)}
			c := h.config(q, p.frames)
			if q > 0 {
				c.Shared = ports[h][0].Socket
			}
			var err error
			p.Socket, err = h.open(t, u, c)
			must(t, err)
			t.Cleanup(func() { p.Close() })
			must(t, h.sockets.Put(uint32(q), uint32(p.FD())))
			ports[h] = append(ports[h], p)
		}
	}
	for i := range packets {
		for q, p := range ports[a] {
			p.put(t, uint64(i*queues+q), minPacket+i)
			p.kickAll(t)
		}
	}
	for q, p := range ports[b] {
		for i, d := range p.collect(t, packets) {
			number, err := checkPacket(p.umem.Data(d))
			if err != nil || number != uint64(i*queues+q) {
				t.Errorf("queue %d: got packet %d (%v), want %d", q, number, err, i*queues+q)
			}
			p.frames.Free(d.Addr) // panics if the chunk is not of this queue's partition
		}
	}
	for _, p := range ports[a] {
		p.awaitComplete(t, packets)
	}
	must(t, ports[b][0].Close()) // the one that registered the UMEM; the other lives on
	ports[a][1].put(t, 7, minPacket)
	ports[a][1].kickAll(t)
	if got := ports[b][1].receive(t, 1); got[0] != 7 {
		t.Errorf("after the first socket's Close the second got packet %d, want 7", got[0])
	}
}

// TestLongBurst sends many times 32 descriptors, what one sendto takes in copy mode on old kernels, with one Kick.
func TestLongBurst(t *testing.T) {
	a, b := newPair(t, 1)
	pa, pb := a.newPort(t, nil), b.newPort(t, nil)
	if bytes, err := unix.GetsockoptInt(pa.FD(), unix.SOL_SOCKET, unix.SO_SNDBUF); err != nil || bytes < ringEntries*chunkBytes {
		t.Errorf("the socket buffer holds %d bytes (%v), less than a TX ring of full chunks", bytes, err)
	}
	for _, budget := range []int{ringEntries, 32} {
		if err := unix.SetsockoptInt(pa.FD(), unix.SOL_XDP, unix.XDP_MAX_TX_SKB_BUDGET, budget); err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
			t.Fatal(err) // ENOPROTOOPT: this kernel knows no other budget than 32
		}
		for _, burst := range []int{33, 64, 200, 900} {
			want := make([]uint64, burst)
			for i := range want {
				want[i] = uint64(burst*10_000 + i)
				pa.put(t, want[i], minPacket+i)
			}
			if err := pa.Kick(); err != nil {
				t.Fatalf("budget %d, burst of %d: Kick: %v", budget, burst, err)
			}
			if got := pb.receive(t, burst); !slices.Equal(got, want) {
				t.Errorf("budget %d, burst of %d: the packets that came are not those sent, in order", budget, burst)
			}
			pa.awaitComplete(t, burst)
		}
	}
}

func TestRebindAtOnce(t *testing.T) {
	a, b := newPair(t, 1)
	pb := b.newPort(t, nil)
	u := newUmem(t, 64)
	for i := range 20 {
		p := &port{umem: u, frames: newFrames(t, u, 0, 64)}
		var err error
		p.Socket, err = a.open(t, u, a.config(0, p.frames))
		if err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		p.put(t, uint64(i), minPacket)
		p.kickAll(t)
		if got := pb.receive(t, 1); got[0] != uint64(i) {
			t.Errorf("round %d: got packet %d", i, got[0])
		}
		must(t, p.Close())
		must(t, p.Close())
	}
}

func TestOneWaySockets(t *testing.T) {
	a, b := newPair(t, 1)
	before := takeInventory(t)
	sender := a.newPort(t, func(c *afxdp.SocketConfig) { c.RxEntries, c.FillEntries, c.Fill = 0, 0, nil })
	receiver := b.newPort(t, func(c *afxdp.SocketConfig) { c.TxEntries, c.CompletionEntries = 0, 0 })
	if rings := takeInventory(t)["mapping of a ring"] - before["mapping of a ring"]; rings != 6 {
		t.Errorf("a socket that only sends and one that only receives map %d rings, want 3 each", rings)
	}
	sender.put(t, 5, 80)
	sender.kickAll(t)
	if got := receiver.receive(t, 1); got[0] != 5 {
		t.Errorf("got packet %d, want 5", got[0])
	}
	sender.awaitComplete(t, 1)
	var d [1]unix.XDPDesc
	if n := sender.Receive(d[:]); n != 0 {
		t.Errorf("a socket without an RX ring received %d packets", n)
	}
	if n := receiver.Transmit(d[:]); n != 0 {
		t.Errorf("a socket without a TX ring took %d packets", n)
	}
	must(t, receiver.Kick())
	for _, p := range []*port{sender, receiver} {
		if _, err := p.Stats(); err != nil {
			t.Error(err)
		}
	}
}

func TestBusyPoll(t *testing.T) {
	a, b := newPair(t, 1)
	edit := func(c *afxdp.SocketConfig) { c.BusyPoll = afxdp.BusyPoll{Micros: 20, Budget: 64, Prefer: true} }
	pa, pb := a.newPort(t, edit), b.newPort(t, edit)
	for i := range 100 {
		pa.put(t, uint64(i), minPacket)
		pa.kickAll(t)
		if got := pb.receive(t, 1); got[0] != uint64(i) {
			t.Fatalf("got packet %d, want %d", got[0], i)
		}
		pa.awaitComplete(t, 1)
	}
	// Whether the kernel knows whom to poll depends on the driver; veth's answer is 0 since Linux 6.14.
	if id, err := pb.NAPI(); err != nil {
		t.Error(err)
	} else {
		t.Logf("NAPI instance %d", id)
	}
	must(t, pb.Close())
	if _, err := pb.NAPI(); !errors.Is(err, afxdp.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestStatsCountWhatWentWrong(t *testing.T) {
	a, b := newPair(t, 1)
	pa := a.newPort(t, nil)
	pb := b.newPort(t, func(c *afxdp.SocketConfig) { c.Fill = c.Fill[:2] })
	pa.Transmit([]unix.XDPDesc{{Addr: 0, Len: chunkBytes + 1}, {Addr: 1 << 40, Len: 64}})
	for i := range 5 {
		pa.put(t, uint64(i), minPacket)
	}
	pa.kickAll(t)
	st, err := pa.Stats()
	must(t, err)
	if st.TxInvalid != 2 || st.RingViolations != 0 {
		t.Errorf("sender: %+v, want 2 invalid", st)
	}
	pb.receive(t, 2)
	st, err = pb.Stats()
	must(t, err)
	if st.RxDropped != 3 || st.FillRingEmpty == 0 {
		t.Errorf("receiver with 2 chunks for 5 packets: %+v, want 3 dropped and an empty fill ring", st)
	}
}
