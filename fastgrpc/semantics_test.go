package fastgrpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/fastgrpc"
)

// failing is a service whose handlers end with an error that the test sets.
func failing(err *shared[error]) *service {
	return &service{
		unary: func(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
			return nil, err.get()
		},
		full: func(testgrpc.TestService_FullDuplexCallServer) error { return err.get() },
	}
}

func TestStatus(t *testing.T) {
	var fail shared[error]
	c := testgrpc.NewTestServiceClient(pair(t, failing(&fail).register)())
	detailed, err := status.New(codes.FailedPrecondition, "wet paint").WithDetails(&errdetails.ErrorInfo{Reason: "PAINT", Domain: "bench.example"})
	must(t, err)
	both(t, func(t *testing.T, call caller) {
		for _, test := range []struct {
			err  error
			want *status.Status
		}{
			{detailed.Err(), detailed},
			{fmt.Errorf("wrapped: %w", status.Error(codes.Aborted, "again")), status.New(codes.Aborted, "wrapped: rpc error: code = Aborted desc = again")},
			{errors.New("plain"), status.New(codes.Unknown, "plain")},
			{context.DeadlineExceeded, status.New(codes.DeadlineExceeded, "context deadline exceeded")},
			{context.Canceled, status.New(codes.Canceled, "context canceled")},
			{status.Error(codes.Code(77), "a code of our own"), status.New(codes.Code(77), "a code of our own")},
			{status.Error(codes.NotFound, "bad \xff text"), status.New(codes.NotFound, "bad \uFFFD text")},
			{status.Error(codes.NotFound, ""), status.New(codes.NotFound, "")},
			{fastrpc.Errorf(fastrpc.OutOfRange, "native"), status.New(codes.OutOfRange, "native")},
		} {
			fail.set(test.err)
			err := call(bounded(t), c, 1)
			if got := status.Convert(err).Proto(); !proto.Equal(got, test.want.Proto()) {
				t.Errorf("%v became %v", test.err, got)
			}
			if fastrpc.OutcomeOf(err) != fastrpc.Executed {
				t.Errorf("%v has the outcome %v", err, fastrpc.OutcomeOf(err))
			}
		}
	})
}

func TestUnknownMethods(t *testing.T) {
	cc := pair(t, (&service{}).register)()
	for method, want := range map[string]string{
		"/no.Such/Method":               "unknown service no.Such",
		"/grpc.testing.TestService/Not": "unknown method Not for service grpc.testing.TestService",
		"nonsense":                      `malformed method name: "nonsense"`,
	} {
		for range 2 {
			checkStatus(t, cc.Invoke(bounded(t), method, &emptypb.Empty{}, &emptypb.Empty{}), codes.Unimplemented, want)
			_, err := cc.NewStream(bounded(t), &grpc.StreamDesc{ServerStreams: true}, method)
			checkStatus(t, err, codes.Unimplemented, want)
		}
	}
	c := testgrpc.NewTestServiceClient(cc)
	_, err := c.EmptyCall(bounded(t), &testgrpc.Empty{}) // there, without a handler of its own
	checkStatus(t, err, codes.Unimplemented, "method EmptyCall not implemented")
}

// A handler of unknown services is called for all kinds of calls.
func TestUnknownServiceHandler(t *testing.T) {
	cc := pair(t, (&service{}).register, fastgrpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(s)
		_ = s.SetHeader(metadata.Pairs("method", method))
		for {
			var m testgrpc.Payload
			if err := s.RecvMsg(&m); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			if err := s.SendMsg(&m); err != nil {
				return err
			}
		}
	}))()
	var header metadata.MD
	got, want := &testgrpc.Payload{}, &testgrpc.Payload{Body: []byte("through")}
	must(t, cc.Invoke(bounded(t), "/no.Such/Unary", want, got, grpc.Header(&header)))
	if !proto.Equal(got, want) || header.Get("method")[0] != "/no.Such/Unary" {
		t.Errorf("the reply is %v, the header %v", got, header)
	}
	s, err := cc.NewStream(bounded(t), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/no.Such/Unary")
	must(t, err)
	for range 3 {
		must(t, s.SendMsg(want))
		must(t, s.RecvMsg(got))
	}
	must(t, s.CloseSend())
	if err := s.RecvMsg(got); err != io.EOF {
		t.Errorf("the stream ended with %v", err)
	}
}

// No call gets past the stream interceptors of a server to its handler of unknown services, whichever way it came.
func TestUnknownServicesAreIntercepted(t *testing.T) {
	cc := pair(t, (&service{}).register, fastgrpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		t.Error("the handler was called")
		return nil
	}), fastgrpc.StreamInterceptor(func(_ any, _ grpc.ServerStream, info *grpc.StreamServerInfo, _ grpc.StreamHandler) error {
		return status.Error(codes.PermissionDenied, info.FullMethod)
	}))()
	err := cc.Invoke(bounded(t), "/no.Such/Method", &testgrpc.Payload{}, &testgrpc.Payload{})
	checkStatus(t, err, codes.PermissionDenied, "/no.Such/Method")
	s, err := cc.NewStream(bounded(t), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/no.Such/Method")
	must(t, err)
	checkStatus(t, s.RecvMsg(&testgrpc.Payload{}), codes.PermissionDenied, "/no.Such/Method")
}

