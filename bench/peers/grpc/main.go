// The peer grpc is grpc-go: unary calls of generated code on one channel. Its defaults stay, as its documentation of the window and buffer
// sizes advises; only its limit on messages, 4 MiB, is raised.
package main

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/fastrpc/fastrpc/bench"
	"github.com/fastrpc/fastrpc/bench/peers/grpc/echopb"
	"github.com/fastrpc/fastrpc/bench/peers/internal/peer"
)

var system = peer.New("grpc", serve, dial)

func main() { peer.Main(system) }

// echoServer is the handler that its generator asks for.
type echoServer struct {
	echopb.UnimplementedEchoServer
	endpoint *bench.Endpoint
}

func (s echoServer) Call(_ context.Context, m *echopb.Message) (*echopb.Message, error) {
	return &echopb.Message{Payload: peer.Reply(s.endpoint, m.Payload)}, nil
}

func serve(ctx context.Context, e bench.Endpoint, ready func(bench.Ready)) error {
	s := grpc.NewServer(grpc.MaxRecvMsgSize(peer.MessageLimit))
	echopb.RegisterEchoServer(s, echoServer{endpoint: &e})
	return peer.Listen(ctx, &e, ready, s.Serve, s.Stop)
}

func dial(_ context.Context, e bench.Endpoint) (bench.Caller, error) {
	conn, err := grpc.NewClient("passthrough:///"+e.Remote.String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(peer.MessageLimit)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return peer.Dial(ctx, &e) }))
	if err != nil {
		return nil, err
	}
	stub := echopb.NewEchoClient(conn)
	return peer.NewCaller(&e, func(ctx context.Context, payload []byte) ([]byte, error) {
		m, err := stub.Call(ctx, &echopb.Message{Payload: payload})
		return m.GetPayload(), err
	}, conn.Close), nil
}
