// The peer grpc is grpc-go: unary calls of generated code on one channel. Its window and buffer sizes stay, as their documentation advises; its
// limit on messages, 4 MiB, is raised, and the server has workers, which is an experimental option and the quicker one.
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
	workers := uint32(max(e.Outstanding, 8)) // goroutines that stay, in the place of a new one for each call
	s := grpc.NewServer(grpc.MaxRecvMsgSize(peer.MessageLimit), grpc.NumStreamWorkers(workers))
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
