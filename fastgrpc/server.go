package fastgrpc

import (
	"context"
	"fmt"
	"reflect"
	"sync"

	"google.golang.org/grpc"

	"github.com/fastrpc/fastrpc"
)

// Server answers the calls of generated services: a grpc.ServiceRegistrar over a fastrpc.Server, whose methods it has too: Listen and
// ListenAndServe, Shutdown, Stats, and Handle for methods beside gRPC's.
type Server struct {
	*fastrpc.Server
	cfg    serverConfig
	unary  grpc.UnaryServerInterceptor
	stream grpc.StreamServerInterceptor

	mu       sync.Mutex
	services map[string]grpc.ServiceInfo
}

var _ grpc.ServiceRegistrar = (*Server)(nil)

// NewServer makes a server of gRPC services over s, whose Resolve it sets.
func NewServer(s *fastrpc.Server, opts ...ServerOption) *Server {
	g := &Server{Server: s, services: map[string]grpc.ServiceInfo{}}
	g.cfg = serverConfig{maxRecv: defaultMaxRecv, maxSend: defaultMaxSend, inline: map[string]bool{}}
	for _, o := range opts {
		o(&g.cfg)
	}
	g.unary, g.stream = chainUnaryServer(g.cfg.unary), chainStreamServer(g.cfg.stream)
	s.Resolve(g.resolve)
	return g
}

// RegisterService registers a service: generated code does. It panics where the implementation lacks methods, or the service was registered
// before.
func (s *Server) RegisterService(d *grpc.ServiceDesc, impl any) {
	if want := reflect.TypeOf(d.HandlerType).Elem(); impl != nil && !reflect.TypeOf(impl).Implements(want) {
		panic(fmt.Sprintf("fastgrpc: the service %s is implemented by %T, which has not all methods of %v", d.ServiceName, impl, want))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, dup := s.services[d.ServiceName]; dup {
		panic(fmt.Sprintf("fastgrpc: the service %s is registered already", d.ServiceName))
	}
	info := grpc.ServiceInfo{Metadata: d.Metadata}
	for i := range d.Methods {
		m := &d.Methods[i]
		u := &unaryMethod{server: s, name: "/" + d.ServiceName + "/" + m.MethodName, impl: impl, handler: m.Handler}
		if s.cfg.inline[u.name] {
			s.HandleInline(u.name, u.answer)
		} else {
			s.Handle(u.name, u.answer)
		}
		st := &streamMethod{server: s, name: u.name, impl: impl, desc: u.asStream(m.MethodName)}
		s.HandleStream(st.name, st.answer)
		info.Methods = append(info.Methods, grpc.MethodInfo{Name: m.MethodName})
	}
	for i := range d.Streams {
		m := &d.Streams[i]
		st := &streamMethod{server: s, name: "/" + d.ServiceName + "/" + m.StreamName, impl: impl, desc: m}
		s.HandleStream(st.name, st.answer)
		info.Methods = append(info.Methods, grpc.MethodInfo{Name: m.StreamName, IsClientStream: m.ClientStreams, IsServerStream: m.ServerStreams})
	}
	s.services[d.ServiceName] = info
}

// GetServiceInfo tells what is registered, for the reflection service.
func (s *Server) GetServiceInfo() map[string]grpc.ServiceInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]grpc.ServiceInfo, len(s.services))
	for name, info := range s.services {
		all[name] = info
	}
	return all
}

// GracefulStop drains: calls under way may end, without a limit of time but streams': fastrpc.WithDrainTimeout. Shutdown takes a limit for all.
func (s *Server) GracefulStop() { _ = s.Shutdown(context.Background()) }

// Stop ends the calls under way and closes all ports.
func (s *Server) Stop() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Shutdown(ctx)
}
