//go:build linux

package afxdp_test

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

// owner says who has a chunk.
type owner uint8

const (
	free   owner = iota // the FrameStack
	filled              // the kernel, to receive into
	held                // the caller, with a received packet
	sent                // the kernel, to transmit
)

// ledger follows each chunk of a port by what the socket says, and fails when that is impossible.
type ledger struct {
	*port
	t       *testing.T
	owner   []owner
	held    []uint64 // addresses, as received
	sent    int      // packets put into the TX ring so far
	got     int      // packets received so far
	partial []byte   // of a packet that is still coming
}

func newLedger(t *testing.T, p *port, fill []uint64) *ledger {
	l := &ledger{port: p, t: t, owner: make([]owner, p.umem.Chunks())}
	for _, addr := range fill {
		l.owner[l.index(addr)] = filled
	}
	return l
}

// index is the number of the chunk that addr lies in.
func (l *ledger) index(addr uint64) int {
	return int(l.umem.Base(addr)) / (len(l.umem.Bytes()) / l.umem.Chunks())
}

func (l *ledger) move(addr uint64, from, to owner) {
	l.t.Helper()
	if i := l.index(addr); l.owner[i] != from {
		l.t.Fatalf("chunk %d goes from %d to %d, but its owner is %d", i, from, to, l.owner[i])
	} else {
		l.owner[i] = to
	}
}

func (l *ledger) count(o owner) (n int) {
	for _, x := range l.owner {
		if x == o {
			n++
		}
	}
	return n
}

// transmit sends up to n packets of at most so many bytes and segments each.
func (l *ledger) transmit(n, bytes, segments int, number *uint64) {
	for range n {
		packet := make([]byte, minPacket+int(*number)%(bytes-minPacket))
		writePacket(packet, *number)
		var ds []unix.XDPDesc
		for k, left := 0, packet; len(left) > 0; k++ {
			addr, ok := l.frames.Alloc()
			if !ok {
				break
			}
			d := unix.XDPDesc{Addr: l.umem.At(addr, int(*number%200)), Len: uint32(len(left)), Options: unix.XDP_PKT_CONTD} // completions repeat the offset
			if part := 20 + int(*number%7)*30; k < segments-1 && len(left) > part {
				d.Len = uint32(part)
			}
			left = left[copy(l.umem.Data(d), left):]
			if ds = append(ds, d); len(left) == 0 {
				ds[k].Options = 0
			}
		}
		if len(ds) == 0 || ds[len(ds)-1].Options != 0 || l.Transmit(ds) == 0 { // no chunk left, or no room
			for _, d := range ds {
				l.frames.Free(d.Addr)
			}
			return
		}
		for _, d := range ds {
			l.move(d.Addr, free, sent)
		}
		*number++
		l.sent++
	}
}

func (l *ledger) kick() {
	if err := l.Kick(); err != nil && !errors.Is(err, afxdp.ErrRetry) {
		l.t.Fatal(err)
	}
}

func (l *ledger) complete(n int) {
	addrs := make([]uint64, n)
	for _, addr := range addrs[:l.Complete(addrs)] {
		l.move(addr, sent, free)
		l.frames.Free(addr)
	}
}

func (l *ledger) receive(n int, seen map[uint64]bool) {
	descs := make([]unix.XDPDesc, n)
	for _, d := range descs[:l.Receive(descs)] {
		l.move(d.Addr, filled, held)
		l.held = append(l.held, d.Addr)
		l.partial = append(l.partial, l.umem.Data(d)...)
		if d.Options&unix.XDP_PKT_CONTD != 0 {
			continue
		}
		l.got++
		number, err := checkPacket(l.partial)
		if err != nil || seen[number] {
			l.t.Fatalf("packet %d: %v, or received twice", number, err)
		}
		seen[number] = true
		l.partial = l.partial[:0]
	}
}

// giveUp does with n held chunks one of the two things a caller can: back to the fill ring, or to the free ones.
func (l *ledger) giveUp(n int, refill bool) {
	for ; n > 0 && len(l.held) > 0; n-- {
		addr := l.held[len(l.held)-1]
		if refill {
			if l.Fill([]uint64{addr}) == 0 {
				return
			}
			l.move(addr, held, filled)
		} else {
			l.frames.Free(addr)
			l.move(addr, held, free)
		}
		l.held = l.held[:len(l.held)-1]
	}
	must(l.t, l.WakeFill())
}

