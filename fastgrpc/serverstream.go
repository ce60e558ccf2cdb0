package fastgrpc

import (
	"context"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/fastrpc/fastrpc"
)

// streamMethod answers the calls of one streaming method.
type streamMethod struct {
	server *Server
	name   string
	impl   any
	desc   *grpc.StreamDesc
}

// answer is the native handler.
func (m *streamMethod) answer(st *fastrpc.ServerStream) error {
	s := m.server
	md, compressor := incomingMetadata(st.Header())
	c := &serverContext{method: m.name, call: st, md: md}
	x, err := s.exchange(md, compressor)
	if err != nil {
		c.end()
		return answer(err, nil)
	}
	ctx, watch := watchCall(c, s.cfg.stats, kind{clientStreams: m.desc.ClientStreams, serverStreams: m.desc.ServerStreams}, m.name)
	watch.gotHeader(c.md, m.name, x.received, c)
	ss := &serverStream{c: c, ctx: ctx, st: st, desc: m.desc, exchange: x, server: s, watch: watch}
	c.send = ss.sendHeader
	if x.encoding != "" {
		c.header = metadata.Pairs(keyEncoding, x.encoding)
	}
	err = m.handle(ss)
	ss.end()
	header, trailer := c.end()
	watch.sentTrailer(trailer)
	watch.end(trailer, err)
	if header != nil {
		_ = st.SetHeader(fastrpc.Metadata(header)) // it was not sent: c would know
	}
	if err != nil {
		return answer(err, trailer)
	}
	st.SetTrailer(fastrpc.Metadata(trailer))
	return nil
}

// handle calls the handler, within the stream interceptors. A unary method's has its own within.
func (m *streamMethod) handle(ss grpc.ServerStream) error {
	around := m.server.stream
	if around == nil || !m.desc.ClientStreams && !m.desc.ServerStreams {
		return m.desc.Handler(m.impl, ss)
	}
	info := &grpc.StreamServerInfo{FullMethod: m.name, IsClientStream: m.desc.ClientStreams, IsServerStream: m.desc.ServerStreams}
	return around(m.impl, ss, info, m.desc.Handler)
}

// serverStream is a server's end of a stream.
type serverStream struct {
	c    *serverContext
	ctx  context.Context
	st   *fastrpc.ServerStream
	desc *grpc.StreamDesc
	exchange
	server *Server
	watch  *watch
	got    bool // a message

	receiving sync.Mutex // held by RecvMsg, which goroutines may be in when the handler returns
	over      bool
}

// end is called when the handler has returned. What its goroutines still receive is an error.
func (s *serverStream) end() {
	s.st.CloseReceive()
	s.receiving.Lock()
	s.over = true
	s.receiving.Unlock()
}

func (s *serverStream) Context() context.Context        { return s.ctx }
func (s *serverStream) SetHeader(md metadata.MD) error  { return s.c.SetHeader(md) }
func (s *serverStream) SendHeader(md metadata.MD) error { return s.c.SendHeader(md) }
func (s *serverStream) SetTrailer(md metadata.MD)       { _ = s.c.SetTrailer(md) }

// sendHeader sends the header, with what says how messages are written.
func (s *serverStream) sendHeader(md metadata.MD) error {
	if err := s.st.SendHeader(fastrpc.Metadata(md)); err != nil {
		return statusError(err)
	}
	s.watch.sentHeader(md, s.c.method, s.encoding, s.c)
	return nil
}

// SendMsg sends a message.
func (s *serverStream) SendMsg(m any) error {
	if err := s.c.flushHeader(false); err != nil {
		return err
	}
	e, err := s.codec.encode(m, s.compressor, s.server.cfg.maxSend)
	if err != nil {
		return err
	}
	if err := sendOn(s.st, e); err != nil {
		return statusError(err)
	}
	s.watch.sent(m, e.lengths)
	return nil
}

// RecvMsg receives a message; io.EOF: the client sends no more.
func (s *serverStream) RecvMsg(m any) error {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	if s.over {
		return errReturned
	}
	msg, err := s.st.Receive()
	if err == io.EOF && !s.got && !s.desc.ClientStreams {
		return status.Error(codes.Internal, "cardinality violation: received no request message from non-client-streaming RPC")
	}
	if err == io.EOF {
		return err
	}
	if err != nil {
		return statusError(err)
	}
	s.got = true
	n, err := decode(s.codec, streamedRequest{msg}, m, s.decompressor, s.server.cfg.maxRecv)
	if err == nil {
		s.watch.got(m, n)
	}
	return err
}

var errReturned = status.Error(codes.Canceled, "fastgrpc: the handler has returned")
