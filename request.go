package fastrpc

import (
	"context"
	"iter"
	"net/netip"
	"time"
	"unicode/utf8"

	"github.com/fastrpc/fastrpc/internal/engine"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// Request is what a handler answers. It is valid until the handler returns.
type Request struct {
	server *Server
	call   *engine.Call
	method *method
	ctx    context.Context
	cancel context.CancelFunc
}

// Body returns the request's bytes, of one packet in the very frame that the network card wrote. They are not to be written, nor read
// after the handler has returned.
func (r *Request) Body() []byte { return r.call.Body() }

// Frames yields the request's bytes in order, as they lie in memory, for readers that need not have them in one piece: a request of up to 64
// packets stays in the frames that the network card wrote, and Body would copy it. The pieces are Body's in every other respect.
func (r *Request) Frames() iter.Seq[[]byte] { return r.call.Frames() }

// Header returns the metadata that came with the request, nil where none did.
func (r *Request) Header() Metadata { return requestHeader(r.call) }

func requestHeader(k *engine.Call) Metadata {
	block, _ := k.Metadata()
	header, _, _ := parseBlock(block) // it has been looked at
	return header
}

// Method returns the called method's name.
func (r *Request) Method() string { return r.method.name }

// Peer returns the client's address.
func (r *Request) Peer() netip.AddrPort {
	path := r.call.Conn().Path()
	return path.Remote()
}

// Deadline returns when the caller stops waiting, with the time that the request spent in queues taken off; false when it waits for ever.
func (r *Request) Deadline() (time.Time, bool) {
	d := r.call.Deadline()
	if d == 0 {
		return time.Time{}, false
	}
	return time.Now().Add(d.Sub(transport.Now())), true
}

// Context returns a context that ends at the request's deadline, when the client gives the call up or is gone, when the handler returns, and when the
// server gives up waiting for it at its shutdown. It is made at the first call; a handler that does not ask pays nothing.
func (r *Request) Context() context.Context {
	if r.ctx == nil {
		if d, ok := r.Deadline(); ok {
			r.ctx, r.cancel = context.WithDeadline(r.server.ctx, d)
		} else {
			r.ctx, r.cancel = context.WithCancel(r.server.ctx)
		}
		onGone(r.call, r.cancel)
	}
	return r.ctx
}

// onGone cancels a handler's context when nobody waits for the handler any more. A client that leaves at the deadline leaves a little before the server's
// clock says so; the context then ends by that.
func onGone(k *engine.Call, cancel context.CancelFunc) {
	k.OnGone(func() {
		if !expiring(k) {
			cancel()
		}
	})
}

// expiring tells whether a call's deadline has passed, or is about to.
func expiring(k *engine.Call) bool {
	d := k.Deadline()
	return d != 0 && d.Sub(transport.Now()) < deadlineSlack
}

// deadlineSlack is longer than a request takes to get here, which is what the two ends' deadlines differ by.
const deadlineSlack = 50 * time.Millisecond

// SetContext replaces the context, for interceptors that add values to it: make it from Context.
func (r *Request) SetContext(ctx context.Context) { r.ctx = ctx }

// Response is where a handler writes its reply. It is valid until the handler returns.
type Response struct {
	frame []byte // the TX frame that a reply of one packet is built in
	n     int    // bytes of it that are written
	large []byte // a reply that outgrew the frame

	header, trailer Metadata
	metadata        bool // they are at the reply's end
}

// SetHeader adds to the metadata that the client gets as Reply.Header.
func (w *Response) SetHeader(md Metadata) { w.header.join(md) }

// SetTrailer adds to the metadata that the client gets as Reply.Trailer. It travels with the header; that there are two is gRPC's custom.
func (w *Response) SetTrailer(md Metadata) { w.trailer.join(md) }

// finish puts the metadata behind the reply, and returns its code; another one where that cannot be, and the reply says why.
func (w *Response) finish(code Code, most int) Code {
	if w.header == nil && w.trailer == nil {
		return code
	}
	block, err := endBlock(w.header, w.trailer, most)
	if err != nil {
		code, msg, _ := statusOf(wrap("", Internal, Executed, err))
		w.fail(msg)
		return code
	}
	if block != nil {
		w.metadata = true
		copy(w.Extend(len(block)+wire.MetadataBytes), wire.AppendMetadata(nil, block))
	}
	return code
}

// Write appends to the reply. It never fails; a reply that exceeds the largest message becomes an error for the caller.
func (w *Response) Write(p []byte) (int, error) {
	if w.large == nil && w.n+len(p) <= len(w.frame) {
		w.n += copy(w.frame[w.n:], p)
		return len(p), nil
	}
	w.grow(len(p))
	w.large = append(w.large, p...)
	return len(p), nil
}

// WriteString appends to the reply.
func (w *Response) WriteString(s string) (int, error) {
	if w.large == nil && w.n+len(s) <= len(w.frame) {
		w.n += copy(w.frame[w.n:], s)
		return len(s), nil
	}
	w.grow(len(s))
	w.large = append(w.large, s...)
	return len(s), nil
}

// Extend appends n bytes to the reply and returns them, to be written in place. They may hold anything before.
func (w *Response) Extend(n int) []byte {
	if w.large == nil && w.n+n <= len(w.frame) {
		w.n += n
		return w.frame[w.n-n : w.n : w.n]
	}
	w.grow(n)
	end := len(w.large) + n
	w.large = w.large[:end]
	return w.large[end-n : end : end]
}

// Len returns how many bytes have been written.
func (w *Response) Len() int {
	if w.large != nil {
		return len(w.large)
	}
	return w.n
}

// grow makes room for n bytes more than are written, outside the frame.
func (w *Response) grow(n int) {
	have := w.large
	if have == nil {
		have = w.frame[:w.n]
	}
	if w.large != nil && cap(have)-len(have) >= n {
		return
	}
	w.large = append(make([]byte, 0, max(2*len(have), len(have)+n)), have...)
}

// reset readies w for the next request, whose reply may be built in frame.
func (w *Response) reset(frame []byte) {
	w.frame, w.n, w.large = frame, 0, nil
	w.header, w.trailer, w.metadata = nil, nil, false
}

// message returns the reply as Reply of the engine takes it: a length in the frame, or -1 and the bytes.
func (w *Response) message() (n int, body []byte) {
	if w.large != nil {
		return -1, w.large
	}
	return w.n, nil
}

// fail makes the reply an error's text.
func (w *Response) fail(msg string) {
	w.n, w.large = 0, nil
	_, _ = w.WriteString(cut(msg))
}

// cut is what of an error's text travels: at most maxErrorText bytes, without a part of a character at its end.
func cut(msg string) string {
	n := min(len(msg), maxErrorText)
	for n < len(msg) && n > maxErrorText-utf8.UTFMax && !utf8.RuneStart(msg[n]) {
		n--
	}
	return msg[:n]
}

const maxErrorText = 4096
