package stamp

import (
	"context"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// world is two links in virtual time, each with the stamps of its side.
type world struct {
	*testing.T
	net            *sim.Network
	client, server transport.Link
	to             transport.Path
	sides          [2]*Side // client, server
}

const payload = 64

func newWorld(t *testing.T, f sim.Faults) *world {
	w := &world{T: t, net: sim.NewNetwork(1, f)}
	at := []netip.AddrPort{netip.MustParseAddrPort("198.18.0.1:1000"), netip.MustParseAddrPort("198.18.0.2:2000")}
	for i, to := range []*transport.Link{&w.client, &w.server} {
		w.sides[i] = New(100, payload)
		*to = &stamped{Link: w.net.Link(at[i], sim.LinkOptions{}), side: w.sides[i], now: w.now}
		if _, err := w.sides[i].Start(0, false); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if w.to, err = w.client.Resolve(context.Background(), at[0], at[1]); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) now() int64 { return int64(w.net.Now()) }

// pass lets time go by.
func (w *world) pass(d time.Duration) { w.net.Advance(w.net.Now().Add(d)) }

func (w *world) send(l transport.Link, to transport.Path, number uint32, bytes int) {
	w.Helper()
	var f transport.Frame
	if !l.Alloc(&f) {
		w.Fatal("no frame")
	}
	f.Data, f.Path = f.Data[:bytes], to
	binary.LittleEndian.PutUint32(f.Data, number)
	if n, err := l.Send([]transport.Frame{f}); n != 1 || err != nil {
		w.Fatal(n, err)
	}
	if err := l.Flush(); err != nil {
		w.Fatal(err)
	}
}

// receive waits for a packet. It says which call it is of, and the way back.
func (w *world) receive(l transport.Link) (number uint32, back transport.Path) {
	w.Helper()
	fs := make([]transport.Frame, 4)
	for {
		n, err := l.Recv(fs)
		if err != nil || n > 1 {
			w.Fatal(n, err)
		}
		if n == 1 {
			number, back = binary.LittleEndian.Uint32(fs[0].Data), fs[0].Path
			l.Free(fs[:1])
			return number, back
		}
		next, ok := w.net.Next()
		if !ok {
			w.Fatal("nothing will come")
		}
		w.net.Advance(next)
	}
}

// call makes a call whose stages take what they are given: of the session on the client's way out, on the server's in and out, and on the
// client's way in; the handler; the application.
func (w *world) call(number uint32, out, in, handler, serverOut, clientIn, application time.Duration) {
	client, server := w.sides[0], w.sides[1]
	w.pass(1)
	client.Add(CallBegun, w.now(), number)
	w.pass(out)
	w.send(w.client, w.to, number, payload+20)
	got, back := w.receive(w.server)
	w.pass(in)
	server.Add(HandlerBegun, w.now(), got)
	w.pass(handler)
	server.Add(HandlerEnded, w.now(), got)
	w.pass(serverOut)
	w.send(w.server, back, got, payload+20)
	w.receive(w.client)
	w.pass(clientIn)
	client.Add(CallReturned, w.now(), number)
	w.pass(application)
	client.Add(CallEnded, w.now(), number)
}

func (w *world) split() (spans []Span, unclear int) {
	w.Helper()
	var events [2][]Event
	for i, s := range w.sides {
		if err := s.Stop(); err != nil {
			w.Fatal(err)
		}
		var err error
		if events[i], err = s.Events(); err != nil {
			w.Fatal(err)
		}
	}
	spans, unclear, err := Split(events[0], events[1], true)
	if err != nil {
		w.Fatal(err)
	}
	return spans, unclear
}

// Delays that are put into a simulated network and beside its links come out as the stages that they are.
func TestInjectedDelays(t *testing.T) {
	w := newWorld(t, sim.Faults{Delay: 7 * time.Microsecond})
	us := func(n int) time.Duration { return time.Duration(n) * time.Microsecond }
	for i := range 20 {
		w.call(uint32(i+1), us(1), us(2), us(3+i), us(4), us(5), us(6))
		w.pass(us(100))
	}
	spans, unclear := w.split()
	want := []struct {
		name, side string
		took       time.Duration
	}{
		{result.StageSession, result.SideClient, us(1)},
		{result.StageWire, result.SideWire, us(7)},
		{result.StageSession, result.SideServer, us(2)},
		{result.StageHandler, result.SideServer, us(3)},
		{result.StageSession, result.SideServer, us(4)},
		{result.StageWire, result.SideWire, us(7)},
		{result.StageSession, result.SideClient, us(5)},
		{result.StageApplication, result.SideClient, us(6)},
	}
	if unclear != 0 || len(spans) != len(want) {
		t.Fatalf("%d unclear, %d stages: %+v", unclear, len(spans), spans)
	}
	for i, s := range spans {
		for call, ns := range s.Ns {
			took := want[i].took
			if s.Name == result.StageHandler {
				took += us(call)
			}
			if s.Name != want[i].name || s.Side != want[i].side || time.Duration(ns) != took {
				t.Errorf("call %d, %s of %s: %d ns, want %+v", call, s.Name, s.Side, ns, want[i])
			}
		}
	}
}

// What is shorter than a call is not stamped, wherever it passes; a packet as long, beside a call, makes it unclear.
func TestOtherPackets(t *testing.T) {
	w := newWorld(t, sim.Faults{})
	w.call(1, 1, 1, 1, 1, 1, 1)
	w.pass(1)
	w.sides[0].Add(CallBegun, w.now(), 2)
	w.send(w.client, w.to, 0, payload-1) // an acknowledgement
	w.receive(w.server)
	w.call(2, 1, 1, 1, 1, 1, 1)
	if spans, unclear := w.split(); unclear != 1 || len(spans[0].Ns) != 2 { // the begin stands twice
		t.Errorf("%d unclear, %d clear", unclear, len(spans[0].Ns))
	}
	w = newWorld(t, sim.Faults{})
	for n := range uint32(3) {
		w.call(n, 1, 1, 1, 1, 1, 1)
		w.pass(1)
		w.send(w.client, w.to, 0, payload-1)
		w.receive(w.server)
		if n == 1 { // between two calls it is as good as sent twice: the server cannot know whose it is
			w.send(w.client, w.to, n, payload)
			w.receive(w.server)
		}
	}
	if spans, unclear := w.split(); unclear != 1 || len(spans[0].Ns) != 2 {
		t.Errorf("%d unclear, %d clear", unclear, len(spans[0].Ns))
	}
}

// A side that is not started, or has been stopped, records nothing; one that has no more room says so.
func TestOnAndOff(t *testing.T) {
	w := newWorld(t, sim.Faults{})
	for _, s := range w.sides {
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	w.send(w.client, w.to, 1, payload)
	w.receive(w.server)
	for _, s := range w.sides {
		if events, err := s.Events(); err != nil || len(events) != 0 {
			t.Errorf("%v, %v: want no stamps", events, err)
		}
	}
	w = newWorld(t, sim.Faults{})
	for n := range uint32(200) {
		w.call(n, 1, 1, 1, 1, 1, 1)
	}
	if _, err := w.sides[0].Events(); err == nil {
		t.Error("stamps were lost in silence")
	}
}

// Recording takes no memory.
func TestRecordingAllocates(t *testing.T) {
	w := newWorld(t, sim.Faults{})
	s := w.sides[0]
	if n := testing.AllocsPerRun(50, func() { s.Add(CallBegun, Now(), 1); s.Packet(Sent, Now(), 100) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
