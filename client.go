package fastrpc

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/fastrpc/fastrpc/internal/engine"
	"github.com/fastrpc/fastrpc/transport"
)

// Client calls one server. Its methods may be used from any goroutine. When its session ends, by the server's restart, say, the next call
// opens a new one.
type Client struct {
	target  transport.Target
	remote  netip.AddrPort
	port    transport.Port
	why     string
	engines []*engine.Engine

	maxMetadata int
	aroundCall  CallFunc // nil: there are no interceptors
	aroundOpen  StreamFunc

	mu     sync.Mutex
	conn   *engine.Conn // the last session
	redial *redial      // of the next one, while there is one in progress
	closed bool

	closing  sync.Once
	closeErr error
}

// redial opens a session for all who wait for one.
type redial struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when the rest is set
	conn   *engine.Conn
	err    error
}

// dialTimeout bounds a dial whose context has no deadline, and those that replace a session.
const dialTimeout = 5 * time.Second

// Dial connects to a server, such as xdp://192.0.2.7:9000, and returns when the session is established. Credentials are to be chosen:
// without WithInsecure it refuses.
func Dial(ctx context.Context, target string, opts ...Option) (*Client, error) {
	c, err := dial(ctx, target, newConfig(opts))
	if err != nil {
		return nil, wrap("dial "+target, Unavailable, NotExecuted, err)
	}
	return c, nil
}

func dial(ctx context.Context, target string, cfg config) (*Client, error) {
	if err := cfg.check(); err != nil {
		return nil, &engine.CallError{Code: engine.Code(Unauthenticated), Outcome: engine.NotExecuted, Reason: err.Error()}
	}
	t, err := parseTarget(target)
	if err != nil {
		return nil, err
	}
	ctx, cancel := boundDial(ctx)
	defer cancel()
	c := &Client{target: t, maxMetadata: cfg.maxMetadata, aroundCall: cfg.aroundCall(), aroundOpen: cfg.aroundOpen()}
	if c.remote, err = resolveHost(ctx, t); err != nil {
		return nil, err
	}
	if c.port, c.why, err = openPort(t, func(d transport.Driver, t transport.Target) (transport.Port, error) {
		return d.Dial(ctx, t, c.remote)
	}); err != nil {
		return nil, err
	}
	if c.engines, err = acquire(c.port, cfg.engine); err != nil {
		return nil, err
	}
	if c.conn, err = c.open(ctx); err != nil {
		if e := releasePort(c.port, c.engines); e != nil {
			err = errors.Join(err, e)
		}
		return nil, err
	}
	return c, nil
}

// open opens a session on the queue where the server's answers arrive: receive-side scaling chooses it by addresses and ports, of which only
// this end's port is the client's choice, a new one with each client. It begins on the queue that the driver expects, and moves once if the answer
// came to another.
func (c *Client) open(ctx context.Context) (*engine.Conn, error) {
	e := c.engines[0]
	conn, err := e.Dial(ctx, c.port.Local(), c.remote)
	if err != nil {
		return nil, err
	}
	via := conn.Via()
	if via == e || !slices.Contains(c.engines, via) {
		return conn, nil
	}
	there, err := via.Dial(ctx, c.port.Local(), c.remote)
	if err != nil {
		return conn, nil // packets are handed over between the queues, which costs a copy each
	}
	conn.Close("the session moves to another queue")
	return there, nil
}

func boundDial(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, dialTimeout)
}

// acquire gets the engines of a port's links. On an error it closes the port.
func acquire(p transport.Port, cfg engine.Config) ([]*engine.Engine, error) {
	links := p.Links()
	engines := make([]*engine.Engine, 0, len(links))
	for i, l := range links {
		e, err := engine.Acquire(l, cfg)
		if err != nil {
			err = errors.Join(err, releasePort(p, engines))
			for _, l := range links[i:] {
				err = errors.Join(err, l.Close())
			}
			return nil, err
		}
		engines = append(engines, e)
	}
	return engines, nil
}

// releasePort gives a port and its engines up: the port first, so that nothing is steered to a socket that is gone.
func releasePort(p transport.Port, engines []*engine.Engine) error {
	err := p.Close()
	for _, e := range engines {
		err = errors.Join(err, e.Close())
	}
	return err
}

// session returns a session that is not known to be over. When there is none it waits, until ctx is over, for one to be opened; those who
// wait share one attempt and its result.
func (c *Client) session(ctx context.Context) (*engine.Conn, error) {
	r, conn, err := c.joinRedial()
	if r == nil {
		return conn, err
	}
	select {
	case <-r.done:
		return r.conn, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// joinRedial returns the session, or else the attempt to open one, which it begins where there is none.
func (c *Client) joinRedial() (*redial, *engine.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, errClientClosed
	}
	if c.conn.Err() == nil {
		return nil, c.conn, nil
	}
	if err := c.conn.Engine().MayBlock(); err != nil {
		return nil, nil, err
	}
	if c.redial == nil {
		ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
		c.redial = &redial{cancel: cancel, done: make(chan struct{})}
		go c.replace(ctx, c.redial)
	}
	return c.redial, nil, nil
}

// replace opens a session in place of the one that is over. It is bounded by ctx alone, not by those who wait: they come and go.
func (c *Client) replace(ctx context.Context, r *redial) {
	defer close(r.done)
	defer r.cancel()
	conn, err := c.open(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.redial = nil
	switch {
	case err == nil:
		r.conn, c.conn = conn, conn
	case c.closed:
		r.err = errClientClosed
	case ctx.Err() != nil: // a deadline, but none of those who wait
		r.err = &engine.CallError{Code: engine.Code(Unavailable), Outcome: engine.NotExecuted,
			Reason: fmt.Sprintf("no new session within %v: %v", dialTimeout, err)}
	default:
		r.err = err
	}
}

var errClientClosed = &engine.CallError{Code: engine.Code(Canceled), Outcome: engine.NotExecuted, Reason: "the client is closed"}

// Close ends the session. Calls in progress end as Canceled. Replies that are not yet released can
// still be read; the memory of the packets stays until they are. An inline handler on the same queue cannot call it.
func (c *Client) Close() error {
	if err := c.mayBlock(); err != nil {
		return wrap("close", FailedPrecondition, NotExecuted, err)
	}
	c.closing.Do(func() {
		c.mu.Lock()
		c.closed = true
		r := c.redial
		c.mu.Unlock()
		if r != nil {
			r.cancel()
			<-r.done
		}
		c.conn.Close("the client was closed")
		c.closeErr = wrap("close", Internal, OutcomeUnknown, releasePort(c.port, c.engines))
	})
	return c.closeErr
}

// mayBlock refuses to wait inside an inline handler of one of the client's queues.
func (c *Client) mayBlock() error {
	for _, e := range c.engines {
		if err := e.MayBlock(); err != nil {
			return err
		}
	}
	return nil
}

// Transport says what the client's packets travel over, and, where auto:// chose, why nothing better.
func (c *Client) Transport() (name, why string) {
	return c.engines[0].Link().Caps().Name, c.why
}

// Phi tells how suspicious the server's present silence is: of ten to this power silences, one is expected to be as long by chance. It is 0
// while no call is outstanding, because nobody listens then. The session ends when it reaches the threshold of WithPhi.
func (c *Client) Phi() float64 {
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	return conn.Phi()
}

// Remote returns the server's address.
func (c *Client) Remote() netip.AddrPort { return c.remote }
