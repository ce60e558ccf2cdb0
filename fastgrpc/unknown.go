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

// resolve answers for methods that nobody registered: with the handler of UnknownServiceHandler, or in gRPC's words.
func (s *Server) resolve(full string) (fastrpc.Handler, fastrpc.StreamHandler, error) {
	service, method, ok := cutMethod(full)
	if !ok {
		return nil, nil, fastrpc.Errorf(fastrpc.Unimplemented, "malformed method name: %q", full)
	}
	if h := s.cfg.unknown; h != nil {
		stream := &streamMethod{server: s, name: full, desc: &grpc.StreamDesc{StreamName: method, ClientStreams: true, ServerStreams: true, Handler: h}}
		call := &unaryMethod{server: s, name: full, handler: func(_ any, ctx context.Context, read func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			st := &callStream{ctx: ctx, read: read}
			err := stream.handle(st)
			st.end()
			if err == nil && !st.sent {
				err = status.Error(codes.Internal, "the handler of unknown services sent no reply to a unary call")
			}
			return st.reply, err
		}}
		return call.answer, stream.answer, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.services[service]; known {
		return nil, nil, fastrpc.Errorf(fastrpc.Unimplemented, "unknown method %v for service %v", method, service)
	}
	return nil, nil, fastrpc.Errorf(fastrpc.Unimplemented, "unknown service %v", service)
}

// callStream is a unary call for a handler of streams: one message comes, and one may be sent, which is not to be changed before the handler
// has returned.
type callStream struct {
	ctx   context.Context
	read  func(any) error
	sent  bool
	reply any

	receiving sync.Mutex // held by RecvMsg, which goroutines may be in when the handler returns
	got, over bool
}

func (s *callStream) end() {
	s.receiving.Lock()
	s.over = true
	s.receiving.Unlock()
}

func (s *callStream) Context() context.Context        { return s.ctx }
func (s *callStream) SetHeader(md metadata.MD) error  { return grpc.SetHeader(s.ctx, md) }
func (s *callStream) SendHeader(md metadata.MD) error { return grpc.SendHeader(s.ctx, md) }
func (s *callStream) SetTrailer(md metadata.MD)       { _ = grpc.SetTrailer(s.ctx, md) }

func (s *callStream) RecvMsg(m any) error {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	if s.over {
		return errReturned
	}
	if s.got {
		return io.EOF
	}
	s.got = true
	return s.read(m)
}

func (s *callStream) SendMsg(m any) error {
	if s.sent {
		return status.Error(codes.Internal, "a unary call has one reply")
	}
	s.sent, s.reply = true, m
	return nil
}
