package fastrpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/fastrpc/fastrpc/internal/engine"
	"github.com/fastrpc/fastrpc/transport"
)

// dispatch hands the requests of one engine to their handlers. The engine calls it from whoever polls, one at a time.
type dispatch struct {
	server *Server
	engine *engine.Engine
	r      Request // of the inline handler that runs
	w      Response
}

// Serve is the engine's Handler.
func (d *dispatch) Serve(now transport.Time, k *engine.Call) {
	s := d.server
	if s.draining.Load() {
		refuse(now, k, Unavailable, "the server is shutting down")
		return
	}
	number := k.Method()
	t := s.methods.Load()
	if number == bindMethod {
		d.lookUp(now, k, t)
		return
	}
	if number > uint32(len(t.list)) {
		refuse(now, k, Unimplemented, "no such method")
		return
	}
	m := t.list[number-1]
	if block, ok := k.Metadata(); !ok || !soundHeader(block) {
		refuse(now, k, Internal, "the request's metadata is malformed")
		return
	}
	if k.Streams() && m.stream == nil || !k.Streams() && m.handler == nil {
		refuse(now, k, Unimplemented, fmt.Sprintf("method %q is %s", m.name, m.kind()))
		return
	}
	if k.Streams() {
		d.openStream(now, k, m)
		return
	}
	if m.inline {
		d.r = Request{server: s, call: k, method: m}
		d.w.reset(k.Buffer())
		d.engine.EnterInline(m.name)
		code := run(m, &d.w, &d.r)
		if d.w.metadata {
			k.MarkMetadata()
		}
		if n, body := d.w.message(); n >= 0 {
			k.Reply(now, engine.Code(code), engine.Executed, n)
		} else {
			k.ReplyBytes(now, engine.Code(code), engine.Executed, body)
		}
		return
	}
	j := newJob(d.engine, Request{server: s, call: k, method: m})
	if !s.pool.submit(j) {
		j.free()
		refuse(now, k, ResourceExhausted, "the server has too many requests waiting for a worker (WithWorkers)")
	}
}

// openStream hands a stream to a goroutine.
func (d *dispatch) openStream(now transport.Time, k *engine.Call, m *method) {
	s := d.server
	st := &ServerStream{server: s, call: k, method: m}
	j := newJob(d.engine, Request{server: s, call: k, method: m})
	j.stream = st
	st.s = d.engine.ServeStream(k)
	if !s.streams.submit(j) {
		j.free()
		st.s.Decline()
		refuse(now, k, ResourceExhausted, "the server has too many streams open (WithMaxStreams)")
	}
}

// Gone is the engine's Handler. A handler that runs finds out by its context.
func (d *dispatch) Gone(*engine.Call) {}

// lookUp answers with the number of the method that the request names.
func (d *dispatch) lookUp(now transport.Time, k *engine.Call, t *methodTable) {
	number, ok := t.byName[string(k.Body())]
	if !ok {
		var err error
		if number, err = d.server.resolve(string(k.Body())); err != nil {
			code, msg, _ := statusOf(err)
			refuse(now, k, code, msg)
			return
		}
	}
	k.ReplyBytes(now, 0, engine.Executed, binary.LittleEndian.AppendUint32(nil, number))
}

// refuse answers a request that no handler will see.
func refuse(now transport.Time, k *engine.Call, code Code, msg string) {
	k.Refuse(now, engine.Code(code), msg)
}

// run calls the handler and turns its error into a status.
func run(m *method, w *Response, r *Request) Code {
	err := m.handler(w, r)
	if r.cancel != nil {
		r.cancel()
	}
	code := OK
	if err != nil {
		var msg string
		var trailer Metadata
		code, msg, trailer = statusOf(err)
		w.fail(msg)
		if trailer != nil {
			w.trailer.join(trailer)
		}
	}
	return w.finish(code, r.server.cfg.maxMetadata)
}

// statusOf turns a handler's error into a status.
func statusOf(err error) (code Code, msg string, trailer Metadata) {
	if err == nil {
		return OK, "", nil
	}
	code = Unknown
	var e *Error
	switch {
	case errors.As(err, &e) && e.Code != OK:
		code, msg, trailer = e.Code, e.Msg, e.Trailer
		if msg == "" && e.Err == nil { // nothing more is to be said
			return code, "", trailer
		}
	case errors.Is(err, context.DeadlineExceeded):
		code = DeadlineExceeded
	case errors.Is(err, context.Canceled):
		code = Canceled
	}
	if msg == "" {
		msg = err.Error()
	}
	return code, msg, trailer
}
