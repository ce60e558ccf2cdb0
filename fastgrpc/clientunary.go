package fastgrpc

import (
	"context"
	"errors"

	"google.golang.org/grpc"

	"google.golang.org/grpc/metadata"

	"github.com/fastrpc/fastrpc"
)

// Invoke makes a unary call: generated code does. Errors are gRPC's status errors; fastrpc.OutcomeOf tells of each what became of the call.
func (cc *ClientConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	switch {
	case cc.unary != nil:
		return cc.unary(ctx, method, args, reply, cc.plain, cc.invoke, cc.combine(opts)...)
	case cc.defaults != nil:
		return cc.invokeWith(ctx, method, args, reply, *cc.defaults, opts)
	}
	return cc.invoke(ctx, method, args, reply, nil, cc.combine(opts)...)
}

// invoke is a grpc.UnaryInvoker.
func (cc *ClientConn) invoke(ctx context.Context, method string, args, reply any, _ *grpc.ClientConn, opts ...grpc.CallOption) error {
	return cc.invokeWith(ctx, method, args, reply, newCallInfo(), opts)
}

// invokeWith makes a call with opts beside what i says.
func (cc *ClientConn) invokeWith(ctx context.Context, method string, args, reply any, i callInfo, opts []grpc.CallOption) error {
	err := i.apply(opts)
	var w *watch
	var header, trailer metadata.MD
	if err == nil {
		ctx, w = watchCall(ctx, cc.cfg.stats, kind{client: true, failFast: !i.waitForReady}, method)
		header, trailer, err = cc.call(ctx, method, args, reply, &i, w)
		w.end(trailer, err)
	}
	if i.finish {
		finish(opts, header, trailer, cc.peer, err)
	}
	return err
}

// call makes the call.
func (cc *ClientConn) call(ctx context.Context, method string, args, reply any, i *callInfo, w *watch) (header, trailer metadata.MD, err error) {
	if err := i.complete(); err != nil {
		return nil, nil, err
	}
	md, err := cc.outgoing(ctx, method, i)
	if err != nil {
		return nil, nil, err
	}
	w.sentHeader(md, method, i.encoding, cc)
	e, err := i.codec.encode(args, i.compressor, i.maxSend)
	if err != nil {
		return nil, nil, err
	}
	buf := scratch(e.wire)
	err = e.write(*buf)
	e.free()
	if err != nil {
		giveBack(buf)
		return nil, nil, err
	}
	w.sent(args, e.lengths)
	m, o := cc.method(method), native(md)
	rep, err := begin(ctx, i, func() (fastrpc.Reply, error) { return m.Call(ctx, *buf, o...) })
	giveBack(buf)
	if err != nil {
		var e *fastrpc.Error
		if errors.As(err, &e) {
			header, _ = incomingMetadata(e.Header)
			trailer, _ = incomingMetadata(e.Trailer)
		}
		return header, trailer, statusError(err)
	}
	header, compressor := incomingMetadata(rep.Header())
	trailer, _ = incomingMetadata(rep.Trailer())
	w.gotHeader(header, method, compressor, cc)
	decompressor, err := decompressorOf(compressor)
	if err != nil {
		rep.Release()
		return header, trailer, err
	}
	n, err := decode(i.codec, rep, reply, decompressor, i.maxRecv)
	if err == nil {
		w.got(reply, n)
	}
	return header, trailer, err
}
