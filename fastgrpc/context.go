package fastgrpc

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// incoming is what a handler's call came with: a request, or a stream. It is valid until the handler returns.
type incoming interface {
	Context() context.Context
	Peer() netip.AddrPort
}

// deadliner is an incoming that knows its deadline without a context.
type deadliner interface{ Deadline() (time.Time, bool) }

// serverContext is the context of a handler, and what it finds there: gRPC's transport stream, the peer, the metadata. All in one, and the
// parts that most handlers never ask for are made when they do.
type serverContext struct {
	method string
	md     metadata.MD
	send   func(metadata.MD) error // sends the header now; nil: it leaves with the reply

	mu       sync.Mutex
	call     incoming // nil: the handler has returned
	ctx      context.Context
	peer     *peer.Peer
	deadline time.Time
	asked    bool // for the deadline
	sent     bool // the header
	header   metadata.MD
	trailer  metadata.MD
}

// Keys of the values, which gRPC keeps to itself: what it asks a context for tells them.
var (
	streamKey   = keyOf(func(ctx context.Context) { grpc.ServerTransportStreamFromContext(ctx) })
	peerKey     = keyOf(func(ctx context.Context) { peer.FromContext(ctx) })
	metadataKey = keyOf(func(ctx context.Context) { metadata.FromIncomingContext(ctx) })
)

type keyProbe struct {
	context.Context
	key any
}

func (p *keyProbe) Value(key any) any {
	p.key = key
	return nil
}

func keyOf(ask func(context.Context)) any {
	p := &keyProbe{Context: context.Background()}
	ask(p)
	return p.key
}

// over is the context of handlers that have returned without asking for one.
var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// inner is the context that ends.
func (c *serverContext) inner() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		if c.call == nil {
			c.ctx = over
		} else {
			c.ctx = c.call.Context()
		}
	}
	return c.ctx
}

func (c *serverContext) Done() <-chan struct{} { return c.inner().Done() }
func (c *serverContext) Err() error            { return c.inner().Err() }

func (c *serverContext) Deadline() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.asked && c.call != nil {
		if d, ok := c.call.(deadliner); ok {
			c.deadline, _ = d.Deadline()
		} else {
			c.deadline, _ = c.call.Context().Deadline()
		}
		c.asked = true
	}
	return c.deadline, !c.deadline.IsZero()
}

func (c *serverContext) Value(key any) any {
	switch key {
	case streamKey:
		return grpc.ServerTransportStream(c)
	case metadataKey:
		if c.md == nil {
			return metadata.MD{}
		}
		return c.md
	case peerKey:
		if p := c.peerInfo(); p != nil {
			return p
		}
		return nil // the handler has returned
	}
	return c.inner().Value(key)
}

func (c *serverContext) peerInfo() *peer.Peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.peer == nil && c.call != nil {
		c.peer = &peer.Peer{Addr: udpAddr(c.call.Peer()), AuthInfo: insecureInfo}
	}
	return c.peer
}

func udpAddr(a netip.AddrPort) net.Addr { return net.UDPAddrFromAddrPort(a) }

// Method implements grpc.ServerTransportStream.
func (c *serverContext) Method() string { return c.method }

// SetHeader implements grpc.ServerTransportStream.
func (c *serverContext) SetHeader(md metadata.MD) error {
	md, err := own(md)
	if err != nil || md == nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sent || c.call == nil {
		return status.Error(codes.Internal, "the header was sent before")
	}
	c.header = metadata.Join(c.header, md)
	return nil
}

// SendHeader implements grpc.ServerTransportStream.
func (c *serverContext) SendHeader(md metadata.MD) error {
	if err := c.SetHeader(md); err != nil {
		return err
	}
	return c.flushHeader(true)
}

// SetTrailer implements grpc.ServerTransportStream.
func (c *serverContext) SetTrailer(md metadata.MD) error {
	md, err := own(md)
	if err != nil || md == nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trailer = metadata.Join(c.trailer, md)
	return nil
}

// flushHeader sends the header, unless it was sent; once tells that it must not have been.
func (c *serverContext) flushHeader(once bool) error {
	c.mu.Lock()
	late := c.sent || c.call == nil
	c.sent = true
	header := c.header
	c.mu.Unlock()
	switch {
	case late && once:
		return status.Error(codes.Internal, "the header was sent before")
	case !late && c.send != nil && (once || len(header) > 0):
		return c.send(header)
	}
	return nil
}

// end is called when the handler has returned. What is left of the header goes with the trailer.
func (c *serverContext) end() (header, trailer metadata.MD) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.call = nil
	if c.send == nil || !c.sent {
		header = c.header
	}
	return header, c.trailer
}
