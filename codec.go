package fastrpc

import (
	"context"
	"io"
)

// Codec turns values into messages and back, for typed handlers and calls. Package codec has some. It may be used from any goroutine.
type Codec interface {
	// Name names the encoding, such as "proto".
	Name() string
	// Append appends v's encoding to b, in b's own memory where it has room.
	Append(b []byte, v any) ([]byte, error)
	// Unmarshal fills v, a pointer, and keeps nothing of b.
	Unmarshal(b []byte, v any) error
}

// Register lets h answer a method of s, as Server.Handle does. What h returns as error is answered as a Handler's. ctx is the request's; FromContext
// finds the request's metadata by it.
func Register[Req, Resp any](s *Server, name string, c Codec, h func(ctx context.Context, req *Req) (*Resp, error)) {
	s.Handle(name, func(w *Response, r *Request) error {
		req := new(Req)
		if err := decode(c, r.Body(), req); err != nil {
			return err
		}
		resp, err := h(context.WithValue(r.Context(), callKey{}, &callOf{w, r}), req)
		if err != nil {
			return err
		}
		return w.encode(c, resp)
	})
}

type callKey struct{}

type callOf struct {
	w *Response
	r *Request
}

// FromContext returns the request and the response of a handler that Register made, by the context that it gave, or one made from that. They are valid
// until the handler returns, and the response is for its metadata.
func FromContext(ctx context.Context) (r *Request, w *Response, ok bool) {
	c, ok := ctx.Value(callKey{}).(*callOf)
	if !ok {
		return nil, nil, false
	}
	return c.r, c.w, true
}

// RegisterServerStream lets h answer one request with any number of messages.
func RegisterServerStream[Req, Resp any](s *Server, name string, c Codec, h func(req *Req, st *TypedServerStream[Req, Resp]) error) {
	RegisterStream(s, name, c, func(st *TypedServerStream[Req, Resp]) error {
		req, err := st.Receive()
		if err != nil {
			return missing(err, "the request is missing")
		}
		return h(req, st)
	})
}

// RegisterClientStream lets h answer any number of messages with one.
func RegisterClientStream[Req, Resp any](s *Server, name string, c Codec, h func(st *TypedServerStream[Req, Resp]) (*Resp, error)) {
	RegisterStream(s, name, c, func(st *TypedServerStream[Req, Resp]) error {
		resp, err := h(st)
		if err != nil {
			return err
		}
		return st.Send(resp)
	})
}

// RegisterStream lets h serve streams on which messages go both ways.
func RegisterStream[Req, Resp any](s *Server, name string, c Codec, h func(st *TypedServerStream[Req, Resp]) error) {
	s.HandleStream(name, func(st *ServerStream) error {
		return h(&TypedServerStream[Req, Resp]{ServerStream: st, end: typed{c: c}})
	})
}

// TypedServerStream is a ServerStream whose messages are values.
type TypedServerStream[Req, Resp any] struct {
	*ServerStream
	end typed
}

// Send sends a value.
func (st *TypedServerStream[Req, Resp]) Send(v *Resp) error {
	return st.end.send(v, st.ServerStream.Send)
}

// Receive waits for the next value; io.EOF: no more come.
func (st *TypedServerStream[Req, Resp]) Receive() (*Req, error) {
	v := new(Req)
	if err := st.end.receive(v, st.ServerStream.Receive); err != nil {
		return nil, err
	}
	return v, nil
}

// Invoke makes a call with values.
func Invoke[Req, Resp any](ctx context.Context, m *Method, c Codec, req *Req, opts ...CallOption) (*Resp, error) {
	body, err := c.Append(nil, req)
	if err != nil {
		return nil, encodeError(m.op, NotExecuted, err)
	}
	rep, err := m.Call(ctx, body, opts...)
	if err != nil {
		return nil, err
	}
	defer rep.Release()
	resp := new(Resp)
	if err := decode(c, rep.Body(), resp); err != nil {
		return nil, err
	}
	return resp, nil
}

// OpenStream opens a stream of values.
func OpenStream[Req, Resp any](ctx context.Context, m *Method, c Codec, opts ...CallOption) (*TypedStream[Req, Resp], error) {
	st, err := m.Stream(ctx, opts...)
	if err != nil {
		return nil, err
	}
	return &TypedStream[Req, Resp]{Stream: st, end: typed{c: c}}, nil
}

// TypedStream is a Stream whose messages are values.
type TypedStream[Req, Resp any] struct {
	*Stream
	end typed
}

// Send sends a value.
func (st *TypedStream[Req, Resp]) Send(v *Req) error { return st.end.send(v, st.Stream.Send) }

// Receive waits for the next value; io.EOF: the stream ended with OK.
func (st *TypedStream[Req, Resp]) Receive() (*Resp, error) {
	v := new(Resp)
	if err := st.end.receive(v, st.Stream.Receive); err != nil {
		return nil, err
	}
	return v, nil
}

// CloseAndReceive closes the client's side and waits for the one value that the server answers with.
func (st *TypedStream[Req, Resp]) CloseAndReceive() (*Resp, error) {
	if err := st.CloseSend(); err != nil && err != io.EOF {
		return nil, err
	}
	v, err := st.Receive()
	if err != nil {
		return nil, missing(err, "the server ended the stream without an answer")
	}
	if _, err := st.Receive(); err != io.EOF {
		if err == nil {
			st.Close()
			err = &Error{Op: st.m.op, Code: Internal, Outcome: Executed, Msg: "the server answered with more than one message"}
		}
		return nil, err
	}
	return v, nil
}

// typed is what both ends of a stream of values share.
type typed struct {
	c   Codec
	buf []byte // of what is sent: Send has read it when it returns
}

func (t *typed) send(v any, send func([]byte) error) (err error) {
	if t.buf, err = t.c.Append(t.buf[:0], v); err != nil {
		return encodeError("send", OutcomeUnknown, err)
	}
	return send(t.buf)
}

func (t *typed) receive(v any, receive func() (Message, error)) error {
	m, err := receive()
	if err != nil {
		return err
	}
	defer m.Release()
	return decode(t.c, m.Body(), v)
}

// missing is what the end of a stream means to whoever has to have a message.
func missing(err error, msg string) error {
	if err == io.EOF {
		return Errorf(Internal, "%s", msg)
	}
	return err
}

func decode(c Codec, b []byte, v any) error {
	if err := c.Unmarshal(b, v); err != nil {
		return &Error{Op: "decode", Code: Internal, Outcome: Executed, Msg: "a message is no " + c.Name() + " of the expected kind", Err: err}
	}
	return nil
}

func encodeError(op string, outcome Outcome, err error) error {
	return &Error{Op: op, Code: Internal, Outcome: outcome, Msg: "a message cannot be encoded", Err: err}
}

// encode appends v to the reply, in the frame if it has room.
func (w *Response) encode(c Codec, v any) error {
	if w.large == nil {
		b, err := c.Append(w.frame[:w.n:len(w.frame)], v)
		switch {
		case err != nil:
			return encodeError("", Executed, err)
		case len(b) > len(w.frame):
			w.large = b
		default:
			w.n = copy(w.frame, b) // mostly onto itself
		}
		return nil
	}
	b, err := c.Append(w.large, v)
	if err != nil {
		return encodeError("", Executed, err)
	}
	w.large = b
	return nil
}
