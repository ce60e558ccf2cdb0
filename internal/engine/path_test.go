package engine

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// movingHost is a Link whose host gets another address: packets to the old one do not arrive any more.
type movingHost struct {
	transport.Link
	moved atomic.Bool
}

var newAddress = netip.MustParseAddr("198.18.7.7").As16()

func (l *movingHost) Resolve(ctx context.Context, local, remote netip.AddrPort) (transport.Path, error) {
	p, err := l.Link.Resolve(ctx, local, remote)
	if l.moved.Load() {
		p.LocalIP = newAddress
	}
	return p, err
}

func (l *movingHost) Recv(fs []transport.Frame) (int, error) {
	n, err := l.Link.Recv(fs)
	kept := 0
	for i := range n {
		if l.moved.Load() && fs[i].Path.LocalIP != newAddress {
			l.Free(fs[i : i+1])
			continue
		}
		fs[kept] = fs[i]
		kept++
	}
	return kept, err
}

// TestClientFindsAnotherPath: the client's host gets another address in the middle of a session, as a moved container does. The session goes
// on from there.
func TestClientFindsAnotherPath(t *testing.T) {
	a, b := sim.Pipe(sim.LinkOptions{})
	host := &movingHost{Link: a}
	server, err := Acquire(b, Config{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := Acquire(host, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = client.Close(), server.Close() }()
	if err := server.Listen(9000, mirror{}); err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(t.Context(), netip.AddrPortFrom(a.Addr().Addr(), 8000), netip.AddrPortFrom(b.Addr().Addr(), 9000))
	if err != nil {
		t.Fatal(err)
	}
	call := func(body string) {
		t.Helper()
		k, err := c.Call(t.Context(), transport.Now(), 1, []byte(body), false, 0)
		if err != nil {
			t.Fatal(err)
		}
		if k.Err() != nil || k.Code() != session.OK || string(k.Body()) != body {
			t.Fatalf("%q: code %d, %q, %v", body, k.Code(), k.Body(), k.Err())
		}
		client.Release(k)
	}
	call("before")
	host.moved.Store(true)
	call("after")
	call("and again")
	if s := server.Stats().Session; s.Migrations != 1 || s.SessionsAccepted != 1 {
		t.Errorf("%d sessions were accepted, %d moved; want one, moved once", s.SessionsAccepted, s.Migrations)
	}
	var path transport.Path
	if err := client.do(func(transport.Time) { path = c.s.Path() }); err != nil || path.LocalIP != newAddress {
		t.Errorf("the session has kept its old path; %v", err)
	}
}

// slowHost is a Link that finds no path before it is told to give up.
type slowHost struct {
	transport.Link
	asked    chan struct{} // nil: it answers
	searches atomic.Int32  // that go on
}

func (l *slowHost) Resolve(ctx context.Context, local, remote netip.AddrPort) (transport.Path, error) {
	if l.asked == nil {
		return l.Link.Resolve(ctx, local, remote)
	}
	l.searches.Add(1)
	defer l.searches.Add(-1)
	close(l.asked)
	<-ctx.Done()
	return transport.Path{}, ctx.Err()
}

// TestNoSearchOutlivesTheEngine: an engine that is closed ends the search for a path, and nothing of it touches the link any more.
func TestNoSearchOutlivesTheEngine(t *testing.T) {
	a, b := sim.Pipe(sim.LinkOptions{})
	host := &slowHost{Link: a}
	server, err := Acquire(b, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := Acquire(host, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listen(9000, mirror{}); err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(t.Context(), netip.AddrPortFrom(a.Addr().Addr(), 8000), netip.AddrPortFrom(b.Addr().Addr(), 9000))
	if err != nil {
		t.Fatal(err)
	}
	host.asked = make(chan struct{})
	if err := client.do(func(transport.Time) { c.findPath() }); err != nil {
		t.Fatal(err)
	}
	<-host.asked
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if n := host.searches.Load(); n != 0 {
		t.Errorf("%d searches go on", n)
	}
}

// scaled is one queue of a device whose receive-side scaling puts everything that comes to it on another queue.
type scaled struct {
	transport.Link
	mu      sync.Mutex
	other   *scaled
	arrived []transport.Frame // copies
}

func (l *scaled) Recv(fs []transport.Frame) (int, error) {
	n, err := l.Link.Recv(fs)
	if l.other != nil {
		l.other.mu.Lock()
		for i := range n {
			f := fs[i]
			f.Data = slices.Clone(f.Data)
			l.other.arrived = append(l.other.arrived, f)
		}
		l.other.mu.Unlock()
		l.Free(fs[:n])
		l.other.Wake()
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for ; n < len(fs) && len(l.arrived) > 0 && l.Alloc(&fs[n]); n++ {
		f := l.arrived[0]
		l.arrived = l.arrived[1:]
		fs[n].Data = fs[n].Data[:copy(fs[n].Data, f.Data)]
		fs[n].Path, fs[n].Stamp, fs[n].ECN = f.Path, f.Stamp, f.ECN
	}
	return n, err
}

// TestAnswersOnAnotherQueue: what a session's server sends arrives on another queue than the session's. It reaches the session, and the session
// knows where its answers come.
func TestAnswersOnAnotherQueue(t *testing.T) {
	a, b := sim.Pipe(sim.LinkOptions{})
	idle, _ := sim.Pipe(sim.LinkOptions{})
	second := &scaled{Link: idle}
	first := &scaled{Link: a, other: second}
	var engines []*Engine
	for _, l := range []transport.Link{b, first, second} {
		e, err := Acquire(l, Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = e.Close() }()
		engines = append(engines, e)
	}
	if err := engines[0].Listen(9000, mirror{}); err != nil {
		t.Fatal(err)
	}
	c, err := engines[1].Dial(t.Context(), netip.AddrPortFrom(a.Addr().Addr(), 8000), netip.AddrPortFrom(b.Addr().Addr(), 9000))
	if err != nil {
		t.Fatal(err)
	}
	if c.Engine() != engines[1] || c.Via() != engines[2] {
		t.Error("the session does not know on which queue its answers come")
	}
	k, cerr := c.Call(t.Context(), transport.Now(), 1, []byte("hello"), false, 0)
	if cerr != nil || k.Err() != nil || string(k.Body()) != "hello" {
		t.Fatal(cerr)
	}
	engines[1].Release(k)
	if n := engines[2].Stats().Forwarded; n < 2 {
		t.Errorf("%d packets were handed over", n)
	}
}
