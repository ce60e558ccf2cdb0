package fastgrpc_test

import (
	"context"
	"io"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/fastrpc/fastrpc/fastgrpc"
)

// service is gRPC's test service, with the handlers that a test gives it.
type service struct {
	testgrpc.UnimplementedTestServiceServer
	unary func(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error)
	full  func(testgrpc.TestService_FullDuplexCallServer) error
}

func (s *service) UnaryCall(ctx context.Context, r *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	if s.unary == nil {
		return echo(r), nil
	}
	return s.unary(ctx, r)
}

func (s *service) FullDuplexCall(stream testgrpc.TestService_FullDuplexCallServer) error {
	if s.full == nil {
		return echoAll(stream)
	}
	return s.full(stream)
}

func (s *service) register(srv *fastgrpc.Server) { testgrpc.RegisterTestServiceServer(srv, s) }

// shared is a variable of a handler's and its test's: the network between them orders what they do, which the race detector cannot see.
type shared[T any] struct {
	mu sync.Mutex
	v  T
}

func (s *shared[T]) get() T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.v
}

func (s *shared[T]) set(v T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.v = v
}

// add appends to a shared list.
func add[T any](s *shared[[]T], v T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.v = append(s.v, v)
}

func echo(r *testgrpc.SimpleRequest) *testgrpc.SimpleResponse {
	return &testgrpc.SimpleResponse{Payload: r.GetPayload()}
}

func echoAll(stream testgrpc.TestService_FullDuplexCallServer) error {
	for {
		r, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&testgrpc.StreamingOutputCallResponse{Payload: r.GetPayload()}); err != nil {
			return err
		}
	}
}

func request(n int) *testgrpc.SimpleRequest {
	return &testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: make([]byte, n)}}
}

func streamRequest(n int) *testgrpc.StreamingOutputCallRequest {
	return &testgrpc.StreamingOutputCallRequest{Payload: &testgrpc.Payload{Body: make([]byte, n)}}
}

// bounded is a context that fails what does not come to an end.
func bounded(t *testing.T, md ...string) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	if len(md) > 0 {
		ctx = metadata.AppendToOutgoingContext(ctx, md...)
	}
	return ctx
}

// checkStatus checks an error's code and message.
func checkStatus(t *testing.T, err error, code codes.Code, message string) {
	t.Helper()
	st, ok := status.FromError(err)
	if !ok || st.Code() != code || message != "" && st.Message() != message {
		t.Errorf("got %v, want %v: %s", err, code, message)
	}
}

// both runs a test of what a unary call and a stream have in common: call makes one of either, and returns its header, trailer and error.
func both(t *testing.T, f func(t *testing.T, call func(context.Context, testgrpc.TestServiceClient, int, ...grpc.CallOption) error)) {
	t.Run("unary", func(t *testing.T) {
		f(t, func(ctx context.Context, c testgrpc.TestServiceClient, n int, opts ...grpc.CallOption) error {
			r, err := c.UnaryCall(ctx, request(n), opts...)
			if err == nil && len(r.GetPayload().GetBody()) != n {
				t.Errorf("the reply has %d bytes, not %d", len(r.GetPayload().GetBody()), n)
			}
			return err
		})
	})
	t.Run("stream", func(t *testing.T) {
		f(t, func(ctx context.Context, c testgrpc.TestServiceClient, n int, opts ...grpc.CallOption) error {
			s, err := c.FullDuplexCall(ctx, opts...)
			if err != nil {
				return err
			}
			if err := s.Send(streamRequest(n)); err != nil {
				_, err = s.Recv()
				return err
			}
			if err := s.CloseSend(); err != nil {
				return err
			}
			r, err := s.Recv()
			if err != nil {
				return err
			}
			if len(r.GetPayload().GetBody()) != n {
				t.Errorf("the reply has %d bytes, not %d", len(r.GetPayload().GetBody()), n)
			}
			if _, err := s.Recv(); err != io.EOF {
				return err
			}
			return nil
		})
	})
}
