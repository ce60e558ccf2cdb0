package fastrpc

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fastrpc/fastrpc/internal/engine"
	"github.com/fastrpc/fastrpc/transport"
)

// Handler answers a request: it writes the reply to w and returns nil, or returns an error. An *Error travels with its code and message, a
// context's error as DeadlineExceeded or Canceled, any other as Unknown with its text. w and r are not to be used after it returns, nor
// what r.Body returned. A handler that panics ends the process, as any goroutine's panic does.
type Handler func(w *Response, r *Request) error

// Server answers calls. Set it up with Handle and HandleInline, then let it serve. Its methods may be used from any goroutine.
type Server struct {
	cfg      config
	methods  atomic.Pointer[methodTable]
	resolver atomic.Pointer[Resolver]
	pool     *pool
	streams  *pool // of streams' handlers
	draining atomic.Bool
	ending   atomic.Bool     // streams that are still open are ended
	ctx      context.Context // of the handlers' requests; over when Shutdown has waited long enough
	cancel   context.CancelFunc

	streamCtx  context.Context // of the streams; over with ctx, or when WithDrainTimeout has passed
	endStreams context.CancelFunc

	mu    sync.Mutex // guards what is below
	ports []*served
	done  chan struct{} // closed when the server is shut down
}

// served is a port that the server listens on.
type served struct {
	port    transport.Port
	local   uint16
	engines []*engine.Engine
	why     string
}

// NewServer makes a server. Credentials are to be chosen: without WithInsecure it will refuse to serve.
func NewServer(opts ...Option) *Server {
	s := &Server{cfg: newConfig(opts), done: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.methods.Store(&methodTable{byName: map[string]uint32{}})
	s.pool = newPool(s.cfg.workers, s.cfg.queue)
	s.streamCtx, s.endStreams = context.WithCancel(s.ctx)
	s.streams = newPool(s.cfg.streams, 0)
	return s
}

// Handle lets h answer the method of that name on a pool of goroutines (see WithWorkers); it may block. It panics when the method has a
// handler.
func (s *Server) Handle(name string, h Handler) { s.handle(name, h, false) }

// HandleInline lets h answer the method of that name in the polling loop itself, for the lowest latency. It must not block: everything else
// on its queue waits meanwhile, and one that takes over a millisecond is counted (Server.Stats). Calls that it makes over the same queue
// are refused with FailedPrecondition.
func (s *Server) HandleInline(name string, h Handler) { s.handle(name, h, true) }

func (s *Server) handle(name string, h Handler, inline bool) {
	if h == nil {
		panic("fastrpc: Handle needs a handler")
	}
	s.register(&method{name: name, handler: s.cfg.aroundHandler(h), inline: inline})
}

func (s *Server) register(m *method) {
	name := m.name
	if name == "" || len(name) > maxMethodName {
		panic(fmt.Sprintf("fastrpc: a method's name has 1 to %d bytes", maxMethodName))
	}
	if _, err := s.addMethod(m, false); err != nil {
		panic("fastrpc: " + err.Error())
	}
}

const maxMethodName = 255

// ListenAndServe serves on a target such as xdp://eth0:9000 until ctx is over or the server is shut down. When ctx ends it drains, as
// Shutdown does, and returns nil.
func (s *Server) ListenAndServe(ctx context.Context, target string) error {
	if _, err := s.Listen(ctx, target); err != nil {
		return err
	}
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return s.Shutdown(context.WithoutCancel(ctx))
	}
}

// Listen serves on a target and returns at once, with the address: its IP is unspecified where several are served, its port is the real
// one where the target's is 0. A server may listen on several targets.
func (s *Server) Listen(ctx context.Context, target string) (netip.AddrPort, error) {
	a, err := s.listen(ctx, target)
	return a, wrap("listen "+target, Unavailable, NotExecuted, err)
}

func (s *Server) listen(ctx context.Context, target string) (netip.AddrPort, error) {
	if err := s.cfg.check(); err != nil {
		return netip.AddrPort{}, &engine.CallError{Code: engine.Code(Unauthenticated), Outcome: engine.NotExecuted, Reason: err.Error()}
	}
	t, err := parseTarget(target)
	if err != nil {
		return netip.AddrPort{}, err
	}
	p, why, err := openPort(t, func(d transport.Driver, t transport.Target) (transport.Port, error) { return d.Listen(ctx, t) })
	if err != nil {
		return netip.AddrPort{}, err
	}
	return p.Local(), s.serve(p, p.Local().Port(), why)
}

