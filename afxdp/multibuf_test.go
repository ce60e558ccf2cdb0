//go:build linux

package afxdp_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

const jumboMTU = 9000

// newPortOf opens a socket on queue 0 over a UMEM of its own.
func (h *host) newPortOf(t testing.TB, uc afxdp.UmemConfig, edit func(*afxdp.SocketConfig)) *port {
	t.Helper()
	u, err := afxdp.NewUmem(uc)
	must(t, err)
	t.Cleanup(func() {
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	})
	return h.newPortOn(t, u, edit)
}

func multiBuffer(c *afxdp.SocketConfig) { c.MultiBuffer = true }

// segments cuts a packet of so many bytes, told apart by number, into chunks of at most segment bytes each.
func (p *port) segments(t testing.TB, number uint64, bytes, segment int) []unix.XDPDesc {
	t.Helper()
	packet := make([]byte, bytes)
	writePacket(packet, number)
	var ds []unix.XDPDesc
	for left := packet; len(left) > 0; {
		addr, ok := p.frames.Alloc()
		if !ok {
			t.Fatal("no free chunk")
		}
		n := copy(p.umem.Chunk(addr)[:segment], left)
		left = left[n:]
		ds = append(ds, unix.XDPDesc{Addr: addr, Len: uint32(n), Options: unix.XDP_PKT_CONTD})
	}
	ds[len(ds)-1].Options = 0
	return ds
}

// collectPacket waits for one packet and returns its bytes; the chunks go back into the fill ring.
func (p *port) collectPacket(t testing.TB) (packet []byte, segments int) {
	t.Helper()
	for {
		d := p.collect(t, 1)[0]
		packet = append(packet, p.umem.Data(d)...)
		segments++
		p.refill(t, d.Addr)
		if d.Options&unix.XDP_PKT_CONTD == 0 {
			return packet, segments
		}
	}
}

// TestJumboPackets sends packets of one byte less and more than what fills chunks, on both hooks and with both sizes of chunk, and compares
// every byte.
func TestJumboPackets(t *testing.T) {
	for hook, flag := range hooks {
		for _, chunk := range []int{2048, 4096} {
			t.Run(fmt.Sprintf("%s/%d", hook, chunk), func(t *testing.T) {
				a, b := newPairOf(t, pairConfig{mtu: jumboMTU, hook: flag})
				uc := afxdp.UmemConfig{Chunks: 2 * ringEntries, ChunkBytes: chunk}
				pa, pb := a.newPortOf(t, uc, multiBuffer), b.newPortOf(t, uc, multiBuffer)
				room := chunk - unix.XDP_PACKET_HEADROOM
				number := uint64(0)
				for _, size := range []int{minPacket, room - 1, room, room + 1, 2 * room, 2*room + 1, chunk, chunk + 1, jumboMTU + 14} {
					for _, segment := range []int{chunk, 1500, 700} {
						number++
						ds := pa.segments(t, number, size, segment)
						if n := pa.Transmit(ds); n != len(ds) {
							t.Fatalf("%d bytes: Transmit took %d of %d descriptors", size, n, len(ds))
						}
						pa.kickAll(t)
						packet, segments := pb.collectPacket(t)
						if got, err := checkPacket(packet); err != nil || got != number || len(packet) != size {
							t.Fatalf("chunks of %d: %d bytes in %d pieces: got packet %d of %d bytes: %v", chunk, size, len(ds), got, len(packet), err)
						}
						if want := (size-1)/room + 1; segments != want {
							t.Errorf("chunks of %d: %d bytes came in %d pieces, want %d", chunk, size, segments, want)
						}
						pa.awaitComplete(t, len(ds))
					}
				}
			})
		}
	}
}

// TestTransmitTakesWholePackets: what the ring has no room for, and what lacks its last descriptor, stays with the caller entirely.
func TestTransmitTakesWholePackets(t *testing.T) {
	a, b := newPairOf(t, pairConfig{mtu: jumboMTU})
	pa := a.newPort(t, func(c *afxdp.SocketConfig) { c.MultiBuffer, c.TxEntries = true, 8 })
	pb := b.newPort(t, multiBuffer)
	three := [][]unix.XDPDesc{pa.segments(t, 1, 3000, 1000), pa.segments(t, 2, 3000, 1000), pa.segments(t, 3, 3000, 1000)}
	all := slices.Concat(three...)
	for _, c := range []struct{ offered, want int }{{0, 0}, {1, 0}, {2, 0}} {
		if n := pa.Transmit(all[:c.offered]); n != c.want {
			t.Fatalf("Transmit of %d descriptors of a packet of 3 took %d", c.offered, n)
		}
	}
	if n := pa.Transmit(all); n != 6 { // 2 of the 8 places are left, too few for the third
		t.Fatalf("a ring of 8 took %d descriptors of packets of 3, want 6", n)
	}
	if n := pa.Transmit(all[6:]); n != 0 {
		t.Fatalf("a ring with 2 free places took %d descriptors of a packet of 3", n)
	}
	pa.kickAll(t)
	if n := pa.Transmit(all[6:]); n != 3 {
		t.Fatalf("an empty ring took %d of 3 descriptors", n)
	}
	pa.kickAll(t)
	for want := range uint64(3) {
		packet, _ := pb.collectPacket(t)
		if got, err := checkPacket(packet); err != nil || got != want+1 {
			t.Errorf("got packet %d (%v), want %d", got, err, want+1)
		}
	}
	pa.awaitComplete(t, 9)
}

