package sim

import (
	"net/netip"
	"testing"

	"github.com/fastrpc/fastrpc/transport"
)

// Closing one end is an event at the other, once, whose sends then go nowhere.
func TestPipePeerClosed(t *testing.T) {
	a, b := Pipe(LinkOptions{Reliable: true, Frames: 4})
	es := make([]transport.Event, 2)
	if n := a.Events(es); n != 0 {
		t.Fatalf("events %+v before anything happened", es[:n])
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.Wait(0); err != nil { // woken by the Close
		t.Fatal(err)
	}
	if n := a.Events(es); n != 1 || es[0].Kind != transport.PeerClosed || es[0].Path.Remote() != b.Addr() {
		t.Errorf("events %+v, want PeerClosed", es[:n])
	}
	if n := a.Events(es); n != 0 {
		t.Errorf("events %+v once more", es[:n])
	}
	path, err := a.Resolve(t.Context(), a.Addr(), b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	for range 10 { // more than the receiver could have held
		var f transport.Frame
		ok := a.Alloc(&f)
		if !ok {
			t.Fatal("no frame")
		}
		f.Data, f.Path = f.Data[:9], path
		if n, err := a.Send([]transport.Frame{f}); n != 1 || err != nil {
			t.Fatalf("Send to a closed end = %d, %v", n, err)
		}
		out := make([]transport.Frame, 1)
		a.Free(out[:a.Completed(out)])
	}
	if a.Dropped() != 10 {
		t.Errorf("%d dropped, want 10", a.Dropped())
	}
}

// Several ports share a pipe: the receiver sees the one that was resolved.
func TestPipePorts(t *testing.T) {
	a, b := Pipe(LinkOptions{})
	from, to := netip.AddrPortFrom(a.Addr().Addr(), 1234), netip.AddrPortFrom(b.Addr().Addr(), 4321)
	path, err := a.Resolve(t.Context(), from, to)
	if err != nil {
		t.Fatal(err)
	}
	var f transport.Frame
	a.Alloc(&f)
	f.Path = path
	if n, err := a.Send([]transport.Frame{f}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	in := make([]transport.Frame, 1)
	if n, err := b.Recv(in); n != 1 || err != nil || in[0].Path.Remote() != from || in[0].Path.Local() != to {
		t.Errorf("Recv = %d, %v, from %v at %v", n, err, in[0].Path.Remote(), in[0].Path.Local())
	}
}
