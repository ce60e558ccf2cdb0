// The peer kitex is cloudwego/kitex over netpoll, with what its generator makes of echo.proto, and its pool of long connections, each of which
// carries one call at a time, made as large as there are calls: how its documentation of connection types reckons. Its multiplexed connections
// are deprecated.
package main

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/pkg/connpool"
	"github.com/cloudwego/kitex/pkg/klog"
	remotepool "github.com/cloudwego/kitex/pkg/remote/connpool"
	"github.com/cloudwego/kitex/server"

	"github.com/fastrpc/fastrpc/bench"
	"github.com/fastrpc/fastrpc/bench/peers/internal/peer"
	"github.com/fastrpc/fastrpc/bench/peers/kitex/echopb"
	"github.com/fastrpc/fastrpc/bench/peers/kitex/echopb/echo"
)

var system = peer.New("kitex", serve, dial)

func main() { peer.Main(system) }

func init() { klog.SetOutput(io.Discard) } // what matters comes as an error

type kitexEcho struct{ endpoint *bench.Endpoint }

func (s kitexEcho) Call(_ context.Context, m *echopb.Message) (*echopb.Message, error) {
	return &echopb.Message{Payload: peer.Reply(s.endpoint, m.Payload)}, nil
}

func serve(ctx context.Context, e bench.Endpoint, ready func(bench.Ready)) error {
	return serveEcho(ctx, e, ready, &kitexEcho{&e})
}

func serveEcho(ctx context.Context, e bench.Endpoint, ready func(bench.Ready), handler echopb.Echo) error {
	exit := make(chan error, 1)
	return peer.Listen(ctx, &e, ready, func(l net.Listener) error {
		return echo.NewServer(handler,
			server.WithListener(l),
			server.WithExitSignal(func() <-chan error { return exit }),
			server.WithExitWaitTime(time.Millisecond), // the client is done
		).Run()
	}, func() { exit <- nil })
}

func dial(_ context.Context, e bench.Endpoint) (bench.Caller, error) {
	pool := remotepool.NewLongPool("echo", *connpool.CheckPoolConfig(connpool.IdleConfig{MaxIdlePerAddress: e.Outstanding}))
	stub, err := echo.NewClient("echo",
		client.WithHostPorts(e.Remote.String()),
		client.WithConnPool(pool)) // as WithLongConnection makes it, but for one that can be closed, which generated clients do not offer
	if err != nil {
		return nil, err
	}
	return peer.NewCaller(&e, func(ctx context.Context, payload []byte) ([]byte, error) {
		m, err := stub.Call(ctx, &echopb.Message{Payload: payload})
		return m.GetPayload(), err
	}, pool.Close), nil
}
