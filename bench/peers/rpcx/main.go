// The peer rpcx is smallnest/rpcx: one direct client, its codec for plain bytes, no gateway on the same port. Many calls at once are its
// Client.Go.
package main

import (
	"context"
	"net"
	"time"

	"github.com/smallnest/rpcx/client"
	rpcxlog "github.com/smallnest/rpcx/log"
	"github.com/smallnest/rpcx/protocol"
	"github.com/smallnest/rpcx/server"

	"github.com/fastrpc/fastrpc/bench"
	"github.com/fastrpc/fastrpc/bench/peers/internal/peer"
)

var system = peer.New("rpcx", serve, dial)

func main() { peer.Main(system) }

func init() { rpcxlog.SetDummyLogger() } // it writes to standard output, which is bench's

// RPCXEcho is the handler that rpcx asks for; it must be exported.
type RPCXEcho struct{ endpoint *bench.Endpoint }

func (s RPCXEcho) Call(_ context.Context, payload []byte, answer *[]byte) error {
	*answer = peer.Reply(s.endpoint, payload)
	return nil
}

func serve(ctx context.Context, e bench.Endpoint, ready func(bench.Ready)) error {
	s := server.NewServer()
	s.DisableHTTPGateway, s.DisableJSONRPC = true, true
	if err := s.RegisterName("Echo", RPCXEcho{&e}, ""); err != nil {
		return err
	}
	return peer.Listen(ctx, &e, ready, func(l net.Listener) error { return s.ServeListener("tcp", l) }, func() { s.Close() })
}

func dial(ctx context.Context, e bench.Endpoint) (bench.Caller, error) {
	o := client.DefaultOption
	o.SerializeType = protocol.SerializeNone
	if by, ok := ctx.Deadline(); ok {
		o.ConnectTimeout = time.Until(by)
	}
	c := client.NewClient(o)
	if err := c.Connect("tcp", e.Remote.String()); err != nil {
		return nil, err
	}
	return peer.Futures(peer.NewCaller(&e, func(ctx context.Context, payload []byte) (got []byte, err error) {
		err = c.Call(ctx, "Echo", "Call", payload, &got)
		return got, err
	}, func() error { return peer.UnlessShut(c.Close(), client.ErrShutdown) }), func(ctx context.Context, payload []byte, done chan *client.Call) *client.Call {
		return c.Go(ctx, "Echo", "Call", payload, new([]byte), done)
	}, func(call *client.Call) (payload, got []byte, err error) {
		return call.Args.([]byte), *call.Reply.(*[]byte), call.Error
	}), nil
}
