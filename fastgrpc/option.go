package fastgrpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/stats"

	"github.com/fastrpc/fastrpc"
)

// DialOption sets up a ClientConn. Where gRPC has an option of that name, it means the same.
type DialOption func(*clientConfig)

type clientConfig struct {
	native   []fastrpc.Option
	defaults []grpc.CallOption
	unary    []grpc.UnaryClientInterceptor
	stream   []grpc.StreamClientInterceptor
	stats    []stats.Handler
	creds    []credentials.PerRPCCredentials
}

// WithTransport passes options to fastrpc.Dial: fastrpc.WithInsecure() is one that has to be among them.
func WithTransport(opts ...fastrpc.Option) DialOption {
	return func(c *clientConfig) { c.native = append(c.native, opts...) }
}

// WithDefaultCallOptions adds options to every call, before the call's own.
func WithDefaultCallOptions(opts ...grpc.CallOption) DialOption {
	return func(c *clientConfig) { c.defaults = append(c.defaults, opts...) }
}

// WithUnaryInterceptor adds interceptors of unary calls; the first is the outermost. The *grpc.ClientConn that they are given is
// ClientConn.Plain.
func WithUnaryInterceptor(i ...grpc.UnaryClientInterceptor) DialOption {
	return func(c *clientConfig) { c.unary = append(c.unary, i...) }
}

// WithStreamInterceptor adds interceptors of streams, as WithUnaryInterceptor does.
func WithStreamInterceptor(i ...grpc.StreamClientInterceptor) DialOption {
	return func(c *clientConfig) { c.stream = append(c.stream, i...) }
}

// WithStatsHandler has h told of every call. What gRPC tells of connections it is told of the ClientConn: it begins with Dial, or NewClient,
// and ends with Close.
func WithStatsHandler(h stats.Handler) DialOption {
	return func(c *clientConfig) { c.stats = append(c.stats, h) }
}

// WithPerRPCCredentials adds credentials to every call. Those that require transport security are refused by NewClient: there is none.
func WithPerRPCCredentials(p credentials.PerRPCCredentials) DialOption {
	return func(c *clientConfig) { c.creds = append(c.creds, p) }
}

// ServerOption sets up a Server. Where gRPC has an option of that name, it means the same.
type ServerOption func(*serverConfig)

type serverConfig struct {
	unary   []grpc.UnaryServerInterceptor
	stream  []grpc.StreamServerInterceptor
	stats   []stats.Handler
	codec   codec
	maxRecv int
	maxSend int
	inline  map[string]bool
	unknown grpc.StreamHandler
}

// UnaryInterceptor adds interceptors of unary calls; the first is the outermost.
func UnaryInterceptor(i ...grpc.UnaryServerInterceptor) ServerOption {
	return func(c *serverConfig) { c.unary = append(c.unary, i...) }
}

// StreamInterceptor adds interceptors of streams; the first is the outermost.
func StreamInterceptor(i ...grpc.StreamServerInterceptor) ServerOption {
	return func(c *serverConfig) { c.stream = append(c.stream, i...) }
}

// StatsHandler has h told of every call. It is told nothing of connections: sessions come and go without the handlers.
func StatsHandler(h stats.Handler) ServerOption {
	return func(c *serverConfig) { c.stats = append(c.stats, h) }
}

// MaxRecvMsgSize bounds messages that are received, bytes; the default is gRPC's, 4 MiB. fastrpc.WithMaxMessage bounds them before.
func MaxRecvMsgSize(bytes int) ServerOption { return func(c *serverConfig) { c.maxRecv = bytes } }

// MaxSendMsgSize bounds messages that are sent, bytes; without it fastrpc.WithMaxMessage does.
func MaxSendMsgSize(bytes int) ServerOption { return func(c *serverConfig) { c.maxSend = bytes } }

// ForceServerCodecV2 has the codec used for all messages, whatever the client names.
func ForceServerCodecV2(c encoding.CodecV2) ServerOption {
	return func(cfg *serverConfig) { cfg.codec = newCodec(c) }
}

// UnknownServiceHandler answers the calls of methods that nobody registered, unary ones too, as bidirectional streams.
func UnknownServiceHandler(h grpc.StreamHandler) ServerOption {
	return func(c *serverConfig) { c.unknown = h }
}

// Inline has the unary methods of those full names, such as /helloworld.Greeter/SayHello, answered in the polling loop, as
// fastrpc.Server.HandleInline does: for the lowest latency, by handlers that never block.
func Inline(methods ...string) ServerOption {
	return func(c *serverConfig) {
		for _, m := range methods {
			c.inline[m] = true
		}
	}
}

// chainUnaryClient makes one interceptor of several; nil of none.
func chainUnaryClient(all []grpc.UnaryClientInterceptor) grpc.UnaryClientInterceptor {
	if len(all) < 2 {
		return first(all)
	}
	rest := chainUnaryClient(all[1:])
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		return all[0](ctx, method, req, reply, cc, func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, opts ...grpc.CallOption) error {
			return rest(ctx, method, req, reply, cc, invoke, opts...)
		}, opts...)
	}
}

func chainStreamClient(all []grpc.StreamClientInterceptor) grpc.StreamClientInterceptor {
	if len(all) < 2 {
		return first(all)
	}
	rest := chainStreamClient(all[1:])
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		return all[0](ctx, desc, cc, method, func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return rest(ctx, desc, cc, method, open, opts...)
		}, opts...)
	}
}

func chainUnaryServer(all []grpc.UnaryServerInterceptor) grpc.UnaryServerInterceptor {
	if len(all) < 2 {
		return first(all)
	}
	rest := chainUnaryServer(all[1:])
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		return all[0](ctx, req, info, func(ctx context.Context, req any) (any, error) { return rest(ctx, req, info, handle) })
	}
}

func chainStreamServer(all []grpc.StreamServerInterceptor) grpc.StreamServerInterceptor {
	if len(all) < 2 {
		return first(all)
	}
	rest := chainStreamServer(all[1:])
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		return all[0](srv, ss, info, func(srv any, ss grpc.ServerStream) error { return rest(srv, ss, info, handle) })
	}
}

func first[T any](all []T) (none T) {
	if len(all) == 0 {
		return none
	}
	return all[0]
}