// Who does not know a method's kind may open a stream for a unary one.
func TestUnaryMethodAsStream(t *testing.T) {
	cc := pair(t, (&service{}).register)()
	s, err := cc.NewStream(bounded(t), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, testgrpc.TestService_UnaryCall_FullMethodName)
	must(t, err)
	must(t, s.SendMsg(request(10)))
	must(t, s.CloseSend())
	var r testgrpc.SimpleResponse
	must(t, s.RecvMsg(&r))
	if len(r.GetPayload().GetBody()) != 10 {
		t.Errorf("the reply is %v", &r)
	}
	if err := s.RecvMsg(&r); err != io.EOF {
		t.Errorf("the stream ended with %v", err)
	}
}

func TestMetadata(t *testing.T) {
	var seen shared[metadata.MD]
	see := func(ctx context.Context) {
		md, _ := metadata.FromIncomingContext(ctx)
		seen.set(md)
	}
	s := &service{
		unary: func(ctx context.Context, r *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
			see(ctx)
			return echo(r), nil
		},
		full: func(s testgrpc.TestService_FullDuplexCallServer) error {
			see(s.Context())
			return echoAll(s)
		},
	}
	c := testgrpc.NewTestServiceClient(pair(t, s.register)())
	both(t, func(t *testing.T, call caller) {
		must(t, call(bounded(t), c, 1))
		if got := seen.get(); len(got) != 0 {
			t.Errorf("without metadata the handler sees %v", got)
		}
		binary := string([]byte{0, 1, 0xff})
		must(t, call(bounded(t, "Key", "a", "key", "b", "raw-bin", binary, "empty", "", "grpc-timeout", "1S", "content-type", "x", "te", "y"), c, 1))
		got := seen.get()
		if !slices.Equal(got.Get("key"), []string{"a", "b"}) || !slices.Equal(got.Get("raw-bin"), []string{binary}) || !slices.Equal(got.Get("empty"), []string{""}) || len(got) != 3 {
			t.Errorf("the handler sees %v", got)
		}
		checkStatus(t, call(bounded(t, "key", "\xff"), c, 1), codes.Internal, `header key "key" contains value with non-printable ASCII characters`)
		checkStatus(t, call(bounded(t, "a key", "v"), c, 1), codes.Internal, `header key "a key" contains illegal characters not in [0-9a-z-_.]`)
		checkStatus(t, call(bounded(t, "key", strings.Repeat("v", 100_000)), c, 1), codes.ResourceExhausted, "")
		must(t, call(bounded(t, "key", strings.Repeat("v", 50_000)), c, 1))
	})
}

// Metadata of the server's that is too large or wrong is an error, and the connection goes on.
func TestServerMetadata(t *testing.T) {
	large := metadata.Pairs("key", strings.Repeat("v", 100_000))
	wrong := metadata.Pairs("key", "\n")
	var trailer shared[metadata.MD]
	s := &service{
		unary: func(ctx context.Context, r *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
			return echo(r), grpc.SetTrailer(ctx, trailer.get())
		},
		full: func(s testgrpc.TestService_FullDuplexCallServer) error {
			if err := grpc.SetTrailer(s.Context(), trailer.get()); err != nil {
				return err
			}
			return echoAll(s)
		},
	}
	c := testgrpc.NewTestServiceClient(pair(t, s.register)())
	both(t, func(t *testing.T, call caller) {
		trailer.set(large)
		checkStatus(t, call(bounded(t), c, 1), codes.ResourceExhausted, "")
		trailer.set(wrong)
		checkStatus(t, call(bounded(t), c, 1), codes.Internal, `header key "key" contains value with non-printable ASCII characters`)
		trailer.set(nil)
		must(t, call(bounded(t), c, 1))
	})
}

// Keys of gRPC's own in what a handler sends are left out.
func TestServerReservedMetadata(t *testing.T) {
	md := metadata.Pairs("grpc-encoding", "press", "content-type", "text/plain", "grpc-status", "7", ":status", "404", "te", "x", "kept", "yes")
	s := &service{
		unary: func(ctx context.Context, r *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
			return echo(r), errors.Join(grpc.SetHeader(ctx, md), grpc.SetTrailer(ctx, md))
		},
		full: func(s testgrpc.TestService_FullDuplexCallServer) error {
			s.SetTrailer(md)
			return errors.Join(s.SendHeader(md), echoAll(s))
		},
	}
	c := testgrpc.NewTestServiceClient(pair(t, s.register)())
	want := metadata.Pairs("kept", "yes")
	both(t, func(t *testing.T, call caller) {
		var header, trailer metadata.MD
		must(t, call(bounded(t), c, 1, grpc.Header(&header), grpc.Trailer(&trailer)))
		if !reflect.DeepEqual(header, want) || !reflect.DeepEqual(trailer, want) {
			t.Errorf("the header came as %v, the trailer as %v", header, trailer)
		}
	})
}

