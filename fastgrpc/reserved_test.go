package fastgrpc_test

import (
	"context"
	"maps"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/fastgrpc"
)

// Programs see gRPC's own keys as little as they can send them, whatever the other end puts on the wire.
func TestReservedMetadataFromTheNetwork(t *testing.T) {
	odd := fastrpc.Metadata{"grpc-status": {"7"}, "grpc-message": {"no"}, "grpc-timeout": {"1n"}, "te": {"x"}, "user-agent": {"me"}, "kept": {"yes"}}
	want := []string{"kept", "user-agent"}
	check := func(what string, md metadata.MD) {
		if got := slices.Sorted(maps.Keys(md)); !slices.Equal(got, want) {
			t.Errorf("%s shows %v", what, got)
		}
	}
	handled := func(ctx context.Context) {
		md, _ := metadata.FromIncomingContext(ctx)
		check("the handler's context", md)
	}
	s := fastgrpc.NewServer(fastrpc.NewServer(fastrpc.WithInsecure(),
		fastrpc.WithHandlerInterceptors(func(w *fastrpc.Response, r *fastrpc.Request, next fastrpc.Handler) error {
			err := next(w, r)
			w.SetHeader(odd)
			w.SetTrailer(odd)
			return err
		}),
		fastrpc.WithStreamHandlerInterceptors(func(st *fastrpc.ServerStream, next fastrpc.StreamHandler) error {
			if err := st.SetHeader(odd); err != nil {
				return err
			}
			st.SetTrailer(odd)
			return next(st)
		})))
	(&service{
		unary: func(ctx context.Context, r *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
			handled(ctx)
			return echo(r), nil
		},
		full: func(s testgrpc.TestService_FullDuplexCallServer) error {
			handled(s.Context())
			return echoAll(s)
		},
	}).register(s)
	addr, err := s.Listen(t.Context(), "udp://127.0.0.1:0")
	must(t, err)
	t.Cleanup(s.Stop)
	cc, err := fastgrpc.Dial(t.Context(), "udp://"+addr.String(), insecure, fastgrpc.WithTransport(
		fastrpc.WithCallInterceptors(func(ctx context.Context, m *fastrpc.Method, payload []byte, next fastrpc.CallFunc, opts ...fastrpc.CallOption) (fastrpc.Reply, error) {
			return next(ctx, m, payload, append(opts, fastrpc.Header(odd))...)
		}),
		fastrpc.WithStreamInterceptors(func(ctx context.Context, m *fastrpc.Method, next fastrpc.StreamFunc, opts ...fastrpc.CallOption) (*fastrpc.Stream, error) {
			return next(ctx, m, append(opts, fastrpc.Header(odd))...)
		})))
	must(t, err)
	t.Cleanup(func() { must(t, cc.Close()) })
	both(t, func(t *testing.T, call caller) {
		var header, trailer metadata.MD
		must(t, call(bounded(t), testgrpc.NewTestServiceClient(cc), 1, grpc.UseCompressor("gzip"), grpc.Header(&header), grpc.Trailer(&trailer)))
		check("the header", header)
		check("the trailer", trailer)
	})
}

// The details of a status are the status's, whatever the handler has put in their place.
func TestDetailsAreTheStatuss(t *testing.T) {
	trailer := metadata.Pairs("grpc-status-details-bin", "nonsense")
	failed, err := status.New(codes.Aborted, "as asked").WithDetails(request(3))
	must(t, err)
	s := &service{
		unary: func(ctx context.Context, _ *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
			must(t, grpc.SetTrailer(ctx, trailer))
			return nil, failed.Err()
		},
		full: func(s testgrpc.TestService_FullDuplexCallServer) error {
			s.SetTrailer(trailer)
			return failed.Err()
		},
	}
	c := testgrpc.NewTestServiceClient(pair(t, s.register)())
	both(t, func(t *testing.T, call caller) {
		err := call(bounded(t), c, 1)
		checkStatus(t, err, codes.Aborted, "as asked")
		if d := status.Convert(err).Details(); len(d) != 1 {
			t.Errorf("the details are %v", d)
		}
	})
}
