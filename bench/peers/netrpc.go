package main

import (
	"context"
	"net"
	netrpc "net/rpc"

	"github.com/fastrpc/fastrpc/bench"
)

// netRPC is the standard library's net/rpc with its own codec, gob. Many calls at once are its Client.Go.
type netRPC struct{ rpc }

// gobEcho is the handler that net/rpc asks for.
type gobEcho struct{ endpoint *bench.Endpoint }

func (s gobEcho) Call(payload []byte, answer *[]byte) error {
	*answer = reply(s.endpoint, payload)
	return nil
}

func (netRPC) Serve(ctx context.Context, e bench.Endpoint, ready func(bench.Ready)) error {
	s := netrpc.NewServer()
	if err := s.RegisterName("Echo", gobEcho{&e}); err != nil {
		return err
	}
	return serve(ctx, &e, ready, func(l net.Listener) error {
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

func (netRPC) Connect(ctx context.Context, e bench.Endpoint) (bench.Caller, error) {
	conn, err := dial(ctx, &e)
	if err != nil {
		return nil, err
	}
	c := netrpc.NewClient(conn)
	return futures(newCaller(&e, func(_ context.Context, payload []byte) (got []byte, err error) {
		err = c.Call("Echo.Call", payload, &got)
		return got, err
	}, func() error { return unlessShut(c.Close(), netrpc.ErrShutdown) }), func(payload []byte, done chan *netrpc.Call) *netrpc.Call {
		return c.Go("Echo.Call", payload, new([]byte), done)
	}, func(call *netrpc.Call) (payload, got []byte, err error) {
		return call.Args.([]byte), *call.Reply.(*[]byte), call.Error
	}), nil
}
