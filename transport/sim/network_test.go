package sim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// link is a Link with what a test wants to do to it.
type link struct {
	*Link
	t  *testing.T
	to transport.Path
}

func pairOf(t *testing.T, n *Network, o LinkOptions) (a, b link) {
	a, b = link{Link: n.Link(addrA, o), t: t}, link{Link: n.Link(addrB, o), t: t}
	for _, l := range []*link{&a, &b} {
		other := addrB
		if l == &b {
			other = addrA
		}
		var err error
		if l.to, err = l.Resolve(t.Context(), l.Addr(), other); err != nil {
			t.Fatal(err)
		}
	}
	return a, b
}

// send sends packet number key of n bytes; it must be taken.
func (l link) send(key uint64, n int) {
	l.t.Helper()
	var f transport.Frame
	ok := l.Alloc(&f)
	if !ok {
		l.t.Fatal("no frame")
	}
	f.Data, f.Path = f.Data[:n], l.to
	binary.LittleEndian.PutUint64(f.Data, key)
	for i := 8; i < n; i++ {
		f.Data[i] = byte(key + uint64(i))
	}
	if n, err := l.Send([]transport.Frame{f}); n != 1 || err != nil {
		l.t.Fatalf("Send = %d, %v", n, err)
	}
	out := make([]transport.Frame, 8)
	l.Free(out[:l.Completed(out)])
}

// packets returns the keys of what is there, and when each came.
func (l link) packets() (keys []uint64, at []transport.Time) {
	l.t.Helper()
	in := make([]transport.Frame, 8)
	for {
		n, err := l.Recv(in)
		if err != nil {
			l.t.Fatal(err)
		}
		if n == 0 {
			return keys, at
		}
		for _, f := range in[:n] {
			var key [8]byte // a corrupted packet may be shorter
			copy(key[:], f.Data)
			keys, at = append(keys, binary.LittleEndian.Uint64(key[:])), append(at, f.Stamp)
		}
		l.Free(in[:n])
	}
}

// finish runs the network dry, receiving on the way so that nobody is overrun.
func finish(n *Network, l link) (keys []uint64, at []transport.Time) {
	for {
		next, ok := n.Next()
		if !ok {
			return keys, at
		}
		n.Advance(next)
		k, s := l.packets()
		keys, at = append(keys, k...), append(at, s...)
	}
}

func (c Counters) check(t *testing.T) {
	t.Helper()
	if c.Sent+c.Duplicated != c.Lost+c.Partitioned+c.BlackHoled+c.QueueDropped+c.Delivered+c.Overrun+c.NoListener+c.TooBig+c.InTransit {
		t.Errorf("packets went missing in the books: %+v", c)
	}
}

// nasty does everything to packets of 20 bytes.
var nasty = Faults{
	Delay: time.Millisecond, Jitter: 200 * time.Microsecond, JitterShape: Pareto, Spike: .01, SpikeDelay: 5 * time.Millisecond,
	Loss: .1, Burst: BurstLoss(.05, 3), Duplicate: .1, Reorder: .1, Corrupt: .1, CorruptHeader: .05,
	Bandwidth: Bandwidth{BitsPerSecond: 70e6, QueueBytes: 1000, MarkBytes: 500}, MTU: 20,
}

// The same seed gives the same packets at the same instants; another seed does not.
func TestReplay(t *testing.T) {
	trace := func(seed uint64) string {
		n := NewNetwork(seed, nasty)
		n.SetIngress(addrB, nasty.Bandwidth)
		a, b := pairOf(t, n, LinkOptions{})
		var log bytes.Buffer
		for key := range uint64(2000) {
			a.send(key, 20)
			n.Advance(n.Now().Add(10 * time.Microsecond))
			in := make([]transport.Frame, 8)
			k, err := b.Recv(in)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range in[:k] {
				fmt.Fprintf(&log, "%d %x\n", f.Stamp, f.Data)
			}
			b.Free(in[:k])
		}
		c := n.Counters()
		c.check(t)
		if min(c.Lost, c.Duplicated, c.Reordered, c.Corrupted, c.Spiked, c.QueueDropped) == 0 {
			t.Errorf("a fault never happened: %+v", c)
		}
		fmt.Fprintf(&log, "%+v", c)
		return log.String()
	}
	if trace(1) != trace(1) {
		t.Error("one seed gave two histories")
	}
	if trace(1) == trace(2) {
		t.Error("two seeds gave one history")
	}
}

