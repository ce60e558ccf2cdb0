package fastgrpc

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/fastrpc/fastrpc"
)

// ClientConn is a connection to one server for generated stubs: a grpc.ClientConnInterface. Its methods may be used from any goroutine.
type ClientConn struct {
	client    *fastrpc.Client
	owned     bool
	cfg       clientConfig
	target    string
	authority string
	peer      *peer.Peer
	methods   sync.Map // of *fastrpc.Method by full name
	known     atomic.Int32
	last      atomic.Pointer[fastrpc.Method]
	defaults  *callInfo // what the default call options say; nil: they are to be read with each call

	unary   grpc.UnaryClientInterceptor
	stream  grpc.StreamClientInterceptor
	plain   *grpc.ClientConn
	connCtx context.Context // of the statistics of the connection
	open    context.Context // until Close
	shut    context.CancelFunc
	closing sync.Once
	err     error
}

var _ grpc.ClientConnInterface = (*ClientConn)(nil)

// Dial connects to a server, such as xdp://192.0.2.7:9000, and returns when the session is established. ctx bounds that only. Unlike
// grpc.NewClient it fails where the server is not there; later the connection is opened again as often as it takes, by the calls that need
// it.
func Dial(ctx context.Context, target string, opts ...DialOption) (*ClientConn, error) {
	var cfg clientConfig
	for _, o := range opts {
		o(&cfg)
	}
	c, err := fastrpc.Dial(ctx, target, cfg.native...)
	if err != nil {
		return nil, statusError(err)
	}
	cc, err := newClientConn(c, target, cfg)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	cc.owned = true
	return cc, nil
}

// NewClient makes a ClientConn of a Client, which stays the caller's: Close leaves it open. Others may use it for calls of their own. Options
// of WithTransport are refused, for the Client has its own.
func NewClient(c *fastrpc.Client, opts ...DialOption) (*ClientConn, error) {
	var cfg clientConfig
	for _, o := range opts {
		o(&cfg)
	}
	if cfg.native != nil {
		return nil, status.Error(codes.InvalidArgument, "fastgrpc: WithTransport goes with Dial: pass these options to fastrpc.Dial instead")
	}
	name, _ := c.Transport()
	return newClientConn(c, name+" "+c.Remote().String(), cfg)
}

func newClientConn(c *fastrpc.Client, target string, cfg clientConfig) (*ClientConn, error) {
	cc := &ClientConn{client: c, cfg: cfg, target: target, authority: c.Remote().String()}
	cc.open, cc.shut = context.WithCancel(context.Background())
	cc.peer = &peer.Peer{Addr: udpAddr(c.Remote()), AuthInfo: insecureInfo}
	for _, p := range cfg.creds {
		if p.RequireTransportSecurity() {
			return nil, status.Error(codes.Unauthenticated, "fastgrpc: the credentials of WithPerRPCCredentials require transport security, and the connection has none")
		}
	}
	cc.unary, cc.stream = chainUnaryClient(cfg.unary), chainStreamClient(cfg.stream)
	if i := newCallInfo(); i.apply(cfg.defaults) == nil && !i.finish {
		cc.defaults = &i
	}
	var err error
	if cc.plain, err = cc.newPlain(); err != nil {
		return nil, err
	}
	cc.connCtx = context.Background()
	for _, h := range cfg.stats {
		cc.connCtx = h.TagConn(cc.connCtx, &stats.ConnTagInfo{RemoteAddr: cc.peer.Addr})
		h.HandleConn(cc.connCtx, &stats.ConnBegin{Client: true})
	}
	return cc, nil
}

// newPlain makes the *grpc.ClientConn of the calls. It hands them over in interceptors, before it would ever connect.
func (cc *ClientConn) newPlain() (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+cc.target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, _ *grpc.ClientConn, _ grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return cc.Invoke(ctx, method, req, reply, opts...)
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, _ *grpc.ClientConn, method string, _ grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return cc.NewStream(ctx, desc, method, opts...)
		}))
}

// insecureInfo is gRPC's word for a connection without encryption and authentication.
var insecureInfo = func() credentials.AuthInfo {
	_, info, _ := insecure.NewCredentials().ServerHandshake(nil)
	return info
}()

// Plain returns a *grpc.ClientConn whose calls are this connection's, for code that takes no interface. It is not connected to anything
// itself, so its state says nothing; Close closes it along.
func (cc *ClientConn) Plain() *grpc.ClientConn { return cc.plain }

// Target is what was dialed.
func (cc *ClientConn) Target() string { return cc.target }

// Client is the connection beneath.
func (cc *ClientConn) Client() *fastrpc.Client { return cc.client }

// Close ends the connection, and with it the calls in progress, as Canceled: of streams, whoever waits for their end hears at once, even if nobody
// reads them. A Client that NewClient was given stays open, and unary calls go on.
func (cc *ClientConn) Close() error {
	cc.closing.Do(func() {
		cc.shut()
		cc.err = cc.plain.Close()
		if cc.owned {
			cc.err = errors.Join(cc.err, cc.client.Close())
		}
		for _, h := range cc.cfg.stats {
			h.HandleConn(cc.connCtx, &stats.ConnEnd{Client: true})
		}
	})
	return cc.err
}

// method finds the native method of that full name.
func (cc *ClientConn) method(full string) *fastrpc.Method {
	if m := cc.last.Load(); m != nil && m.Name() == full {
		return m
	}
	m := cc.look(full)
	cc.last.Store(m)
	return m
}

// mostMethods is how many methods are remembered: those who call a gateway make up the names. With one more all are forgotten, and those that are
// called are looked up at the server once again.
const mostMethods = 4096

func (cc *ClientConn) look(full string) *fastrpc.Method {
	if m, ok := cc.methods.Load(full); ok {
		return m.(*fastrpc.Method)
	}
	kept, known := cc.methods.LoadOrStore(full, cc.client.Method(full))
	if !known && cc.known.Add(1) > mostMethods {
		cc.methods.Clear()
		cc.known.Store(0)
	}
	return kept.(*fastrpc.Method)
}

func (cc *ClientConn) peerInfo() *peer.Peer { return cc.peer }

// combine joins the options of the connection and of a call.
func (cc *ClientConn) combine(opts []grpc.CallOption) []grpc.CallOption {
	switch {
	case len(cc.cfg.defaults) == 0:
		return opts
	case len(opts) == 0:
		return cc.cfg.defaults
	}
	return append(append(make([]grpc.CallOption, 0, len(cc.cfg.defaults)+len(opts)), cc.cfg.defaults...), opts...)
}
