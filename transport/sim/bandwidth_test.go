package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// serialized is what k packets of so many bytes on the wire take at a rate, rounded up to a nanosecond.
func serialized(k, wireBytes, rate int64) time.Duration {
	return time.Duration((k*wireBytes*8e9 + rate - 1) / rate)
}

// Packets back to back arrive a delay and their time on the wire later, without a rounding error that would grow.
func TestSerialization(t *testing.T) {
	addr6b := netip.MustParseAddrPort("[2001:2::2]:9")
	for _, c := range []struct {
		from, to  netip.AddrPort
		bytes     int
		wireBytes int64
		rate      int64
	}{
		{addrA, addrB, 100, 166, 10e9}, // 132.8 ns
		{addrA, addrB, 1400, 1466, 10e9},
		{addrA, addrB, 8, 84, 10e9}, // the least that Ethernet carries
		{addrA, addrB, 18, 84, 3e9},
		{addrA, addrB, 19, 85, 3e9},
		{addr6, addr6b, 100, 186, 100e9},
		{addrA, addrB, 1400, 1466, 9600},
	} {
		for _, shared := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/bytes=%d/rate=%d/shared=%v", c.from.Addr(), c.bytes, c.rate, shared), func(t *testing.T) {
				n := NewNetwork(30, Faults{})
				wire := Bandwidth{BitsPerSecond: c.rate}
				if shared {
					n.SetIngress(c.to, wire)
					wire = Bandwidth{}
				}
				const delay = 20 * time.Microsecond
				n.SetFaults(c.from, c.to, Faults{Delay: delay, Bandwidth: wire})
				a, b := link{Link: n.Link(c.from, LinkOptions{}), t: t}, link{Link: n.Link(c.to, LinkOptions{}), t: t}
				a.to, _ = a.Resolve(t.Context(), c.from, c.to)
				for round := range 2 { // the second finds the wire idle again
					start := n.Now()
					const packets = 200
					for key := range uint64(packets) {
						a.send(key, c.bytes)
					}
					keys, at := finish(n, b)
					if len(keys) != packets || !slices.IsSorted(keys) {
						t.Fatalf("round %d: came %v", round, keys)
					}
					for k, s := range at {
						if want := delay + serialized(int64(k+1), c.wireBytes, c.rate); s.Sub(start) != want {
							t.Fatalf("round %d: packet %d took %v, want %v", round, k, s.Sub(start), want)
						}
					}
				}
			})
		}
	}
}

// The queue takes as many bytes as it is said to, again as soon as one packet has left, and nothing from a reliable sender.
func TestQueueLimit(t *testing.T) {
	const wire, rate = 166, 1e9
	for _, reliable := range []bool{false, true} {
		n := NewNetwork(31, Faults{Bandwidth: Bandwidth{BitsPerSecond: rate, QueueBytes: 5 * wire}})
		a, b := pairOf(t, n, LinkOptions{Reliable: reliable})
		start := n.Now()
		send := func(first, last uint64) {
			for key := first; key <= last; key++ {
				a.send(key, 100)
			}
		}
		send(0, 9)
		n.Advance(start.Add(serialized(1, wire, rate)) - 1)
		send(10, 10)
		n.Advance(n.Now() + 1)
		send(11, 12)
		keys, at := finish(n, b)
		want := []uint64{0, 1, 2, 3, 4, 11}
		if reliable {
			want = []uint64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
		}
		if !slices.Equal(keys, want) {
			t.Errorf("reliable %v: came %v, want %v", reliable, keys, want)
		}
		if got := at[len(at)-1].Sub(start); got != serialized(int64(len(want)), wire, rate) {
			t.Errorf("reliable %v: the last came after %v", reliable, got)
		}
		c := n.Counters()
		if c.QueueDropped != 13-uint64(len(want)) {
			t.Errorf("reliable %v: %+v", reliable, c)
		}
		c.check(t)
	}
}

// A packet that finds the wire idle passes, however short the queue.
func TestQueueOfOne(t *testing.T) {
	n := NewNetwork(32, Faults{Bandwidth: Bandwidth{BitsPerSecond: 1e9, QueueBytes: 1}})
	a, b := pairOf(t, n, LinkOptions{})
	a.send(1, 100)
	a.send(2, 100)
	finish(n, b)
	a.send(3, 100)
	if keys, _ := finish(n, b); !slices.Equal(keys, []uint64{3}) || n.Counters().QueueDropped != 1 {
		t.Errorf("came %v, %+v; want 3 after packet 2 was dropped", keys, n.Counters())
	}
}

