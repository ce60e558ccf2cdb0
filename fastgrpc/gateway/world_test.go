package gateway_test

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/fastgrpc"
	"github.com/fastrpc/fastrpc/fastgrpc/gateway"
	_ "github.com/fastrpc/fastrpc/transport/udp"
)

// methods are the handlers of the server at the end of the way, by full name. All take and give wrapperspb.BytesValue.
type methods map[string]grpc.StreamHandler

func (m methods) handle(srv any, ss grpc.ServerStream) error {
	name, _ := grpc.MethodFromServerStream(ss)
	h, ok := m[name]
	if !ok {
		return status.Errorf(codes.Unimplemented, "unknown method %s", name)
	}
	return h(srv, ss)
}

// leg is one connection of the way: what serves on it, and what calls.
type leg struct {
	name  string
	serve func(t *testing.T, h grpc.StreamHandler, passing bool) (target string)
	dial  func(t *testing.T, target string) grpc.ClientConnInterface
}

const maxMessage = 4 << 20 // bytes, of every leg

var http2 = leg{
	name: "http2",
	serve: func(t *testing.T, h grpc.StreamHandler, passing bool) string {
		opts := []grpc.ServerOption{grpc.UnknownServiceHandler(h), grpc.MaxRecvMsgSize(maxMessage)}
		if passing {
			opts = append(opts, grpc.ForceServerCodecV2(gateway.Codec{}))
		}
		return serveHTTP2(t, grpc.NewServer(opts...))
	},
	dial: func(t *testing.T, target string) grpc.ClientConnInterface {
		cc, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cc.Close() })
		return cc
	},
}

func serveHTTP2(t *testing.T, s *grpc.Server) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

var overUDP = leg{
	name: "fastrpc",
	serve: func(t *testing.T, h grpc.StreamHandler, passing bool) string {
		opts := []fastgrpc.ServerOption{fastgrpc.UnknownServiceHandler(h), fastgrpc.MaxRecvMsgSize(maxMessage)}
		if passing {
			opts = append(opts, fastgrpc.ForceServerCodecV2(gateway.Codec{}))
		}
		s := fastgrpc.NewServer(fastrpc.NewServer(fastrpc.WithInsecure()), opts...)
		addr, err := s.Listen(t.Context(), "udp://127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Stop)
		return "udp://" + addr.String()
	},
	dial: func(t *testing.T, target string) grpc.ClientConnInterface {
		cc, err := fastgrpc.Dial(t.Context(), target, fastgrpc.WithTransport(fastrpc.WithInsecure()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := cc.Close(); err != nil {
				t.Error(err)
			}
		})
		return cc
	},
}

// ways are the two legs that a gateway joins.
var ways = [][2]leg{{http2, http2}, {http2, overUDP}, {overUDP, http2}, {overUDP, overUDP}}

// throughGateways runs a test with every gateway between the client and a server of those methods.
func throughGateways(t *testing.T, m methods, test func(t *testing.T, cc grpc.ClientConnInterface)) {
	for _, way := range ways {
		t.Run(way[0].name+"-"+way[1].name, func(t *testing.T) {
			server := way[1].serve(t, m.handle, false)
			to := way[1].dial(t, server)
			test(t, way[0].dial(t, way[0].serve(t, gateway.Handler(to), true)))
		})
	}
}

var bidi = grpc.StreamDesc{ClientStreams: true, ServerStreams: true}

func open(ctx context.Context, t *testing.T, cc grpc.ClientConnInterface, method string, opts ...grpc.CallOption) grpc.ClientStream {
	t.Helper()
	cs, err := cc.NewStream(ctx, &bidi, method, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return cs
}

// bytesOf makes a message of n bytes that tell where they are from.
func bytesOf(n, seed int) *wrapperspb.BytesValue {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*31 + seed*7 + i>>8)
	}
	return wrapperspb.Bytes(b)
}
