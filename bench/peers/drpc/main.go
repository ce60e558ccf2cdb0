// The peer drpc is storj.io/drpc. A connection of it carries one call at a time; many at once are as many connections of its pool.
package main

import (
	"context"
	"net"

	"storj.io/drpc"
	"storj.io/drpc/drpcconn"
	"storj.io/drpc/drpcmanager"
	"storj.io/drpc/drpcmux"
	"storj.io/drpc/drpcpool"
	"storj.io/drpc/drpcserver"
	"storj.io/drpc/drpcwire"

	"github.com/fastrpc/fastrpc/bench"
	"github.com/fastrpc/fastrpc/bench/peers/drpc/echopb"
	"github.com/fastrpc/fastrpc/bench/peers/internal/peer"
)

var system = peer.New("drpc", serve, dial)

func main() { peer.Main(system) }

// drpcOptions raises the limit on messages, 4 MiB.
func drpcOptions() drpcmanager.Options {
	return drpcmanager.Options{Reader: drpcwire.ReaderOptions{MaximumBufferSize: peer.MessageLimit}}
}

// echoServer is the handler that its generator asks for.
type echoServer struct{ endpoint *bench.Endpoint }

func (s echoServer) Call(_ context.Context, m *echopb.Message) (*echopb.Message, error) {
	return &echopb.Message{Payload: peer.Reply(s.endpoint, m.Payload)}, nil
}

func serve(ctx context.Context, e bench.Endpoint, ready func(bench.Ready)) error {
	mux := drpcmux.New()
	if err := echopb.DRPCRegisterEcho(mux, echoServer{endpoint: &e}); err != nil {
		return err
	}
	s := drpcserver.NewWithOptions(mux, drpcserver.Options{Manager: drpcOptions()})
	return peer.Listen(ctx, &e, ready, func(l net.Listener) error { return s.Serve(ctx, l) }, func() {})
}

func dial(ctx context.Context, e bench.Endpoint) (bench.Caller, error) {
	open := func(ctx context.Context) (*drpcconn.Conn, error) {
		conn, err := peer.Dial(ctx, &e)
		if err != nil {
			return nil, err
		}
		return drpcconn.NewWithOptions(conn, drpcconn.Options{Manager: drpcOptions()}), nil
	}
	var conn drpc.Conn
	closeAll := func() error { return conn.Close() }
	if e.Outstanding <= 1 {
		c, err := open(ctx)
		if err != nil {
			return nil, err
		}
		conn = c
	} else {
		pool := drpcpool.New[struct{}, *drpcconn.Conn](drpcpool.Options{})
		conn = pool.Get(ctx, struct{}{}, func(ctx context.Context, _ struct{}) (*drpcconn.Conn, error) { return open(ctx) })
		closeAll = pool.Close
	}
	stub := echopb.NewDRPCEchoClient(conn)
	return peer.NewCaller(&e, func(ctx context.Context, payload []byte) ([]byte, error) {
		m, err := stub.Call(ctx, &echopb.Message{Payload: payload})
		return m.GetPayload(), err
	}, closeAll), nil
}