// ECN-capable packets that find more than MarkBytes before them get CE, others do not.
func TestMarks(t *testing.T) {
	const wire = 166
	for _, shared := range []bool{false, true} {
		for ecn := range uint8(4) {
			n := NewNetwork(33, Faults{})
			b := Bandwidth{BitsPerSecond: 1e9, MarkBytes: 2 * wire}
			if shared {
				n.SetIngress(addrB, b)
			} else {
				n.SetFaults(addrA, addrB, Faults{Bandwidth: b})
			}
			x, y := pairOf(t, n, LinkOptions{})
			n.Trace(func(r TraceRecord) {
				if want := map[Fate]uint8{Sent: ecn, Marked: ce}[r.Fate]; r.Fate != Delivered && r.ECN != want {
					t.Errorf("sent with ECN %d: the trace has %d in %v", ecn, r.ECN, r)
				}
			})
			fs := make([]transport.Frame, 6)
			for i := range fs {
				if !x.Alloc(&fs[i]) {
					t.Fatal("no frame")
				}
				fs[i].Data, fs[i].Path, fs[i].ECN = fs[i].Data[:100], x.to, ecn
			}
			if k, err := x.Send(fs); k != len(fs) || err != nil {
				t.Fatal(k, err)
			}
			n.Advance(n.Now().Add(time.Second))
			k, err := y.Recv(fs)
			if k != len(fs) || err != nil {
				t.Fatal(k, err)
			}
			marked := uint64(0)
			for i := range fs {
				want := ecn
				if i >= 3 && (ecn == ect0 || ecn == ect1) { // it finds 3 packets, or more
					want = ce
					marked++
				}
				if fs[i].ECN != want {
					t.Errorf("shared %v: packet %d, sent with ECN %d, came with %d, want %d", shared, i, ecn, fs[i].ECN, want)
				}
			}
			if c := n.Counters(); c.Marked != marked {
				t.Errorf("shared %v, ECN %d: %d counted as marked, want %d", shared, ecn, c.Marked, marked)
			}
			y.Free(fs)
		}
	}
}

// Sixteen senders into one receiver share its port: together they get its rate, in the order in which they come to it, and one queue.
func TestIncast(t *testing.T) {
	const senders, each, wire, rate, delay = 16, 8, 1466, 10e9, 20 * time.Microsecond
	run := func(queueBytes int) (keys []uint64, at []transport.Time, c Counters) {
		n := NewNetwork(34, Faults{Delay: delay, Bandwidth: Bandwidth{BitsPerSecond: rate}})
		n.SetIngress(addrB, Bandwidth{BitsPerSecond: rate, QueueBytes: queueBytes})
		b := link{Link: n.Link(addrB, LinkOptions{}), t: t}
		for s := range uint64(senders) {
			from := netip.AddrPortFrom(addrA.Addr(), uint16(1000+s))
			l := link{Link: n.Link(from, LinkOptions{}), t: t, to: pathOf(from, addrB)}
			l.to.MTU = 2048
			for i := range uint64(each) {
				l.send(i<<8|s, 1400)
			}
		}
		keys, at = finish(n, b)
		n.Counters().check(t)
		return keys, at, n.Counters()
	}
	start := transport.Time(time.Second).Add(delay + serialized(1, wire, rate)) // the first is through its sender's wire
	keys, at, _ := run(0)
	if len(keys) != senders*each || !slices.IsSorted(keys) { // sorted: one of each sender, then the next of each
		t.Fatalf("came %x", keys)
	}
	// All wires run at one rate: the n-th packets of all senders reach the port at one time, and keep it busy until the next ones are there.
	for k, s := range at {
		if got, want := s.Sub(start), serialized(int64(k+1), wire, rate); got < want || got > want+1 { // start is rounded up
			t.Fatalf("packet %d came after %v, want %v", k, got, want)
		}
	}
	_, _, c := run(20 * wire)
	// Of every 16 that come at a time the port sends one before the next come. What has room comes through, the rest does not.
	if want := uint64(20 + each - 1); c.Delivered < want-1 || c.Delivered > want+1 || c.Delivered+c.QueueDropped != senders*each {
		t.Errorf("with room for 20: %+v, want %d delivered", c, want)
	}
}

