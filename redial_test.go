package fastrpc_test

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/udp"
)

// gatedDriver is udp's, but a dial waits at the gate before it looks for the way to the server, and is counted there.
type gatedDriver struct{ udp.Driver }

type gatedPort struct {
	transport.Port
	link *gatedLink
}

type gatedLink struct{ transport.Link }

var gate struct {
	dials atomic.Int64
	open  atomic.Pointer[chan struct{}] // closed when dials may pass; nil: they may
}

func init() { transport.Register("gated", gatedDriver{}) }

func (d gatedDriver) Dial(ctx context.Context, t transport.Target, remote netip.AddrPort) (transport.Port, error) {
	p, err := d.Driver.Dial(ctx, t, remote)
	if err != nil {
		return nil, err
	}
	return gatedPort{p, &gatedLink{p.Links()[0]}}, nil
}

func (p gatedPort) Links() []transport.Link { return []transport.Link{p.link} }

func (l *gatedLink) Resolve(ctx context.Context, local, remote netip.AddrPort) (transport.Path, error) {
	gate.dials.Add(1)
	if open := gate.open.Load(); open != nil {
		select {
		case <-*open:
		case <-ctx.Done():
			return transport.Path{}, ctx.Err()
		}
	}
	return l.Link.Resolve(ctx, local, remote)
}

func shutGate() (open func()) {
	ch := make(chan struct{})
	gate.open.Store(&ch)
	return func() { gate.open.Store(nil); close(ch) }
}

// noticed is a context that tells when somebody begins to wait for its end.
type noticed struct {
	context.Context
	once    sync.Once
	waiting chan<- struct{}
}

func (n *noticed) Done() <-chan struct{} {
	n.once.Do(func() { n.waiting <- struct{}{} })
	return n.Context.Done()
}

// While the server is gone all who call wait for one dial, and each for no longer than it wants to; when it is back they are served again.
func TestRedialIsShared(t *testing.T) {
	nothingLeft(t)
	w := loopback()
	w.scheme = "gated"
	first := echoServer()
	port := w.serve(t, first)
	c := w.dial(t, port)
	checkEcho(t, c, "echo", pattern(100))
	endSession := func(s *fastrpc.Server) { // and wait until the client knows
		shutDown(t, s)
		before := gate.dials.Load()
		eventually(t, func() string {
			_, err := c.Method("echo").Call(t.Context(), nil)
			checkError(t, err, fastrpc.Unavailable, fastrpc.OutcomeOf(err), "")
			if gate.dials.Load() == before {
				return "the client does not dial again"
			}
			return ""
		})
	}
	endSession(first)

	const callers = 20
	waiting, ended := make(chan struct{}, callers), make(chan error, callers)
	call := func(ctx context.Context) {
		_, err := c.Method("echo").Call(&noticed{Context: ctx, waiting: waiting}, nil)
		ended <- err
	}
	open := shutGate()
	before := gate.dials.Load()
	impatient, cancel := context.WithCancel(t.Context())
	go call(impatient) // it begins the dial, which outlasts it
	receive(t, waiting, "the first caller")
	for range callers {
		go call(t.Context())
	}
	for range callers {
		receive(t, waiting, "a caller")
	}
	cancel()
	checkError(t, receive(t, ended, "the canceled call's end"), fastrpc.Canceled, fastrpc.NotExecuted, "canceled")
	open()
	for range callers {
		checkError(t, receive(t, ended, "a call's end"), fastrpc.Unavailable, fastrpc.NotExecuted, "nobody listens there")
	}
	if n := gate.dials.Load() - before; n != 1 {
		t.Errorf("%d callers dialed %d times", callers, n)
	}

	second := echoServer()
	if _, err := second.Listen(t.Context(), w.listenTarget(port)); err != nil {
		t.Fatal(err)
	}
	before = gate.dials.Load()
	checkEcho(t, c, "echo", pattern(100))
	checkEcho(t, c, "worker", pattern(10_000))
	if n := gate.dials.Load() - before; n != 1 {
		t.Errorf("%d dials for one session", n)
	}

	endSession(second)
	open = shutGate()
	defer open()
	go call(t.Context())
	receive(t, waiting, "the last caller")
	hangUp(t, c)
	checkError(t, receive(t, ended, "the end of a call whose client was closed"), fastrpc.Canceled, fastrpc.NotExecuted, "the client is closed")
	_, err := c.Method("echo").Call(t.Context(), nil)
	checkError(t, err, fastrpc.Canceled, fastrpc.NotExecuted, "the client is closed")
}