// What a handler finds in its context.
func TestHandlersContext(t *testing.T) {
	look := func(ctx context.Context) error {
		p, ok := peer.FromContext(ctx)
		if method, _ := grpc.Method(ctx); !ok || !strings.HasPrefix(p.Addr.String(), "127.0.0.1:") || !strings.HasPrefix(method, "/grpc.testing.TestService/") {
			return fmt.Errorf("the peer is %v, the method %q", p, method)
		}
		d, ok := ctx.Deadline()
		if left := time.Until(d); !ok || left <= 0 || left > patience {
			return fmt.Errorf("%v are left: %t", left, ok)
		}
		if err := grpc.SendHeader(ctx, metadata.Pairs("early", "1")); err != nil {
			return err
		}
		if err := grpc.SetHeader(ctx, metadata.Pairs("late", "1")); status.Code(err) != codes.Internal {
			return fmt.Errorf("a header after the header: %w", err)
		}
		return ctx.Err()
	}
	var kept shared[[]context.Context]
	s := &service{
		unary: func(ctx context.Context, r *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
			add(&kept, ctx)
			return echo(r), look(ctx)
		},
		full: func(s testgrpc.TestService_FullDuplexCallServer) error {
			add(&kept, s.Context())
			if err := look(s.Context()); err != nil {
				return err
			}
			return echoAll(s)
		},
	}
	c := testgrpc.NewTestServiceClient(pair(t, s.register)())
	both(t, func(t *testing.T, call caller) {
		var header metadata.MD
		must(t, call(bounded(t), c, 1, grpc.Header(&header)))
		if len(header) != 1 || header.Get("early")[0] != "1" {
			t.Errorf("the header is %v", header)
		}
	})
	for _, ctx := range kept.get() { // a handler that returned has no context any more
		select {
		case <-ctx.Done():
		case <-time.After(patience):
			t.Error("a handler's context outlives it")
		}
	}
}

// A caller that gives up ends the handler's context, and so does its deadline.
func TestCancellationReachesHandlers(t *testing.T) {
	entered, ended := make(chan struct{}), make(chan error)
	wait := func(ctx context.Context) error {
		entered <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}
	s := &service{
		unary: func(ctx context.Context, _ *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
			return nil, wait(ctx)
		},
		full: func(s testgrpc.TestService_FullDuplexCallServer) error { return wait(s.Context()) },
	}
	c := testgrpc.NewTestServiceClient(pair(t, s.register)())
	both(t, func(t *testing.T, call caller) {
		ctx, cancel := context.WithCancel(bounded(t))
		done := make(chan error, 1)
		go func() { done <- call(ctx, c, 1) }()
		<-entered
		cancel()
		if err := <-ended; err != context.Canceled {
			t.Errorf("the handler's context ended with %v", err)
		}
		checkStatus(t, <-done, codes.Canceled, "")
	})
}

// Interceptors of gRPC's form, at both ends, the first outermost.
func TestInterceptors(t *testing.T) {
	var order shared[[]string]
	note := func(s string) { add(&order, s) }
	unaryServer := func(name string) grpc.UnaryServerInterceptor {
		return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
			note(name + info.FullMethod[len("/grpc.testing.TestService/"):])
			return h(ctx, req)
		}
	}
	streamServer := func(name string) grpc.StreamServerInterceptor {
		return func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, h grpc.StreamHandler) error {
			note(name + info.FullMethod[len("/grpc.testing.TestService/"):])
			return h(srv, s)
		}
	}
	unaryClient := func(name string) grpc.UnaryClientInterceptor {
		return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			note(name + cc.Target()[:len("passthrough:///udp")])
			return invoke(ctx, method, req, reply, cc, opts...)
		}
	}
	streamClient := func(name string) grpc.StreamClientInterceptor {
		return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			note(name + cc.Target()[:len("passthrough:///udp")])
			return open(ctx, desc, cc, method, opts...)
		}
	}
	c := testgrpc.NewTestServiceClient(pair(t, (&service{}).register,
		fastgrpc.UnaryInterceptor(unaryServer("a "), unaryServer("b "), unaryServer("c ")), fastgrpc.StreamInterceptor(streamServer("a "), streamServer("b "), streamServer("c ")),
	)(fastgrpc.WithUnaryInterceptor(unaryClient("1 "), unaryClient("2 "), unaryClient("3 ")), fastgrpc.WithStreamInterceptor(streamClient("1 "), streamClient("2 "), streamClient("3 "))))
	both(t, func(t *testing.T, call caller) {
		order.set(nil)
		must(t, call(bounded(t), c, 1))
		method := map[bool]string{true: "UnaryCall", false: "FullDuplexCall"}[strings.HasSuffix(t.Name(), "unary")]
		want := []string{"1 passthrough:///udp", "2 passthrough:///udp", "3 passthrough:///udp", "a " + method, "b " + method, "c " + method}
		if !slices.Equal(order.get(), want) {
			t.Errorf("they ran as %q", order.get())
		}
	})
}