// A port serves packets in the order in which they come to it, not in that in which they were sent.
func TestPortServesInOrderOfArrival(t *testing.T) {
	n := NewNetwork(35, Faults{})
	n.SetIngress(addrB, Bandwidth{BitsPerSecond: 1e9})
	n.SetFaults(addrC, addrB, Faults{Bandwidth: Bandwidth{BitsPerSecond: 1e6}})
	a, b := pairOf(t, n, LinkOptions{})
	c := link{Link: n.Link(addrC, LinkOptions{}), t: t, to: pathOf(addrC, addrB)}
	c.to.MTU = 2048
	c.send(1, 1000)
	c.send(2, 1000)
	a.send(3, 1000)
	if keys, _ := finish(n, b); !slices.Equal(keys, []uint64{3, 1, 2}) {
		t.Errorf("came %v, want the packet of the fast wire first", keys)
	}
}

// When the rate changes, or its limit is lifted, what was queued leaves as it would have, and nothing overtakes it.
func TestRateChanges(t *testing.T) {
	const wire = 166
	for _, shared := range []bool{false, true} {
		n := NewNetwork(36, Faults{})
		set := func(rate int64) {
			n.Advance(n.Now()) // what was sent is at the port
			if shared {
				n.SetIngress(addrB, Bandwidth{BitsPerSecond: rate})
			} else {
				n.SetFaults(addrA, addrB, Faults{Bandwidth: Bandwidth{BitsPerSecond: rate}})
			}
		}
		a, b := pairOf(t, n, LinkOptions{})
		start := n.Now()
		var want []time.Duration
		set(3e9)
		a.send(0, 100)
		a.send(1, 100)
		want = append(want, serialized(1, wire, 3e9), serialized(2, wire, 3e9))
		set(1e9)
		a.send(2, 100)
		want = append(want, want[1]+serialized(1, wire, 1e9))
		set(0)
		a.send(3, 100)
		want = append(want, want[2])
		keys, at := finish(n, b)
		if !slices.IsSorted(keys) || len(at) != len(want) {
			t.Fatalf("shared %v: came %v", shared, keys)
		}
		for i := range at {
			if at[i].Sub(start) != want[i] {
				t.Errorf("shared %v: packet %d came after %v, want %v", shared, i, at[i].Sub(start), want[i])
			}
		}
		a.send(4, 100)
		if _, at := finish(n, b); len(at) != 1 || at[0] != start.Add(want[3]) {
			t.Errorf("shared %v: without a limit a packet needs time", shared)
		}
	}
}

// Queues that took long at the old rate count as full at one that would have sent far more in that time.
func TestRateRaisedFar(t *testing.T) {
	n := NewNetwork(38, Faults{Bandwidth: Bandwidth{BitsPerSecond: 1}})
	a, b := pairOf(t, n, LinkOptions{})
	a.send(1, 100)
	for _, rate := range []int64{1e12, 1e15} {
		n.SetAllFaults(Faults{Bandwidth: Bandwidth{BitsPerSecond: rate}})
		a.send(2, 100)
	}
	if keys, _ := finish(n, b); !slices.Equal(keys, []uint64{1}) || n.Counters().QueueDropped != 2 {
		t.Errorf("came %v, %+v; want packet 1 alone", keys, n.Counters())
	}
	n.SetAllFaults(Faults{Bandwidth: Bandwidth{BitsPerSecond: maxRate}})
	a.send(3, 100)
	if keys, _ := finish(n, b); !slices.Equal(keys, []uint64{3}) {
		t.Errorf("on an idle wire came %v, want packet 3", keys)
	}
}

// Also a packet that is reordered, or a second copy, leaves the wire before it arrives.
func TestLateAfterTheWire(t *testing.T) {
	for _, f := range []Faults{{Reorder: 1}, {Duplicate: 1}} {
		f.Delay, f.Bandwidth.BitsPerSecond = time.Millisecond, 1e3
		n := NewNetwork(39, f)
		a, b := pairOf(t, n, LinkOptions{})
		start := n.Now()
		a.send(1, 100)
		_, at := finish(n, b)
		for _, s := range at {
			if least := f.Delay + serialized(1, 166, 1e3); s.Sub(start) < least {
				t.Errorf("%+v: came after %v, want at least %v", f, s.Sub(start), least)
			}
		}
		if want := int(1 + n.Counters().Duplicated); len(at) != want {
			t.Errorf("%d arrived, want %d", len(at), want)
		}
	}
}
