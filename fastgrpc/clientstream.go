package fastgrpc

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/fastrpc/fastrpc"
)

// NewStream begins a stream: generated code does. As in gRPC, it is to be read to its end, or ctx to be canceled.
func (cc *ClientConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	opts = cc.combine(opts)
	if cc.stream != nil {
		return cc.stream(ctx, desc, cc.plain, method, cc.newStream, opts...)
	}
	return cc.newStream(ctx, desc, nil, method, opts...)
}

// newStream is a grpc.Streamer.
func (cc *ClientConn) newStream(ctx context.Context, desc *grpc.StreamDesc, _ *grpc.ClientConn, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s := &clientStream{cc: cc, desc: desc, method: method, opts: opts, info: newCallInfo()}
	if err := s.info.apply(opts); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	unhook := context.AfterFunc(cc.open, func() { cancel(errClosing) })
	s.cancel = func() {
		unhook()
		cancel(nil)
	}
	s.ctx, s.watch = watchCall(ctx, cc.cfg.stats, kind{client: true, failFast: !s.info.waitForReady, clientStreams: desc.ClientStreams, serverStreams: desc.ServerStreams}, method)
	if err := s.begin(); err != nil {
		s.finish(err)
		return nil, err
	}
	context.AfterFunc(s.ctx, func() { s.finish(s.over()) }) // whoever waits for the end hears of that of a stream that nobody reads any more, too
	return s, nil
}

// over is the status of a stream whose context is over.
func (s *clientStream) over() error {
	if context.Cause(s.ctx) == errClosing {
		return errClosing
	}
	return status.FromContextError(s.ctx.Err()).Err()
}

var errClosing = status.Error(codes.Canceled, "grpc: the client connection is closing")

// clientStream is a client's end of a stream.
type clientStream struct {
	cc     *ClientConn
	desc   *grpc.StreamDesc
	method string
	opts   []grpc.CallOption
	info   callInfo
	ctx    context.Context
	cancel context.CancelFunc
	st     *fastrpc.Stream
	watch  *watch

	once         sync.Once // for the header
	header       metadata.MD
	decompressor encoding.Compressor
	headerErr    error

	got       bool // a message
	halfEnded bool
	ending    sync.Once
	aborted   atomic.Pointer[error] // of this end's
}

// begin opens it.
func (s *clientStream) begin() error {
	if err := s.info.complete(); err != nil {
		return err
	}
	md, err := s.cc.outgoing(s.ctx, s.method, &s.info)
	if err != nil {
		return err
	}
	m, opts := s.cc.method(s.method), native(md)
	s.st, err = begin(s.ctx, &s.info, func() (*fastrpc.Stream, error) { return m.Stream(s.ctx, opts...) })
	if err != nil {
		return statusError(err)
	}
	s.watch.sentHeader(md, s.method, s.info.encoding, s.cc)
	return nil
}

func (s *clientStream) Context() context.Context { return s.ctx }

// Header waits for the server's header.
func (s *clientStream) Header() (metadata.MD, error) {
	s.once.Do(s.readHeader)
	if s.headerErr != nil {
		s.abort(s.headerErr)
	}
	return s.header, s.headerErr
}

func (s *clientStream) readHeader() {
	md, err := s.st.Header()
	if err != nil {
		s.headerErr = statusError(err)
		return
	}
	header, compressor := incomingMetadata(md)
	s.header = header
	if s.decompressor, s.headerErr = decompressorOf(compressor); s.headerErr != nil {
		return
	}
	s.watch.gotHeader(header, s.method, compressor, s.cc)
}

// Trailer may be called once RecvMsg has returned an error.
func (s *clientStream) Trailer() metadata.MD {
	md, _ := incomingMetadata(s.st.Trailer())
	return md
}

func (s *clientStream) CloseSend() error {
	if s.halfEnded {
		return nil
	}
	s.halfEnded = true
	_ = s.st.CloseSend() // a stream that is over tells RecvMsg why
	return nil
}

// SendMsg sends a message. io.EOF: the stream is over, and RecvMsg tells why.
func (s *clientStream) SendMsg(m any) error {
	if s.halfEnded {
		return status.Error(codes.Internal, "SendMsg called after CloseSend")
	}
	if !s.desc.ClientStreams {
		s.halfEnded = true
	}
	e, err := s.info.codec.encode(m, s.info.compressor, s.info.maxSend)
	if err == nil {
		err = sendOn(s.st, e)
	}
	switch {
	case err == nil:
	case err == io.EOF, isOver(err):
		if !s.desc.ClientStreams { // RecvMsg comes next, and tells
			return nil
		}
		return io.EOF
	default:
		err = statusError(err)
		s.abort(err)
		return err
	}
	s.watch.sent(m, e.lengths)
	if !s.desc.ClientStreams {
		_ = s.st.CloseSend()
	}
	return nil
}

// isOver tells whether a message was not sent because the stream has ended.
func isOver(err error) bool {
	var e *fastrpc.Error
	if !errors.As(err, &e) {
		return false
	}
	return e.Code == fastrpc.Canceled || e.Code == fastrpc.DeadlineExceeded || e.Code == fastrpc.Unavailable
}

// RecvMsg receives a message; io.EOF: the call has ended well.
func (s *clientStream) RecvMsg(m any) error {
	err := s.receive(m)
	if err == nil && !s.desc.ServerStreams { // the reply is the only message, and the status counts
		if err = s.receive(m); err == nil {
			err = status.Error(codes.Internal, "cardinality violation: expected <EOF> for non server-streaming RPCs, but received another message")
			s.abort(err)
		} else if err == io.EOF {
			return nil
		}
	}
	return err
}

func (s *clientStream) receive(m any) error {
	if err := s.aborted.Load(); err != nil {
		return *err
	}
	if _, err := s.Header(); err != nil {
		return err
	}
	msg, err := s.st.Receive()
	switch {
	case err == io.EOF:
		if !s.got && !s.desc.ServerStreams {
			err = status.Error(codes.Internal, "cardinality violation: received no response message from non-server-streaming RPC")
			s.finish(err)
			return err
		}
		s.finish(nil)
		return io.EOF
	case err != nil:
		err = statusError(err)
		s.finish(err)
		return err
	}
	s.got = true
	n, err := decode(s.info.codec, msg, m, s.decompressor, s.info.maxRecv)
	if err != nil {
		s.abort(err)
		return err
	}
	s.watch.got(m, n)
	return nil
}

// abort ends the stream for an error of this end's.
func (s *clientStream) abort(err error) {
	s.aborted.CompareAndSwap(nil, &err)
	s.finish(err)
}

// finish tells whoever waits that the call is over.
func (s *clientStream) finish(err error) {
	s.ending.Do(func() {
		var trailer metadata.MD
		s.cancel()
		if s.st != nil {
			s.once.Do(s.readHeader) // another goroutine may be about it; the stream is over, or is about to be, and so it does not wait for long
			trailer = s.Trailer()
		}
		s.watch.end(trailer, err)
		if s.info.finish {
			finish(s.opts, s.header, trailer, s.cc.peer, err)
		}
	})
}

// sender is what messages are sent on.
type sender interface{ Send([]byte) error }

// sendOn sends an encoded message.
func sendOn(s sender, e encoded) error {
	defer e.free()
	if e.proto == nil && len(e.data) == 1 {
		return s.Send(e.data[0].ReadOnlyData())
	}
	buf := scratch(e.wire)
	defer giveBack(buf)
	if err := e.write(*buf); err != nil {
		return err
	}
	return s.Send(*buf)
}
