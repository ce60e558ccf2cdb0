package fastrpc

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/fastrpc/fastrpc/internal/engine"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// Stream is the client's end of a call in which messages go both ways. One goroutine may send while another one receives; Header, Trailer and
// Close may be called from any. It holds memory until Receive has returned an error, or its context has ended, or Close was called.
type Stream struct {
	ctx   context.Context
	m     *Method
	s     *engine.Stream
	ended atomic.Pointer[streamEnd]
	hooks hooks
}

type streamEnd struct {
	err             error
	header, trailer Metadata
}

// Stream opens a stream. It ends when ctx does; a deadline, of ctx or by Timeout, travels to the server. Opening does not wait for the server,
// but where the method is used for the first time in a session. The error is an *Error.
func (m *Method) Stream(ctx context.Context, opts ...CallOption) (*Stream, error) {
	return m.client.aroundOpen(ctx, m, opts...)
}

func (m *Method) open(ctx context.Context, opts []CallOption) (*Stream, error) {
	_, deadline, err := m.deadline(ctx, opts)
	if err != nil {
		return nil, err
	}
	metadata, err := headerBlock(opts, m.client.maxMetadata)
	if err != nil {
		return nil, wrap(m.op, Internal, NotExecuted, err)
	}
	if metadata != nil {
		metadata = wire.AppendMetadata(nil, metadata)
	}
	for attempt := 0; ; attempt++ {
		b, err := m.bind(ctx, deadline)
		if err != nil {
			return nil, wrap(m.op, Unavailable, NotExecuted, err)
		}
		s, cerr := b.conn.OpenStream(ctx, b.number, metadata, deadline)
		if cerr == nil {
			return &Stream{ctx: ctx, m: m, s: s}, nil
		}
		if b.conn.Err() == nil || attempt > 0 {
			return nil, wrap(m.op, Unavailable, NotExecuted, cerr)
		}
	}
}

// Context returns the context that the stream was opened with.
func (st *Stream) Context() context.Context { return st.ctx }

// Method returns the method.
func (st *Stream) Method() *Method { return st.m }

// Send sends a message and returns when body may be written again: at once, unless the server is behind, or the message is longer than
// 64 KiB, which is read until the server has it. io.EOF means that the server has ended the stream, and Receive tells how; any other error is
// an *Error: Internal after CloseSend, Canceled and DeadlineExceeded after the context's end, ResourceExhausted for too large a message.
func (st *Stream) Send(body []byte) error {
	if st.hooks.send != nil {
		return st.hooks.send(body)
	}
	return st.send(body)
}

func (st *Stream) send(body []byte) error { return st.sent(st.s.Send(body)) }

// CloseSend tells the server that no more messages follow. The server may go on sending. It is an error, Internal, to do so twice.
func (st *Stream) CloseSend() error { return st.sent(st.s.CloseSend()) }

func (st *Stream) sent(err *engine.CallError) error {
	switch {
	case err == nil:
		return nil
	case err != engine.ErrOver:
		return wrap(st.m.op, Internal, OutcomeUnknown, err)
	}
	if err, _, _, _ := st.s.End(); err != nil {
		return wrap(st.m.op, Internal, OutcomeUnknown, err)
	}
	return io.EOF
}

// Receive waits for the next message, which is to be released. io.EOF: the server ended the stream with OK, and all of its messages were
// received. Any other error is an *Error, of which Outcome says whether the handler ran. Where there is an error there is no message.
func (st *Stream) Receive() (Message, error) {
	if st.hooks.receive != nil {
		return st.hooks.receive()
	}
	return st.receive()
}

func (st *Stream) receive() (Message, error) {
	if m := st.s.Receive(); m != nil {
		return newMessage(st.s, m), nil
	}
	return Message{}, st.end().err
}

// end finds out how the stream ended, which it has.
func (st *Stream) end() *streamEnd {
	if e := st.ended.Load(); e != nil {
		return e
	}
	e := &streamEnd{err: io.EOF}
	err, code, refused, text := st.s.End()
	block, sound := st.s.Trailer()
	if sound {
		e.header, e.trailer, sound = parseBlock(block)
	}
	switch {
	case err != nil:
		e.err = wrap(st.m.op, Unavailable, OutcomeUnknown, err)
	case !sound:
		e.err = &Error{Op: st.m.op, Code: Internal, Outcome: Executed, Msg: "the server's metadata is malformed"}
	case Code(code) != OK:
		failed := &Error{Op: st.m.op, Code: Code(code), Outcome: Executed, Msg: validText(text), Header: e.header, Trailer: e.trailer}
		if refused {
			failed.Outcome = NotExecuted
		}
		e.err = failed
	}
	st.ended.Store(e)
	return e
}

// Header waits for the server's header, which comes before its first message, or with its end. The error, an *Error, is the stream's where it
// ended for another reason than the server's.
func (st *Stream) Header() (Metadata, error) {
	if block, ok := st.s.Header(); ok {
		header, _, sound := parseBlock(block)
		if !sound {
			return nil, &Error{Op: st.m.op, Code: Internal, Outcome: Executed, Msg: "the server's header is malformed"}
		}
		if header == nil {
			header = Metadata{} // it came, with nothing in it
		}
		return header, nil
	}
	if err, _, _, _ := st.s.End(); err != nil {
		return nil, st.end().err
	}
	return st.end().header, nil
}

// Trailer returns what the server sent with its end, after Receive has returned an error; before, it returns nil.
func (st *Stream) Trailer() Metadata {
	if !st.s.Over() {
		return nil
	}
	return st.end().trailer
}

// Close ends the stream, if it has not ended: nobody waits for the rest. Both ends' Sends and Receives then return Canceled. It does not
// wait.
func (st *Stream) Close() { st.s.Cancel(engine.Code(Canceled)) }
