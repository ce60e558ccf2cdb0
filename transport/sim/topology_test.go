package sim

import (
	"errors"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// Packets beyond a direction's MTU disappear, in silence or with a report, as soon as the MTU shrinks and until it grows.
func TestBlackHole(t *testing.T) {
	for _, c := range []struct{ report, listens, reliable, events bool }{
		{false, true, false, false},
		{true, false, false, false},
		{true, true, false, true},
		{true, true, true, true},
	} {
		n := NewNetwork(40, Faults{})
		a, b := pairOf(t, n, LinkOptions{Unreachable: c.listens, Reliable: c.reliable})
		a.send(1, 1400)
		n.SetFaults(addrA, addrB, Faults{MTU: 1200, ReportMTU: c.report})
		a.send(2, 1200)
		a.send(3, 1201)
		b.send(4, 1400) // the way back is wider
		n.SetFaults(addrA, addrB, Faults{})
		a.send(5, 1400)
		if keys, _ := finish(n, b); !slices.Equal(keys, []uint64{1, 2, 5}) {
			t.Errorf("%+v: B received %v, want all but packet 3", c, keys)
		}
		if keys, _ := a.packets(); !slices.Equal(keys, []uint64{4}) {
			t.Errorf("%+v: A received %v, want packet 4", c, keys)
		}
		es := make([]transport.Event, 2)
		k := a.Events(es)
		if k > 0 != c.events {
			t.Errorf("%+v: events %+v", c, es[:k])
		}
		if k > 0 && (k != 1 || es[0].Kind != transport.MTUChanged || es[0].Path.MTU != 1200 || es[0].Path.Remote() != addrB ||
			!errors.Is(es[0].Err, syscall.EMSGSIZE)) {
			t.Errorf("%+v: events %+v, want one MTU of 1200", c, es[:k])
		}
		if got := n.Counters(); got.BlackHoled != 1 || got.Delivered != 4 {
			t.Errorf("%+v: %+v", c, got)
		}
		n.Counters().check(t)
	}
}

// A Link that moved sends from its new address and receives there; the old one is nobody's, also for what is under way, until another comes.
func TestRebind(t *testing.T) {
	n := NewNetwork(41, Faults{Delay: time.Millisecond})
	a, b := pairOf(t, n, LinkOptions{Unreachable: true})
	a.send(1, 16)
	b.send(2, 16) // will find nobody
	n.Rebind(addrA, addrC)
	a.send(3, 16)
	n.Advance(n.Now().Add(time.Second))

	in := make([]transport.Frame, 4)
	k, err := b.Recv(in)
	if k != 2 || err != nil || in[0].Path.Remote() != addrA || in[1].Path.Remote() != addrC {
		t.Fatalf("B received %d packets, %v, from %v and %v; want one from each address", k, err, in[0].Path.Remote(), in[1].Path.Remote())
	}
	back := in[1].Path
	b.Free(in[:k])
	es := make([]transport.Event, 2)
	if k := b.Events(es); k != 1 || es[0].Kind != transport.Unreachable || es[0].Path.Remote() != addrA {
		t.Errorf("events at B: %+v, want one refusal at the old address", es[:k])
	}

	b.to = back
	b.send(4, 16)
	n.Advance(n.Now().Add(time.Second))
	// The Link does not notice: it sees itself where it was.
	if k, err := a.Recv(in); k != 1 || err != nil || in[0].Path.Local() != addrA || in[0].Path.Remote() != addrB || in[0].Path != a.to {
		t.Errorf("the moved Link received %d packets, %v, at %v from %v", k, err, in[0].Path.Local(), in[0].Path.Remote())
	}
	a.Free(in[:1])
	if p, err := a.Resolve(t.Context(), addrA, addrB); err != nil || p != a.to || a.Addr() != addrA {
		t.Errorf("after the move Resolve gives %+v, %v; the address is %v", p, err, a.Addr())
	}

	// Another Link may have the old address, and the moved one closes where it is now.
	other := link{Link: n.Link(addrA, LinkOptions{}), t: t}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	b.to = pathOf(addrB, addrA)
	b.to.MTU = 2048
	b.send(5, 16)
	if keys, _ := finish(n, other); !slices.Equal(keys, []uint64{5}) {
		t.Errorf("the new owner of the address received %v, want packet 5", keys)
	}
	n.Link(addrC, LinkOptions{}) // panics unless it was given up
	n.Counters().check(t)
}

// A refusal finds a moved sender only where it sent from.
func TestRebindRefusal(t *testing.T) {
	n := NewNetwork(42, Faults{Delay: time.Millisecond})
	a, b := pairOf(t, n, LinkOptions{Unreachable: true})
	b.Close()
	a.send(1, 16)
	n.Rebind(addrA, addrC)
	a.send(2, 16)
	n.Advance(n.Now().Add(time.Second))
	es := make([]transport.Event, 4)
	if k := a.Events(es); k != 1 || es[0].Path != a.to {
		t.Errorf("events %+v, want one, of the packet sent from the new address, with the Link's own Path", es[:k])
	}
}

// Mistakes of the test that moves a Link.
func TestRebindPanics(t *testing.T) {
	for name, to := range map[string][2]netip.AddrPort{
		"Nobody": {addrC, addrA}, "Taken": {addrA, addrB}, "Version": {addrA, addr6}, "Itself": {addrA, addrA}, "Nowhere": {addrA, {}},
	} {
		t.Run(name, func(t *testing.T) {
			n := NewNetwork(43, Faults{})
			pairOf(t, n, LinkOptions{})
			defer func() {
				if recover() == nil {
					t.Error("was done")
				}
			}()
			n.Rebind(to[0], to[1])
		})
	}
}

// Split parts two sides, both ways, and leaves each side and everybody else alone.
func TestSplit(t *testing.T) {
	var addrs [4]netip.AddrPort
	for i := range addrs {
		addrs[i] = netip.AddrPortFrom(addrA.Addr(), uint16(100+i))
	}
	n := NewNetwork(44, Faults{})
	reach := func() (open [4][4]bool) {
		n.Trace(func(r TraceRecord) {
			if r.Fate == NoListener { // it came through
				open[r.From.Port()-100][r.To.Port()-100] = true
			}
		})
		for _, from := range addrs {
			for _, to := range addrs {
				n.Inject(from, to, []byte{1})
			}
		}
		n.Advance(n.Now())
		return open
	}
	n.Split(addrs[:1], addrs[1:3], true)
	open := reach()
	for i := range open {
		for j := range open {
			cut := i == 0 && (j == 1 || j == 2) || j == 0 && (i == 1 || i == 2)
			if open[i][j] == cut {
				t.Errorf("from %d to %d: open %v", i, j, open[i][j])
			}
		}
	}
	n.Split(addrs[:1], addrs[1:3], false)
	for i, row := range reach() {
		if slices.Contains(row[:], false) {
			t.Errorf("from %d after mending: %v", i, row)
		}
	}
	n.Counters().check(t)
}
