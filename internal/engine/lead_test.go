package engine

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// moodyLink is a Link that can be told to break, or to receive junk without end.
type moodyLink struct {
	transport.Link
	breakAtSend atomic.Bool // the next Send is the last
	broken      atomic.Bool
	noisy       atomic.Bool
	close       func() error // of the client's engine
}

func (l *moodyLink) Send(fs []transport.Frame) (int, error) {
	if l.broken.Load() {
		return 0, syscall.ENODEV
	}
	l.broken.Store(l.breakAtSend.Load())
	return l.Link.Send(fs)
}

func (l *moodyLink) Events(es []transport.Event) int {
	if !l.broken.Load() {
		return l.Link.Events(es)
	}
	es[0] = transport.Event{Kind: transport.LinkDown, Err: syscall.ENODEV}
	return 1
}

func (l *moodyLink) Recv(fs []transport.Frame) (int, error) {
	n, err := l.Link.Recv(fs)
	if n == 0 && err == nil && l.noisy.Load() && l.Alloc(&fs[0]) {
		fs[0].Data, fs[0].Stamp = fs[0].Data[:40], transport.Now()
		n = 1
	}
	return n, err
}

// silence answers no request; it tells of each.
type silence chan *session.Call

func (s silence) Serve(_ transport.Time, k *session.Call) { s <- k }
func (s silence) Gone(*session.Call)                      {}

// silentServer returns a session, over a moody link, with a server that never answers.
func silentServer(t *testing.T, cfg Config) (*Conn, *moodyLink, silence) {
	t.Helper()
	a, b := sim.Pipe(sim.LinkOptions{})
	link := &moodyLink{Link: a}
	requests := make(silence, 16)
	server, err := Acquire(b, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listen(9000, requests); err != nil {
		t.Fatal(err)
	}
	client, err := Acquire(link, cfg)
	if err != nil {
		t.Fatal(err)
	}
	link.close = sync.OnceValue(client.Close)
	t.Cleanup(func() { _, _ = link.close(), server.Close() })
	c, err := client.Dial(t.Context(), netip.AddrPortFrom(a.Addr().Addr(), 8000), netip.AddrPortFrom(b.Addr().Addr(), 9000))
	if err != nil {
		t.Fatal(err)
	}
	return c, link, requests
}

// within fails the test when done is not closed in time.
func within(t *testing.T, done chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal(what)
	}
}

// TestLinkBreaksUnderALeader: the interface goes while a caller polls for its own call, in the very turn in which it would hand over to the
// keeper. The call ends all the same.
func TestLinkBreaksUnderALeader(t *testing.T) {
	for range 20 {
		c, link, _ := silentServer(t, Config{SpinFor: time.Nanosecond})
		link.breakAtSend.Store(true)
		done := make(chan struct{})
		go func() {
			defer close(done)
			k, err := c.Call(context.Background(), transport.Now(), 1, []byte("lost"), false, 0)
			if err != nil { // the link broke before
				return
			}
			if k.Err() == nil || k.Err().Code != session.Unavailable {
				t.Errorf("the call ended by %v", k.Err())
			}
			c.Engine().Release(k)
		}()
		within(t, done, "the call hangs")
	}
}

// TestCancelUnderNoise: a caller that polls sees its context's end, and its engine's, while packets never cease to come.
func TestCancelUnderNoise(t *testing.T) {
	for _, end := range []string{"cancel", "close"} {
		t.Run(end, func(t *testing.T) {
			c, link, requests := silentServer(t, Config{})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan struct{})
			go func() {
				defer close(done)
				k, err := c.Call(ctx, transport.Now(), 1, nil, false, 0)
				if err == nil && k.Err() == nil {
					t.Error("the call was answered")
				}
				if err == nil && end == "cancel" && k.Err().Code != session.Canceled {
					t.Errorf("the call ended by %v", k.Err())
				}
				if k != nil {
					c.Engine().Release(k)
				}
			}()
			link.noisy.Store(true)
			<-requests
			if end == "cancel" {
				cancel()
			} else {
				closed := make(chan struct{})
				go func() { _ = link.close(); close(closed) }()
				defer within(t, closed, "the engine does not stop")
			}
			within(t, done, "the caller does not see that it is to end")
			link.noisy.Store(false)
		})
	}
}
