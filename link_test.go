package fastrpc_test

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// pipeDriver dials over the link that the test has made.
type pipeDriver struct {
	mu   sync.Mutex
	ends map[string]*sim.PipeEnd // by host
}

var pipes = &pipeDriver{ends: map[string]*sim.PipeEnd{}}

func init() { transport.Register("pipe", pipes) }

func (*pipeDriver) Listen(context.Context, transport.Target) (transport.Port, error) {
	panic("a pipe is served by Serve")
}

func (d *pipeDriver) Dial(_ context.Context, t transport.Target, _ netip.AddrPort) (transport.Port, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return pipePort{d.ends[t.Host]}, nil
}

type pipePort struct{ end *sim.PipeEnd }

func (p pipePort) Links() []transport.Link { return []transport.Link{p.end} }
func (p pipePort) Local() netip.AddrPort   { return p.end.Addr() }
func (p pipePort) Close() error            { return nil }

// A server serves a link of the caller's own making until it is shut down, which closes the link.
func TestServeALink(t *testing.T) {
	nothingLeft(t)
	near, far := sim.Pipe(sim.LinkOptions{})
	s := echoServer(fastrpc.WithPark())
	served := make(chan error, 1)
	go func() { served <- s.Serve(far) }()

	pipes.mu.Lock()
	pipes.ends[far.Addr().Addr().String()] = near
	pipes.mu.Unlock()
	serving(t, s)
	c := dial(t, "pipe://"+netip.AddrPortFrom(far.Addr().Addr(), 4321).String(), insecure, fastrpc.WithPark()) // any port is served
	if name, _ := c.Transport(); name != near.Caps().Name {
		t.Errorf("the transport is %q", name)
	}
	for _, n := range sizes {
		checkEcho(t, c, "echo", pattern(n))
		checkEcho(t, c, "worker", pattern(n))
	}
	shutDown(t, s)
	must(t, receive(t, served, "the end of Serve"))
	if _, err := c.Method("echo").Call(t.Context(), nil, fastrpc.Timeout(50*time.Millisecond)); fastrpc.OutcomeOf(err) != fastrpc.NotExecuted {
		t.Errorf("a call afterwards: %v", err)
	}
	if far.Alloc(new(transport.Frame)) {
		t.Error("the link is still open")
	}

	err := fastrpc.NewServer().Serve(near)
	checkError(t, err, fastrpc.FailedPrecondition, fastrpc.NotExecuted, "fastrpc.WithInsecure()")
}
