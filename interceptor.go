package fastrpc

import "context"

// CallFunc makes a call, as Method.Call does.
type CallFunc func(ctx context.Context, m *Method, payload []byte, opts ...CallOption) (Reply, error)

// CallInterceptor stands around a client's calls: it makes the call with next, or not at all, or again.
type CallInterceptor func(ctx context.Context, m *Method, payload []byte, next CallFunc, opts ...CallOption) (Reply, error)

// StreamFunc opens a stream, as Method.Stream does.
type StreamFunc func(ctx context.Context, m *Method, opts ...CallOption) (*Stream, error)

// StreamInterceptor stands around the opening of a client's streams. What happens on one it learns by Stream.Intercept.
type StreamInterceptor func(ctx context.Context, m *Method, next StreamFunc, opts ...CallOption) (*Stream, error)

// HandlerInterceptor stands around a server's handlers of calls, inline ones included.
type HandlerInterceptor func(w *Response, r *Request, next Handler) error

// StreamHandlerInterceptor stands around a server's handlers of streams. What happens on one it learns by ServerStream.Intercept.
type StreamHandlerInterceptor func(st *ServerStream, next StreamHandler) error

// WithCallInterceptors puts interceptors around a client's calls, the first outermost. The calls of a Queue do not pass through them, for nobody
// waits for them one by one; a Draft's do, at the cost of a copy.
func WithCallInterceptors(is ...CallInterceptor) Option {
	return func(c *config) { c.calls = append(c.calls, is...) }
}

// WithStreamInterceptors puts interceptors around the opening of a client's streams, the first outermost.
func WithStreamInterceptors(is ...StreamInterceptor) Option {
	return func(c *config) { c.opens = append(c.opens, is...) }
}

// WithHandlerInterceptors puts interceptors around a server's handlers of calls, the first outermost.
func WithHandlerInterceptors(is ...HandlerInterceptor) Option {
	return func(c *config) { c.handlers = append(c.handlers, is...) }
}

// WithStreamHandlerInterceptors puts interceptors around a server's handlers of streams, the first outermost.
func WithStreamHandlerInterceptors(is ...StreamHandlerInterceptor) Option {
	return func(c *config) { c.streamHandlers = append(c.streamHandlers, is...) }
}

type interceptors struct {
	calls          []CallInterceptor
	opens          []StreamInterceptor
	handlers       []HandlerInterceptor
	streamHandlers []StreamHandlerInterceptor
}

// aroundCall is nil where there are no interceptors, so that calls pay for a comparison alone.
func (i *interceptors) aroundCall() CallFunc {
	if len(i.calls) == 0 {
		return nil
	}
	var next CallFunc = func(ctx context.Context, m *Method, payload []byte, opts ...CallOption) (Reply, error) {
		return m.call(ctx, payload, opts)
	}
	return chain(i.calls, next, func(one CallInterceptor, next CallFunc) CallFunc {
		return func(ctx context.Context, m *Method, payload []byte, opts ...CallOption) (Reply, error) {
			return one(ctx, m, payload, next, opts...)
		}
	})
}

func (i *interceptors) aroundOpen() StreamFunc {
	var next StreamFunc = func(ctx context.Context, m *Method, opts ...CallOption) (*Stream, error) { return m.open(ctx, opts) }
	return chain(i.opens, next, func(one StreamInterceptor, next StreamFunc) StreamFunc {
		return func(ctx context.Context, m *Method, opts ...CallOption) (*Stream, error) {
			return one(ctx, m, next, opts...)
		}
	})
}

func (i *interceptors) aroundHandler(h Handler) Handler {
	return chain(i.handlers, h, func(one HandlerInterceptor, next Handler) Handler {
		return func(w *Response, r *Request) error { return one(w, r, next) }
	})
}

func (i *interceptors) aroundStream(h StreamHandler) StreamHandler {
	return chain(i.streamHandlers, h, func(one StreamHandlerInterceptor, next StreamHandler) StreamHandler {
		return func(st *ServerStream) error { return one(st, next) }
	})
}

// chain puts interceptors around what they intercept, the first outermost.
func chain[I, F any](is []I, innermost F, around func(one I, next F) F) F {
	f := innermost
	for n := len(is) - 1; n >= 0; n-- {
		f = around(is[n], f)
	}
	return f
}

// StreamHooks stand around what is sent and received on a stream. A nil one changes nothing. They are called by whoever sends and receives.
type StreamHooks struct {
	Send    func(body []byte, next func(body []byte) error) error
	Receive func(next func() (Message, error)) (Message, error)
}

// hooks are those of a stream, each around the ones before.
type hooks struct {
	send    func(body []byte) error
	receive func() (Message, error)
}

func (h *hooks) add(more StreamHooks, send func([]byte) error, receive func() (Message, error)) {
	if more.Send != nil {
		next := h.send
		if next == nil {
			next = send
		}
		h.send = func(body []byte) error { return more.Send(body, next) }
	}
	if more.Receive != nil {
		next := h.receive
		if next == nil {
			next = receive
		}
		h.receive = func() (Message, error) { return more.Receive(next) }
	}
}

// Intercept puts hooks around the stream's Send and Receive, those that it has included: for interceptors, before the stream is used.
func (st *Stream) Intercept(h StreamHooks) { st.hooks.add(h, st.send, st.receive) }

// Intercept puts hooks around the stream's Send and Receive, those that it has included: for interceptors, before the handler has it.
func (st *ServerStream) Intercept(h StreamHooks) { st.hooks.add(h, st.send, st.receive) }