// Traffic that suffers nothing, and knobs that are out of the way, change nothing about what happens to the rest.
func TestOffDrawsNothing(t *testing.T) {
	history := func(disturb func(n *Network), beside func(c link)) (keys []uint64, at []transport.Time) {
		n := NewNetwork(12, Faults{})
		a, b := pairOf(t, n, LinkOptions{})
		c := link{Link: n.Link(addrC, LinkOptions{}), t: t, to: pathOf(addrC, addrA)}
		c.to.MTU = 2048
		f := nasty
		f.Bandwidth = Bandwidth{}
		n.SetFaults(addrA, addrB, f)
		disturb(n)
		for key := range uint64(500) {
			a.send(key, 20)
			beside(c)
			n.Advance(n.Now().Add(50 * time.Microsecond))
			a.packets()
			k, s := b.packets()
			keys, at = append(keys, k...), append(at, s...)
		}
		return keys, at
	}
	keys, at := history(func(*Network) {}, func(link) {})
	k, s := history(func(n *Network) {
		n.SetFaults(addrC, addrA, Faults{
			Delay: time.Microsecond, JitterShape: Pareto, Burst: GilbertElliott{BadToGood: 1, LossBad: 1},
			Bandwidth: Bandwidth{BitsPerSecond: 1e9}, MTU: 100, ReportMTU: true,
		})
		n.SetIngress(addrA, Bandwidth{BitsPerSecond: 1e9, QueueBytes: 1, MarkBytes: 1})
		n.Trace(func(TraceRecord) {})
	}, func(c link) { c.send(1, 50); c.send(2, 200) })
	if !slices.Equal(k, keys) || !slices.Equal(s, at) {
		t.Error("traffic that suffers no random fault changed the history of another direction")
	}
}

// A partition stops one direction, also what is under way, until it is mended.
func TestPartition(t *testing.T) {
	n := NewNetwork(6, Faults{Delay: time.Millisecond})
	a, b := pairOf(t, n, LinkOptions{})
	a.send(1, 16)
	n.Partition(addrA, addrB, true)
	a.send(2, 16)
	b.send(3, 16)
	n.Advance(n.Now().Add(time.Second))
	if keys, _ := b.packets(); len(keys) != 0 {
		t.Errorf("packets %v passed the partition", keys)
	}
	if keys, _ := a.packets(); !slices.Equal(keys, []uint64{3}) {
		t.Errorf("the other direction carried %v, want packet 3", keys)
	}
	n.Partition(addrA, addrB, false)
	a.send(4, 16)
	if keys, _ := finish(n, b); !slices.Equal(keys, []uint64{4}) {
		t.Errorf("after mending came %v, want packet 4", keys)
	}
	if c := n.Counters(); c.Partitioned != 2 {
		t.Errorf("%+v, want 2 partitioned", c)
	}
	n.Counters().check(t)
}

// Directions have faults of their own.
func TestSetFaults(t *testing.T) {
	n := NewNetwork(7, Faults{})
	a, b := pairOf(t, n, LinkOptions{})
	n.SetFaults(addrA, addrB, Faults{Loss: 1})
	a.send(1, 16)
	b.send(2, 16)
	n.SetAllFaults(Faults{Delay: time.Minute})
	a.send(3, 16)
	b.send(4, 16)
	start := n.Now()
	if keys, at := finish(n, a); !slices.Equal(keys, []uint64{2, 4}) || at[0] != start || at[1] != start.Add(time.Minute) {
		t.Errorf("came %v at %v, want 2 at once and 4 a minute later", keys, at)
	}
	if keys, _ := b.packets(); len(keys) != 0 {
		t.Errorf("packets %v passed a loss of 1", keys)
	}
}

