package main

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/fastrpc/fastrpc/bench"
	"github.com/fastrpc/fastrpc/bench/peers/echopb"
)

// grpcGo is grpc-go: unary calls of generated code on one channel. Its defaults stay, as its documentation of the window and buffer sizes
// advises; only its limit on messages, 4 MiB, is raised.
type grpcGo struct{ rpc }

// echoServer is the handler that echo.proto's generators ask for.
type echoServer struct {
	echopb.UnimplementedEchoServer
	endpoint *bench.Endpoint
}

func (s echoServer) Call(_ context.Context, m *echopb.Message) (*echopb.Message, error) {
	return &echopb.Message{Payload: reply(s.endpoint, m.Payload)}, nil
}

func (grpcGo) Serve(ctx context.Context, e bench.Endpoint, ready func(bench.Ready)) error {
	s := grpc.NewServer(grpc.MaxRecvMsgSize(messageLimit))
	echopb.RegisterEchoServer(s, echoServer{endpoint: &e})
	return serve(ctx, &e, ready, s.Serve, s.Stop)
}

func (grpcGo) Connect(_ context.Context, e bench.Endpoint) (bench.Caller, error) {
	conn, err := grpc.NewClient("passthrough:///"+e.Remote.String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(messageLimit)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx, &e) }))
	if err != nil {
		return nil, err
	}
	stub := echopb.NewEchoClient(conn)
	return goroutines(newCaller(&e, func(ctx context.Context, payload []byte) ([]byte, error) {
		m, err := stub.Call(ctx, &echopb.Message{Payload: payload})
		return m.GetPayload(), err
	}, conn.Close)), nil
}
