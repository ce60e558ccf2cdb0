package fastgrpc

import (
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/fastrpc/fastrpc"
)

// unaryMethod answers the calls of one unary method.
type unaryMethod struct {
	server  *Server
	name    string
	impl    any
	handler grpc.MethodHandler
}

// answer is the native handler.
func (m *unaryMethod) answer(w *fastrpc.Response, r *fastrpc.Request) error {
	s := m.server
	md, compressor := incomingMetadata(r.Header())
	c := &serverContext{method: m.name, call: r, md: md}
	x, err := s.exchange(md, compressor)
	if err != nil {
		c.end()
		return answer(err, nil)
	}
	ctx, watch := watchCall(c, s.cfg.stats, kind{}, m.name)
	watch.gotHeader(c.md, m.name, x.received, c)
	d := decoders.Get().(*decoder)
	d.r, d.exchange, d.most, d.watch = r, x, s.cfg.maxRecv, watch
	reply, err := m.handler(m.impl, ctx, d.read, s.unary)
	d.free()
	header, trailer := c.end()
	if x.encoding != "" {
		header = metadata.Join(header, metadata.Pairs(keyEncoding, x.encoding))
	}
	if header != nil {
		w.SetHeader(fastrpc.Metadata(header))
	}
	watch.sentHeader(header, m.name, x.encoding, c)
	if err == nil {
		err = x.reply(w, reply, s.cfg.maxSend, watch)
	}
	watch.sentTrailer(trailer)
	watch.end(trailer, err)
	if err != nil {
		return answer(err, trailer)
	}
	if trailer != nil {
		w.SetTrailer(fastrpc.Metadata(trailer))
	}
	return nil
}

// asStream describes the method for callers that open a stream for it, as proxies do that know no method's kind.
func (m *unaryMethod) asStream(name string) *grpc.StreamDesc {
	return &grpc.StreamDesc{StreamName: name, Handler: func(impl any, stream grpc.ServerStream) error {
		reply, err := m.handler(impl, stream.Context(), stream.RecvMsg, m.server.unary)
		if err != nil {
			return err
		}
		return stream.SendMsg(reply)
	}}
}

// reply writes the handler's reply.
func (x *exchange) reply(w *fastrpc.Response, reply any, most int, watch *watch) error {
	e, err := x.codec.encode(reply, x.compressor, most)
	if err != nil {
		return err
	}
	defer e.free()
	if err := e.write(w.Extend(e.wire)); err != nil {
		return err
	}
	watch.sent(reply, e.lengths)
	return nil
}

// decoder reads the request when the handler asks for it. Its function is made once, and used by one call after the other.
type decoder struct {
	read func(any) error
	r    *fastrpc.Request
	exchange
	most  int
	watch *watch
}

var decoders = sync.Pool{New: func() any {
	d := new(decoder)
	d.read = d.decode
	return d
}}

func (d *decoder) decode(v any) error {
	n, err := decode(d.codec, requestBody{d.r}, v, d.decompressor, d.most)
	if err == nil {
		d.watch.got(v, n)
	}
	return err
}

func (d *decoder) free() {
	*d = decoder{read: d.read}
	decoders.Put(d)
}
