// The peer net-rpc is the standard library's net/rpc with its own codec, gob. Many calls at once are its Client.Go.
package main

import (
	"context"
	"net"
	netrpc "net/rpc"

	"github.com/fastrpc/fastrpc/bench"
	"github.com/fastrpc/fastrpc/bench/peers/internal/peer"
)

var system = peer.New("net-rpc", serve, dial)

func main() { peer.Main(system) }

// gobEcho is the handler that net/rpc asks for.
type gobEcho struct{ endpoint *bench.Endpoint }

func (s gobEcho) Call(payload []byte, answer *[]byte) error {
	*answer = peer.Reply(s.endpoint, payload)
	return nil
}

func serve(ctx context.Context, e bench.Endpoint, ready func(bench.Ready)) error {
	s := netrpc.NewServer()
	if err := s.RegisterName("Echo", gobEcho{&e}); err != nil {
		return err
	}
	return peer.Listen(ctx, &e, ready, func(l net.Listener) error {
		for {
			conn, err := l.Accept()
			if err != nil {
				return err
			}
			context.AfterFunc(ctx, func() { conn.Close() })
			go s.ServeConn(conn)
		}
	}, func() {})
}

func dial(ctx context.Context, e bench.Endpoint) (bench.Caller, error) {
	conn, err := peer.Dial(ctx, &e)
	if err != nil {
		return nil, err
	}
	c := netrpc.NewClient(conn)
	return peer.Futures(peer.NewCaller(&e, func(_ context.Context, payload []byte) (got []byte, err error) {
		err = c.Call("Echo.Call", payload, &got)
		return got, err
	}, func() error { return peer.UnlessShut(c.Close(), netrpc.ErrShutdown) }), func(_ context.Context, payload []byte, done chan *netrpc.Call) *netrpc.Call {
		return c.Go("Echo.Call", payload, new([]byte), done)
	}, func(call *netrpc.Call) (payload, got []byte, err error) {
		return call.Args.([]byte), *call.Reply.(*[]byte), call.Error
	}), nil
}
