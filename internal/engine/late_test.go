package engine

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// stopAtPush gives a connection whose engine stops between the next submitter's look whether it has, and his push.
func stopAtPush(t *testing.T) (c *Conn, link transport.Link, arm func()) {
	var stop atomic.Pointer[Engine]
	atStep = func(name string) {
		if name != "push" {
			return
		}
		if e := stop.Swap(nil); e != nil {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(func() { atStep = nil }) // after the engines are closed
	a, b := sim.Pipe(sim.LinkOptions{})
	server, err := Acquire(b, Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	if err := server.Listen(9000, mirror{}); err != nil {
		t.Fatal(err)
	}
	client, err := Acquire(a, Config{})
	if err != nil {
		t.Fatal(err)
	}
	c, err = client.Dial(t.Context(), netip.AddrPortFrom(a.Addr().Addr(), 8000), netip.AddrPortFrom(b.Addr().Addr(), 9000))
	if err != nil {
		t.Fatal(err)
	}
	return c, a, func() { stop.Store(client) }
}

// checkTooLate wants that a call was told so, and that nothing holds the link open.
func checkTooLate(t *testing.T, err *session.Error, link transport.Link) {
	t.Helper()
	if err == nil || err.Code != session.Canceled || err.Outcome != session.NotExecuted {
		t.Errorf("got %v, want Canceled, not executed", err)
	}
	if _, err := link.Recv(make([]transport.Frame, 1)); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("the link is open: Recv gives %v", err)
	}
}

// A request that was built in the link's memory.
func TestBuiltTooLate(t *testing.T) {
	c, link, arm := stopAtPush(t)
	k, cerr := c.NewCall()
	if cerr != nil {
		t.Fatal(cerr)
	}
	w := newWaiter(c, nil)
	w.call, w.method = k, 1
	arm()
	_, cerr = w.follow(context.Background())
	checkTooLate(t, cerr, link)
}

// A call for a collector, who learns it from the queue although the link is closed by then.
func TestBegunTooLate(t *testing.T) {
	c, link, arm := stopAtPush(t)
	q := NewCompletions(1)
	w := newWaiter(c, q)
	w.method = 1
	arm()
	if err := w.submit(); err != nil {
		t.Fatal(err)
	}
	got, ok := q.ring.Pop()
	if !ok {
		t.Fatal("nothing came to the queue")
	}
	checkTooLate(t, got.err, link)
}