// Serve serves on a link of the caller's own making, on all its ports, until the server is shut down, which closes the link.
func (s *Server) Serve(l transport.Link) error {
	err := s.cfg.check()
	if err == nil {
		err = s.serve(linkPort{l}, 0, "")
	}
	if err != nil {
		return wrap("serve "+l.Caps().Name, FailedPrecondition, NotExecuted, err)
	}
	<-s.done
	return nil
}

// linkPort is a link that somebody else opened.
type linkPort struct{ link transport.Link }

func (p linkPort) Links() []transport.Link { return []transport.Link{p.link} }
func (p linkPort) Local() netip.AddrPort   { return netip.AddrPort{} }
func (p linkPort) Close() error            { return nil }

// serve listens on an open port, and closes it on an error.
func (s *Server) serve(p transport.Port, local uint16, why string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	engines, err := acquire(p, s.cfg.engine)
	if err != nil {
		return err
	}
	if s.draining.Load() {
		return errors.Join(errShutdown, releasePort(p, engines))
	}
	for _, e := range engines {
		if err := e.Listen(local, &dispatch{server: s, engine: e}); err != nil {
			return errors.Join(err, releasePort(p, engines))
		}
	}
	s.ports = append(s.ports, &served{port: p, local: local, engines: engines, why: why})
	return nil
}

var errShutdown = &engine.CallError{Code: engine.Code(Unavailable), Outcome: engine.NotExecuted, Reason: "the server is shut down"}

// Shutdown drains: new sessions and requests are refused, as not executed, and those being handled may finish until ctx is over. So may
// streams, but after WithDrainTimeout they are ended: their handlers' contexts are over, and what these return with an error is Unavailable
// to the clients. Then it closes every session, port and link. A second Shutdown waits for the first. An inline handler cannot call it.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	ports := s.ports
	for _, p := range ports {
		for _, e := range p.engines {
			if err := e.MayBlock(); err != nil {
				s.mu.Unlock()
				return wrap("shutdown", FailedPrecondition, OutcomeUnknown, err)
			}
		}
	}
	if s.draining.Swap(true) {
		s.mu.Unlock()
		select {
		case <-s.done:
			return nil
		case <-ctx.Done():
			return wrap("shutdown", DeadlineExceeded, OutcomeUnknown, ctx.Err())
		}
	}
	s.mu.Unlock()
	err := s.drain(ctx, ports)
	s.ending.Store(true)
	s.cancel()
	for _, p := range ports {
		for _, e := range p.engines {
			_ = e.Unlisten(p.local, "the server was shut down")
		}
	}
	if err == nil {
		err = s.release(ports)
	} else { // handlers still read from the links' memory, which stays until they return
		go func() {
			_ = s.pool.wait(context.Background())
			_ = s.streams.wait(context.Background())
			_ = s.release(ports)
		}()
	}
	close(s.done)
	return wrap("shutdown", Internal, OutcomeUnknown, err)
}

// release closes the ports and the pool.
func (s *Server) release(ports []*served) (err error) {
	for _, p := range ports {
		err = errors.Join(err, releasePort(p.port, p.engines))
	}
	s.pool.close()
	s.streams.close()
	return err
}

// drain refuses what is new and waits for what is being handled.
func (s *Server) drain(ctx context.Context, ports []*served) error {
	for _, p := range ports {
		for _, e := range p.engines {
			_ = e.Drain(p.local)
		}
	}
	patience, cancel := context.WithTimeout(ctx, s.cfg.drain)
	defer cancel()
	if s.streams.wait(patience) != nil {
		s.ending.Store(true)
		s.endStreams()
	}
	if err := s.pool.wait(ctx); err != nil {
		return err
	}
	if err := s.streams.wait(ctx); err != nil {
		return err
	}
	s.settle(ctx, ports)
	return nil
}

// settleFor bounds the wait for clients that do not acknowledge their replies: as long as it takes them to count a server as dead.
const settleFor = 450 * time.Millisecond

// settle waits until the clients have their replies: a session that closed before would take them along.
func (s *Server) settle(ctx context.Context, ports []*served) {
	ctx, cancel := context.WithTimeout(ctx, settleFor)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for _, p := range ports {
		for _, e := range p.engines {
			for e.Replying(p.local) > 0 {
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
		}
	}
}

// Transports says, for each port, what its packets travel over, and why nothing better where auto:// chose.
func (s *Server) Transports() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.ports {
		name := p.engines[0].Link().Caps().Name
		if n := len(p.engines); n > 1 {
			name += fmt.Sprintf(" and %d more", n-1)
		}
		if p.why != "" {
			name += " (" + p.why + ")"
		}
		names = append(names, name)
	}
	return names
}