// After a crash packets find nobody, and the sender hears of it; a new Link on the address gets what is still under way.
func TestCrash(t *testing.T) {
	n := NewNetwork(8, Faults{Delay: time.Millisecond})
	a, b := pairOf(t, n, LinkOptions{Unreachable: true})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("a second Close: %v", err)
	}
	a.send(1, 16)
	n.Advance(n.Now().Add(time.Second))
	es := make([]transport.Event, 4)
	if k := a.Events(es); k != 1 || es[0].Kind != transport.Unreachable || es[0].Path != a.to || !errors.Is(es[0].Err, syscall.ECONNREFUSED) {
		t.Errorf("events %+v, want one refusal by B", es[:k])
	}
	a.send(2, 16)
	b.Link = n.Link(addrB, LinkOptions{MTU: 100})
	if keys, _ := finish(n, b); !slices.Equal(keys, []uint64{2}) {
		t.Errorf("the new Link got %v, want packet 2", keys)
	}
	a.send(3, 101)
	n.Advance(n.Now().Add(time.Second))
	if k := a.Events(es); k != 1 || es[0].Kind != transport.MTUChanged || es[0].Path.MTU != 100 || es[0].Path.Remote() != addrB {
		t.Errorf("events %+v, want the new MTU", es[:k])
	}
	if c := n.Counters(); c.NoListener != 1 || c.TooBig != 1 || c.Delivered != 1 {
		t.Errorf("%+v", c)
	}
	n.Counters().check(t)
}

// A receiver without frames loses packets, or makes those of a reliable sender wait, in order.
func TestReceiverFull(t *testing.T) {
	for _, reliable := range []bool{false, true} {
		n := NewNetwork(9, Faults{})
		a, b := pairOf(t, n, LinkOptions{Frames: 8, Reliable: reliable})
		for key := range uint64(10) {
			a.send(key, 16)
			n.Advance(n.Now())
		}
		keys, _ := b.packets()
		n.Advance(n.Now())
		more, _ := b.packets()
		keys = append(keys, more...)
		want := []uint64{0, 1, 2, 3}
		if reliable {
			want = []uint64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
		}
		c := n.Counters()
		if !slices.Equal(keys, want) || c.Overrun != 10-uint64(len(want)) || c.InTransit != 0 {
			t.Errorf("reliable %v: came %v, want %v; %+v", reliable, keys, want, c)
		}
		c.check(t)
	}
}

// A lagging completion keeps the frame in flight until its time.
func TestCompleteAfter(t *testing.T) {
	n := NewNetwork(10, Faults{})
	a, _ := pairOf(t, n, LinkOptions{CompleteAfter: time.Millisecond})
	a.send(1, 16)
	due := n.Now().Add(time.Millisecond)
	out := make([]transport.Frame, 2)
	n.Advance(due - 1)
	if k := a.Completed(out); k != 0 {
		t.Errorf("%d frames completed before their time", k)
	}
	if next, ok := n.Next(); !ok || next != due {
		t.Errorf("Next = %d, %v; want %d", next, ok, due)
	}
	n.Advance(due)
	if k := a.Completed(out); k != 1 {
		t.Errorf("%d frames completed at their time, want 1", k)
	}
	if err := a.Wait(0); !errors.Is(err, ErrIdle) {
		t.Errorf("Wait with nothing under way: %v, want ErrIdle", err)
	}
}

// The heap against sorting: by time, then in the order pushed.
func TestQueueOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 0))
	var q queue
	var want []item
	for step := range 20_000 {
		if rng.IntN(5) < 3 || step < 50 {
			due := transport.Time(rng.IntN(50))
			q.push(due, int32(step))
			at, _ := slices.BinarySearchFunc(want, due, func(it item, d transport.Time) int {
				if it.due <= d {
					return -1
				}
				return 1
			})
			want = slices.Insert(want, at, item{due: due, record: int32(step)})
		} else if len(want) > 0 {
			if got := q.pop(); got.due != want[0].due || got.record != want[0].record {
				t.Fatalf("step %d: popped %+v, want %+v", step, got, want[0])
			}
			want = want[1:]
		}
	}
}
