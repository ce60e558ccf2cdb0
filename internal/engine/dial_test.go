package engine

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// A dial wakes a keeper that stands by for callers who poll: nobody else would look for the server's answer. Here the keeper stands by without an
// end, so that a dial which waits for its tick waits for ever.
func TestDialWakesTheKeeper(t *testing.T) {
	var dozing atomic.Int32
	atDoze = func(k *keeper) bool {
		dozing.Add(1)
		defer dozing.Add(-1)
		<-k.signal
		return true
	}
	t.Cleanup(func() { atDoze = nil }) // after the engines are closed
	a, b := sim.Pipe(sim.LinkOptions{})
	server, err := Acquire(b, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listen(9000, mirror{}); err != nil {
		t.Fatal(err)
	}
	client, err := Acquire(a, Config{Idle: Spin}) // its keeper polls until somebody calls, and leaves the polling to him
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	dial := func(port uint16) *Conn {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		c, err := client.Dial(ctx, netip.AddrPortFrom(a.Addr().Addr(), port), netip.AddrPortFrom(b.Addr().Addr(), 9000))
		if err != nil {
			t.Fatalf("from port %d: %v", port, err)
		}
		return c
	}
	c := dial(8000)
	for port := uint16(8001); port < 8010; port++ {
		for dozing.Load() == 0 {
			k, err := c.Call(t.Context(), transport.Now(), 1, []byte("a call"), false, 0)
			if err != nil {
				t.Fatal(err)
			}
			client.Release(k)
			runtime.Gosched()
		}
		dial(port)
	}
}

// A dial that is given up no longer counts among those who rely on the keeper, which would poll for it for ever.
func TestDialGivenUp(t *testing.T) {
	a, b := sim.Pipe(sim.LinkOptions{}) // nobody listens
	client, err := Acquire(a, Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), b.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	dialled := make(chan error, 1)
	go func() {
		_, err := client.Dial(ctx, netip.AddrPortFrom(a.Addr().Addr(), 8000), netip.AddrPortFrom(b.Addr().Addr(), 9000))
		dialled <- err
	}()
	waiters := func() (n int) {
		if err := client.do(func(transport.Time) { n = client.waiters }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for waiters() == 0 {
		runtime.Gosched()
	}
	cancel()
	if err := <-dialled; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was canceled", err)
	}
	if n := waiters(); n != 0 {
		t.Errorf("%d still wait", n)
	}
}
