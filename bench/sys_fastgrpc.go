package bench

import (
	"context"

	"google.golang.org/grpc"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/bench/meter"
	"github.com/fastrpc/fastrpc/bench/stubpb"
	"github.com/fastrpc/fastrpc/fastgrpc"
)

func init() {
	xdp := rpc{scheme: "xdp"}
	for _, s := range Stubs {
		Register(stub{rpc: xdp, name: "fastgrpc" + string(s), way: s})
	}
	Register(stub{rpc: xdp, name: "fastgrpc-inline", way: Unary, opts: []fastgrpc.ServerOption{fastgrpc.Inline(stubpb.Stub_Call_FullMethodName)}})
}

// stub is generated code over this project.
type stub struct {
	rpc
	name string
	way  Stub
	opts []fastgrpc.ServerOption
}

func (s stub) Name() string      { return s.name }
func (s stub) Has(w string) bool { return s.way.Has(w) && w != Anatomy }

func (s stub) Serve(ctx context.Context, e Endpoint, ready func(Ready)) error {
	srv := fastgrpc.NewServer(fastrpc.NewServer(options(&e)...), append(s.opts, fastgrpc.MaxRecvMsgSize(StubLimit))...)
	RegisterStub(srv, e)
	return s.serve(ctx, &e, srv.Server, ready)
}

func (s stub) Connect(ctx context.Context, e Endpoint) (Caller, error) {
	target, err := s.target(&e, e.Remote.Addr().String(), e.Remote.Port())
	if err != nil {
		return nil, err
	}
	cc, err := fastgrpc.Dial(ctx, target, fastgrpc.WithTransport(options(&e)...), fastgrpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(StubLimit)))
	if err != nil {
		return nil, err
	}
	c, err := NewStubCaller(s.way, cc, e, cc.Close)
	return countingStub{c, cc}, err
}

// countingStub is a Caller whose connection counts.
type countingStub struct {
	Caller
	cc *fastgrpc.ClientConn
}

// Counters implements [Counting].
func (c countingStub) Counters() map[string]meter.Own { return own(c.cc.Client().Stats()) }