// TestReceiveGivesWholePackets: a burst ends where a packet ends, unless not even one packet fits.
func TestReceiveGivesWholePackets(t *testing.T) {
	a, b := newPairOf(t, pairConfig{mtu: jumboMTU})
	pa, pb := a.newPort(t, multiBuffer), b.newPort(t, multiBuffer)
	const pieces = 3 // of 1792 bytes each
	for number := range uint64(4) {
		ds := pa.segments(t, number, 5000, 2000)
		if pa.Transmit(ds) != len(ds) {
			t.Fatal("TX ring is full")
		}
	}
	pa.kickAll(t)
	awaitReceived(t, pb, 4*pieces)
	ds := make([]unix.XDPDesc, 8)
	for i, c := range []struct{ room, want int }{
		{8, 6}, // two packets and two thirds
		{5, 3},
		{2, 2}, // less than the packet that is left: it comes in parts
		{8, 1},
		{8, 0},
	} {
		if n := pb.Receive(ds[:c.room]); n != c.want {
			t.Errorf("turn %d: Receive with room for %d gave %d, want %d", i, c.room, n, c.want)
		}
	}
}

// awaitReceived waits until n descriptors are in the RX ring and leaves them there.
func awaitReceived(t *testing.T, p *port, n uint32) {
	t.Helper()
	for deadline := time.Now().Add(patience); p.Levels().Rx.Used < n; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors are in the RX ring, want %d", p.Levels().Rx.Used, n)
		}
	}
}

// TestMaxSegments sends the longest packet that the kernel takes in copy mode; without multi-buffer a packet has one descriptor.
func TestMaxSegments(t *testing.T) {
	a, b := newPairOf(t, pairConfig{mtu: jumboMTU})
	pa, pb := a.newPort(t, multiBuffer), b.newPort(t, multiBuffer)
	if pa.MaxSegments() < 2 {
		t.Fatalf("MaxSegments is %d", pa.MaxSegments())
	}
	ds := pa.segments(t, 1, pa.MaxSegments()*100, 100)
	if len(ds) != pa.MaxSegments() || pa.Transmit(ds) != len(ds) {
		t.Fatalf("a packet of %d descriptors was not taken", len(ds))
	}
	pa.kickAll(t)
	packet, _ := pb.collectPacket(t)
	if _, err := checkPacket(packet); err != nil {
		t.Error(err)
	}
	pa.awaitComplete(t, len(ds))
	must(t, pa.Close())
	if one := a.newPort(t, nil); one.MaxSegments() != 1 {
		t.Errorf("without multi-buffer MaxSegments is %d, want 1", one.MaxSegments())
	}
}

// TestWithoutMultiBuffer: a packet that is too large for a chunk is dropped and counted.
func TestWithoutMultiBuffer(t *testing.T) {
	a, b := newPairOf(t, pairConfig{mtu: jumboMTU})
	pa, pb := a.newPort(t, multiBuffer), b.newPort(t, nil)
	ds := append(pa.segments(t, 1, 5000, 2000), pa.segments(t, 2, 100, 2000)...)
	if pa.Transmit(ds) != len(ds) {
		t.Fatal("TX ring is full")
	}
	pa.kickAll(t)
	if got := pb.receive(t, 1); got[0] != 2 {
		t.Errorf("got packet %d, want the small one", got[0])
	}
	if st, err := pb.Stats(); err != nil || st.RxDropped != 1 {
		t.Errorf("%+v, %v; want one packet dropped", st, err)
	}
}

func TestSharedMultiBuffer(t *testing.T) {
	a, _ := newPair(t, 2)
	u := newUmem(t, 64)
	c := a.config(0, newFrames(t, u, 0, 32))
	c.MultiBuffer = true
	first, err := a.open(t, u, c)
	must(t, err)
	defer first.Close()
	c = a.config(1, newFrames(t, u, 32, 32))
	c.Shared = first
	if _, err := a.open(t, u, c); err == nil {
		t.Error("a socket without multi-buffer shares with one that has it")
	}
	c.MultiBuffer = true
	second, err := a.open(t, u, c)
	must(t, err)
	defer second.Close()
	if second.MaxSegments() != first.MaxSegments() {
		t.Errorf("MaxSegments is %d and %d", first.MaxSegments(), second.MaxSegments())
	}
}
