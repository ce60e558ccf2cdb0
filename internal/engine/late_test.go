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

// The engine stops between a submitter's look whether it has, and his push: the call is told so, and its memory does not hold the link open.
func TestSubmittedTooLate(t *testing.T) {
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
	c, err := client.Dial(t.Context(), netip.AddrPortFrom(a.Addr().Addr(), 8000), netip.AddrPortFrom(b.Addr().Addr(), 9000))
	if err != nil {
		t.Fatal(err)
	}
	k, cerr := c.NewCall()
	if cerr != nil {
		t.Fatal(cerr)
	}
	w := newWaiter(c, nil)
	w.call, w.method, w.built = k, 1, 0
	stop.Store(client)
	if _, cerr := w.follow(context.Background()); cerr == nil || cerr.Code != session.Canceled || cerr.Outcome != session.NotExecuted {
		t.Errorf("got %v, want Canceled, not executed", cerr)
	}
	if _, err := a.Recv(make([]transport.Frame, 1)); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("the link is open: Recv gives %v", err)
	}
}
