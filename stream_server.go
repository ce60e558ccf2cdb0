package fastrpc

import (
	"context"
	"io"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/fastrpc/fastrpc/internal/engine"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// StreamHandler serves a stream: what it returns ends the stream, as a Handler's error does a call. It runs on a goroutine of its own, of
// which there are at most as many as WithMaxStreams says, and may block. Messages that it has not released are released when it returns.
type StreamHandler func(st *ServerStream) error

// HandleStream lets h serve the streams of that name. It panics when the method has a handler.
func (s *Server) HandleStream(name string, h StreamHandler) {
	if h == nil {
		panic("fastrpc: HandleStream needs a handler")
	}
	s.register(&method{name: name, stream: s.cfg.aroundStream(h)})
}

// ServerStream is the server's end of a stream. One goroutine may send while another one receives. It is valid until the handler returns.
type ServerStream struct {
	server  *Server
	call    *engine.Call
	method  *method
	s       *engine.Stream
	ctx     context.Context
	header  Metadata    // to be sent
	sent    atomic.Bool // the header was
	trailer Metadata
	hooks   hooks
}

// Context returns a context that ends when the client's call does, at its deadline, when the handler returns, and when a server that is shut down
// no longer waits for its streams.
func (st *ServerStream) Context() context.Context { return st.ctx }

// SetContext replaces the context, for interceptors that add values to it.
func (st *ServerStream) SetContext(ctx context.Context) { st.ctx = ctx }

// Method returns the called method's name.
func (st *ServerStream) Method() string { return st.method.name }

// Peer returns the client's address.
func (st *ServerStream) Peer() netip.AddrPort {
	path := st.call.Conn().Path()
	return path.Remote()
}

// Header returns the metadata that the client opened the stream with.
func (st *ServerStream) Header() Metadata { return requestHeader(st.call) }

// Receive waits for the client's next message, which is to be released. io.EOF: the client has closed its side (CloseSend). Any other error is an
// *Error: Canceled, DeadlineExceeded or, of a server that is shut down, Unavailable; nobody waits for the handler any more.
func (st *ServerStream) Receive() (Message, error) {
	if st.hooks.receive != nil {
		return st.hooks.receive()
	}
	return st.receive()
}

func (st *ServerStream) receive() (Message, error) {
	if m := st.s.Receive(); m != nil {
		return newMessage(st.s, m), nil
	}
	switch {
	case st.s.Left():
		return Message{}, &Error{Op: st.method.name, Code: Canceled, Outcome: Executed, Msg: "the handler receives no more"}
	case st.s.Stopped():
		return Message{}, st.stopped()
	}
	return Message{}, io.EOF
}

// CloseReceive makes a Receive that waits on another goroutine return, and every one after it, with Canceled. A handler that leaves such a goroutine
// behind calls it, and waits for the goroutine, before it returns; after that it is done anyway.
func (st *ServerStream) CloseReceive() { st.s.CloseReceive() }

// Send sends a message, after the header if that was not sent, and returns when body may be written again: at once, unless the client is behind, or
// the message is longer than 64 KiB, which is read until the client has it. The error is an *Error: as Receive's, or ResourceExhausted for
// too large a message.
func (st *ServerStream) Send(body []byte) error {
	if st.hooks.send != nil {
		return st.hooks.send(body)
	}
	return st.send(body)
}

func (st *ServerStream) send(body []byte) error {
	if !st.sent.Load() && st.header != nil {
		if err := st.SendHeader(nil); err != nil {
			return err
		}
	}
	st.sent.Store(true)
	return st.failed(st.s.Send(body))
}

// SetHeader adds to the header, which goes before the first message, or with SendHeader, or with the end. After that it is an error, Internal.
func (st *ServerStream) SetHeader(md Metadata) error {
	if st.sent.Load() {
		return st.failed(errHeaderSent)
	}
	st.header.join(md)
	return nil
}

// SendHeader adds to the header and sends it. It is an error, Internal, to do so twice or after a message.
func (st *ServerStream) SendHeader(md Metadata) error {
	if err := st.SetHeader(md); err != nil {
		return err
	}
	block, err := appendEntries(nil, st.header)
	if err == nil {
		err = checkBlock(block, st.server.cfg.maxMetadata)
	}
	if err != nil {
		return wrap(st.method.name, Internal, Executed, err)
	}
	st.sent.Store(true)
	return st.failed(st.s.SendHeader(block))
}

// SetTrailer adds to what goes with the end.
func (st *ServerStream) SetTrailer(md Metadata) { st.trailer.join(md) }

var errHeaderSent = &engine.CallError{Code: engine.Code(Internal), Outcome: engine.Executed, Reason: "the header has been sent"}

func (st *ServerStream) failed(err *engine.CallError) error {
	switch err {
	case nil:
		return nil
	case engine.ErrOver:
		return st.stopped()
	}
	return wrap(st.method.name, Internal, Executed, err)
}

// stopped says why nobody waits for the handler any more.
func (st *ServerStream) stopped() *Error {
	e := &Error{Op: st.method.name, Code: Canceled, Outcome: Executed, Msg: "the client gave the stream up"}
	switch {
	case st.s.Finished():
		e.Msg = "the handler has returned"
	case st.server.ending.Load():
		e.Code, e.Msg = Unavailable, "the server is shutting down"
	case expiring(st.call):
		e.Code, e.Msg = DeadlineExceeded, "the stream's deadline passed"
	}
	return e
}

// serve runs the handler, and answers.
func (st *ServerStream) serve(done func()) {
	ctx, cancel := st.newContext()
	st.ctx = ctx
	onGone(st.call, cancel)
	unhook := context.AfterFunc(ctx, func() { st.s.Abort(engine.Code(st.stopped().Code)) })
	err := st.method.stream(st)
	unhook()
	st.s.CloseReceive()
	ending := st.s.Stopped() && st.server.ending.Load()
	cancel()
	code, msg, trailer := statusOf(err)
	if err != nil && ending {
		code, msg = Unavailable, "the server is shutting down"
	}
	if trailer != nil {
		st.trailer.join(trailer)
	}
	header := st.header
	if st.sent.Load() {
		header = nil
	}
	block, berr := endBlock(header, st.trailer, st.server.cfg.maxMetadata)
	if berr != nil {
		code, msg, _ = statusOf(wrap("", Internal, Executed, berr))
	}
	body := []byte(cut(msg))
	if block != nil {
		body = wire.AppendMetadata(body, block)
	}
	done()
	st.s.Finish(engine.Code(code), engine.Executed, body, block != nil)
}

func (st *ServerStream) newContext() (context.Context, context.CancelFunc) {
	if d := st.call.Deadline(); d != 0 {
		return context.WithDeadline(st.server.streamCtx, time.Now().Add(d.Sub(transport.Now())))
	}
	return context.WithCancel(st.server.streamCtx)
}
