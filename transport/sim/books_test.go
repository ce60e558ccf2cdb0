package sim

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// Whatever is done to a network, at whatever moment, its books balance at every step, no frame goes missing, and reliable packets keep their
// order. Twice the same seed is twice the same history.
func TestBooksBalance(t *testing.T) {
	for seed := range uint64(200) {
		first, second := playBooks(t, seed), playBooks(t, seed)
		if first != second {
			t.Errorf("seed %d: two histories", seed)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// playBooks plays one random network and returns what became of it.
func playBooks(t *testing.T, seed uint64) string {
	rng := rand.New(rand.NewPCG(seed, 0xb00c))
	n := NewNetwork(seed, someFaults(rng))
	spare := make([]netip.AddrPort, 6) // addresses without a Link
	for i := range spare {
		spare[i] = netip.AddrPortFrom(addrA.Addr(), uint16(1+i))
	}
	options := LinkOptions{Frames: 16, FrameBytes: 300, MTU: 300, Unreachable: true, Reliable: seed%4 == 0}
	var links []*Link
	open := func() {
		links = append(links, n.Link(spare[0], options))
		spare = spare[1:]
	}
	for range 3 {
		open()
	}
	anyone := func() netip.AddrPort { return netip.AddrPortFrom(addrA.Addr(), uint16(1+rng.IntN(6))) }
	fs, es := make([]transport.Frame, 16), make([]transport.Event, 4)
	ended := uint64(0)
	latest := map[[2]netip.AddrPort]uint64{}
	n.Trace(func(r TraceRecord) {
		if r.Fate >= Lost && r.Fate <= TooBig {
			ended++
		}
		if way := [2]netip.AddrPort{r.From, r.To}; options.Reliable && r.Fate == Delivered && !bytes.Equal(r.Packet, injected) {
			if r.Number <= latest[way] {
				t.Errorf("%v after number %d", r, latest[way])
			}
			latest[way] = r.Number
		}
	})
	for range 400 {
		switch rng.IntN(24) {
		case 0:
			n.SetFaults(anyone(), anyone(), someFaults(rng))
		case 1:
			n.SetAllFaults(someFaults(rng))
		case 2:
			n.SetIngress(anyone(), someBandwidth(rng))
		case 3:
			n.Partition(anyone(), anyone(), rng.IntN(3) == 0)
		case 4:
			n.Split([]netip.AddrPort{anyone()}, []netip.AddrPort{anyone(), anyone()}, rng.IntN(3) == 0)
		case 5: // a move, to one of the spare addresses
			i := rng.IntN(len(spare))
			l := links[rng.IntN(len(links))]
			old := l.node.addr
			n.Rebind(old, spare[i])
			spare[i] = old
		case 6: // a crash and a restart, perhaps elsewhere
			i := rng.IntN(len(links))
			spare = append(spare, links[i].node.addr)
			links[i].Close()
			links = append(links[:i], links[i+1:]...)
			open()
		case 7:
			n.Inject(anyone(), anyone(), injected)
		default:
			l := links[rng.IntN(len(links))]
			k := 0
			for k < 1+rng.IntN(4) && l.Alloc(&fs[k]) {
				fs[k].Data, fs[k].ECN = fs[k].Data[:rng.IntN(301)], uint8(rng.IntN(4))
				fs[k].Path = pathOf(l.Addr(), anyone())
				fs[k].Path.MTU = 300
				k++
			}
			if sent, err := l.Send(fs[:k]); sent != k || err != nil {
				t.Fatalf("Send of %d = %d, %v", k, sent, err)
			}
		}
		n.Advance(n.Now().Add(time.Duration(rng.IntN(30_000))))
		for _, l := range links {
			l.Free(fs[:l.Completed(fs)])
			if rng.IntN(2) == 0 {
				k, err := l.Recv(fs)
				if err != nil {
					t.Fatal(err)
				}
				l.Free(fs[:k])
			}
			l.Events(es)
			if c := l.Counts(); c.Free+c.Receive+c.Borrowed+c.InFlight != options.Frames || c.Borrowed != 0 {
				t.Errorf("frames: %+v", c)
			}
		}
		c := n.Counters()
		c.check(t)
		if c.Sent+c.Duplicated != ended+c.InTransit {
			t.Errorf("%d copies ended in the trace, %+v", ended, c)
		}
	}
	return fmt.Sprintf("%+v at %d", n.Counters(), n.Now())
}

// injected is what comes from outside; what Links send are zeros.
var injected = []byte("injected")

func someFaults(rng *rand.Rand) Faults {
	few := func() float64 { return max(0, rng.Float64()-.7) }
	short := func() time.Duration { return time.Duration(max(0, rng.IntN(60_000)-20_000)) }
	f := Faults{
		Delay: short(), Jitter: short(), JitterShape: Shape(rng.IntN(3)), Loss: few(), Duplicate: few(), Corrupt: few(), CorruptHeader: few(),
		Reorder: few(), ReorderDelay: short(), Spike: few(), SpikeDelay: short(), MTU: rng.IntN(2) * rng.IntN(400), ReportMTU: rng.IntN(2) == 0,
		Bandwidth: someBandwidth(rng),
	}
	if rng.IntN(3) == 0 {
		f.Burst = GilbertElliott{GoodToBad: few(), BadToGood: rng.Float64(), LossGood: few(), LossBad: rng.Float64()}
	}
	return f
}

func someBandwidth(rng *rand.Rand) Bandwidth {
	if rng.IntN(2) == 0 {
		return Bandwidth{}
	}
	return Bandwidth{BitsPerSecond: 1 + rng.Int64N(1<<(10+rng.IntN(25))), QueueBytes: rng.IntN(2000), MarkBytes: rng.IntN(1000)}
}
