package sim

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// The trace is a full account: it adds up to the Counters, every copy of every packet ends once, and time never runs back.
func TestTraceIsComplete(t *testing.T) {
	n := NewNetwork(50, nasty)
	n.SetIngress(addrB, nasty.Bandwidth)
	a, b := pairOf(t, n, LinkOptions{Frames: 8})
	var counts [fates]uint64
	open := map[uint64]int{} // copies under way, by number
	var last transport.Time
	n.Trace(func(r TraceRecord) {
		counts[r.Fate]++
		if r.At < last || r.From != addrA || r.To != addrB {
			t.Errorf("%v after %v", r, last)
		}
		last = r.At
		_, known := open[r.Number]
		switch f := r.Fate; {
		case f == Sent:
			if known || r.Number != counts[Sent] {
				t.Errorf("%v, the %d. to be sent", r, counts[Sent])
			}
			open[r.Number] = 1
		case !known:
			t.Errorf("%v before it was sent", r)
		case f == Duplicated:
			open[r.Number]++
		case f <= TooBig:
			open[r.Number]--
		}
	})
	for key := range uint64(5000) {
		switch key {
		case 1000, 1100:
			n.Partition(addrA, addrB, key == 1000)
		case 2000:
			b.Close()
		case 2100:
			b.Link = n.Link(addrB, LinkOptions{MTU: 18, Frames: 8})
		case 2200:
			b.Close()
			b.Link = n.Link(addrB, LinkOptions{Frames: 8})
		}
		a.send(key, 18+int(key%4)) // one in four is beyond the MTU
		n.Advance(n.Now().Add(20 * time.Microsecond))
		if b.closed {
			continue
		}
		if key < 3000 || key%64 == 0 {
			b.packets()
		}
		n.Counters().check(t)
	}
	n.Advance(n.Now().Add(time.Hour))
	for number, copies := range open {
		if copies != 0 {
			t.Errorf("packet %d: %d copies never ended", number, copies)
		}
	}
	c := n.Counters()
	c.check(t)
	if c.InTransit != 0 {
		t.Errorf("%d still under way", c.InTransit)
	}
	books := reflect.ValueOf(c)
	for f, count := range counts {
		name := map[Fate]string{Marked: "Marked"}[Fate(f)]
		if name == "" {
			name = reflect.TypeOf(c).Field(f).Name
		}
		if booked := books.FieldByName(name).Uint(); booked != count {
			t.Errorf("%v: %d in the trace, %d in the Counters", Fate(f), count, booked)
		}
		if count == 0 && Fate(f) != Marked { // nothing sent was ECN-capable
			t.Errorf("%v: never happened", Fate(f))
		}
	}
}

// A record's bytes are the packet as it is, and its line can be read.
func TestTraceRecord(t *testing.T) {
	n := NewNetwork(51, Faults{Delay: 20 * time.Microsecond})
	var lines []string
	var arrived []byte
	n.Trace(func(r TraceRecord) {
		lines = append(lines, r.String())
		if r.Fate == Delivered {
			arrived = bytes.Clone(r.Packet)
		}
	})
	_, b := pairOf(t, n, LinkOptions{})
	n.Inject(addrA, addrB, []byte("abc"))
	finish(n, b)
	n.Trace(nil)
	n.Inject(addrA, addrB, []byte("untraced"))
	want := []string{
		"1s #1 198.18.0.1:7 > 198.18.0.2:9 3 bytes: sent",
		"1.00002s #1 198.18.0.1:7 > 198.18.0.2:9 3 bytes: delivered",
	}
	if !reflect.DeepEqual(lines, want) || string(arrived) != "abc" {
		t.Errorf("trace %q, arrived %q; want %q", lines, arrived, want)
	}
}

// In the long run nothing allocates, whatever happens to packets.
func TestNoAllocation(t *testing.T) {
	n := NewNetwork(52, nasty)
	n.SetIngress(addrB, nasty.Bandwidth)
	x, y := n.Link(addrA, LinkOptions{}), n.Link(addrB, LinkOptions{})
	path, err := x.Resolve(t.Context(), addrA, addrB)
	if err != nil {
		t.Fatal(err)
	}
	fates := 0
	n.Trace(func(TraceRecord) { fates++ })
	exchange := exchanger(x, y, path)
	stranger, in := []byte("garbage"), make([]transport.Frame, 4)
	run := func() {
		for range 100 {
			n.Inject(addrC, addrB, stranger)
			n.Inject(addrC, addrA, stranger)
			exchange()
			k, _ := x.Recv(in)
			x.Free(in[:k])
			n.Advance(n.Now().Add(50 * time.Microsecond))
		}
	}
	for range 50 {
		run()
	}
	if got := testing.AllocsPerRun(50, run); got != 0 {
		t.Errorf("%v allocations in 100 packets", got)
	}
	y.Close() // packets that find nobody are free as well
	if got := testing.AllocsPerRun(50, run); got != 0 {
		t.Errorf("%v allocations in 100 packets to nobody", got)
	}
	if fates == 0 {
		t.Error("nothing was traced")
	}
}