func (l *ledger) fill(n int) {
	addrs := make([]uint64, n)
	addrs = addrs[:l.frames.AllocBurst(addrs)]
	taken := l.Fill(addrs)
	for _, addr := range addrs[:taken] {
		l.move(addr, free, filled)
	}
	l.frames.FreeBurst(addrs[taken:])
}

// TestFrameAccounting does a million random operations on both ends with small rings and few chunks, so that every ring is full and empty at
// times. After each, every chunk has one owner; at the end none is lost: as many packets arrive as chunks were filled.
func TestFrameAccounting(t *testing.T) {
	a, b := newPair(t, 1)
	const chunks, entries = 96, 32
	operations := 250_000
	if testing.Short() {
		operations = 25_000
	}
	for seed, c := range []struct {
		umem     afxdp.UmemConfig
		segments int
	}{
		{afxdp.UmemConfig{Chunks: chunks, ChunkBytes: 2048}, 1},
		{afxdp.UmemConfig{Chunks: chunks, ChunkBytes: 4096, HeadroomBytes: 2800}, 4}, // so that received packets have several chunks, too
		{afxdp.UmemConfig{Chunks: chunks, ChunkBytes: 3001, Unaligned: true}, 1},
		{afxdp.UmemConfig{Chunks: chunks, ChunkBytes: 2501, HeadroomBytes: 1500, Unaligned: true}, 4},
	} {
		rng := rand.New(rand.NewPCG(uint64(seed), 0))
		var ends []*ledger
		for _, h := range []*host{a, b} {
			p := h.newPortOf(t, c.umem, func(s *afxdp.SocketConfig) {
				s.RxEntries, s.TxEntries, s.FillEntries, s.CompletionEntries = entries, entries, entries, entries
				s.Fill, s.MultiBuffer = s.Fill[:20], c.segments > 1
			})
			fill := make([]uint64, 20)
			p.frames = newFrames(t, p.umem, 0, chunks)
			p.frames.AllocBurst(fill) // the same 20
			ends = append(ends, newLedger(t, p, fill))
		}
		number, seen := uint64(seed)<<32, map[uint64]bool{}
		for range operations {
			l := ends[rng.IntN(2)]
			n := 1 + rng.IntN(12)
			switch rng.IntN(8) {
			case 0, 1:
				l.transmit(n, 1060, c.segments, &number)
			case 2:
				l.kick()
			case 3:
				l.complete(n)
			case 4:
				l.receive(n, seen)
			case 5:
				l.giveUp(n, true)
			case 6:
				l.giveUp(n, false)
			case 7:
				l.fill(n)
			}
			if l.frames.Available() != l.count(free) || len(l.held) != l.count(held) {
				t.Fatalf("seed %d: %d chunks free and %d held, the ledger has %d and %d", seed, l.frames.Available(), len(l.held), l.count(free), l.count(held))
			}
		}
		settle(t, ends, seen)
		for i, l := range ends {
			ends[0].giveUp(chunks, false)
			ends[1].giveUp(chunks, false)
			// Each chunk that the ledger has in the fill ring must still be able to take a packet.
			want := l.count(filled)
			for left := want; left > 0; left -= min(entries, left) {
				ends[1-i].transmit(min(entries, left), 300, 1, &number)
				settle(t, ends, seen)
			}
			if l.count(filled) != 0 || l.count(held) != want {
				t.Errorf("seed %d: %d of %d filled chunks took a packet", seed, l.count(held), want)
			}
		}
		for _, l := range ends {
			must(t, l.Close())
		}
	}
}

// settle waits until all that was sent is completed, and received or counted as lost.
func settle(t *testing.T, ends []*ledger, seen map[uint64]bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		settled := true
		for i, l := range ends {
			l.kick()
			l.complete(64)
			l.receive(64, seen)
			st, err := l.Stats()
			must(t, err)
			settled = settled && l.count(sent) == 0 && uint64(ends[1-i].sent) == uint64(l.got)+st.RxDropped+st.RxRingFull
		}
		if settled {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d and %d chunks are in transmission; sent %d and %d, received %d and %d", ends[0].count(sent), ends[1].count(sent),
				ends[0].sent, ends[1].sent, ends[0].got, ends[1].got)
		}
	}
}
