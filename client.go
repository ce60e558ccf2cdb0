package fastrpc

import (
	"context"
	"errors"
	"net/netip"
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
	conn    chan *engine.Conn // holds the session; whoever has taken it out is replacing it
	closed  chan struct{}

	closing  sync.Once
	closeErr error
}

// dialTimeout bounds a dial whose context has no deadline.
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
	c := &Client{target: t, conn: make(chan *engine.Conn, 1), closed: make(chan struct{})}
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
	conn, err := c.engines[0].Dial(ctx, c.port.Local(), c.remote)
	if err != nil {
		if e := releasePort(c.port, c.engines); e != nil {
			err = errors.Join(err, e)
		}
		return nil, err
	}
	c.conn <- conn
	return c, nil
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

// session returns a session that is not known to be over, and opens one when there is none.
func (c *Client) session(ctx context.Context) (*engine.Conn, error) {
	select {
	case <-c.closed:
		return nil, errClientClosed
	default:
	}
	var conn *engine.Conn
	select {
	case conn = <-c.conn:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.closed:
		return nil, errClientClosed
	}
	defer func() { c.conn <- conn }()
	if conn.Err() == nil {
		return conn, nil
	}
	ctx, cancel := boundDial(ctx)
	defer cancel()
	fresh, err := conn.Engine().Dial(ctx, c.port.Local(), c.remote)
	if err != nil {
		return nil, err
	}
	conn = fresh
	return conn, nil
}

var errClientClosed = &engine.CallError{Code: engine.Code(Canceled), Outcome: engine.NotExecuted, Reason: "the client is closed"}

// Close ends the session. Calls in progress end as Canceled. Replies that are not yet released can
// still be read; the memory of the packets stays until they are.
func (c *Client) Close() error {
	c.closing.Do(func() {
		conn := <-c.conn // from whoever replaces it
		close(c.closed)
		conn.Close("the client was closed")
		c.closeErr = wrap("close", Internal, OutcomeUnknown, releasePort(c.port, c.engines))
	})
	return c.closeErr
}

// Transport says what the client's packets travel over, and, where auto:// chose, why nothing better.
func (c *Client) Transport() (name, why string) {
	return c.engines[0].Link().Caps().Name, c.why
}

// Remote returns the server's address.
func (c *Client) Remote() netip.AddrPort { return c.remote }
