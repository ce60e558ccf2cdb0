// The peer grpc is grpc-go: generated code on one channel, for unary calls and, as systems of their own, for streams. Its window and buffer
// sizes stay, as their documentation advises; its limit on messages, 4 MiB, is raised, and the server has workers, which is an experimental
// option and the quicker one.
package main

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/fastrpc/fastrpc/bench"
	"github.com/fastrpc/fastrpc/bench/peers/internal/peer"
)

func main() { peer.Main(systems()...) }

func systems() (all []bench.System) {
	for _, s := range bench.Stubs {
		all = append(all, system{peer.New("grpc"+string(s), serve, func(_ context.Context, e bench.Endpoint) (bench.Caller, error) { return dial(s, e) }), s})
	}
	return all
}

// system is a way to use the stub.
type system struct {
	peer.System
	way bench.Stub
}

func (s system) Has(workload string) bool { return s.way.Has(workload) }

func serve(ctx context.Context, e bench.Endpoint, ready func(bench.Ready)) error {
	workers := uint32(max(e.Outstanding, 8)) // goroutines that stay, in the place of a new one for each call
	s := grpc.NewServer(grpc.MaxRecvMsgSize(bench.StubLimit), grpc.NumStreamWorkers(workers))
	bench.RegisterStub(s, e)
	return peer.Listen(ctx, &e, ready, s.Serve, s.Stop)
}

func dial(way bench.Stub, e bench.Endpoint) (bench.Caller, error) {
	conn, err := grpc.NewClient("passthrough:///"+e.Remote.String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(bench.StubLimit)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return peer.Dial(ctx, &e) }))
	if err != nil {
		return nil, err
	}
	return bench.NewStubCaller(way, conn, e, conn.Close)
}
