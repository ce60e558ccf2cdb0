package fastgrpc_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"github.com/fastrpc/fastrpc/fastgrpc"
)

// interopCases are gRPC's own, by what 'interop/client' calls them. Of the others none can apply: those with credentials (compute_engine_creds,
// service_account_creds, jwt_token_creds, oauth2_auth_token, per_rpc_creds, google_default_credentials, compute_engine_channel_credentials) ask
// Google's services for tokens and need TLS; pick_first_unary, rpc_soak with new channels, orca_per_rpc and orca_oob are about gRPC's balancers;
// cacheable_unary and client_compressed_* are not in grpc-go.
var interopCases = map[string]func(context.Context, *fastgrpc.ClientConn){
	"empty_unary":                 with(interop.DoEmptyUnaryCall),
	"large_unary":                 with(interop.DoLargeUnaryCall),
	"client_streaming":            with(interop.DoClientStreaming),
	"server_streaming":            with(interop.DoServerStreaming),
	"ping_pong":                   with(interop.DoPingPong),
	"empty_stream":                with(interop.DoEmptyStream),
	"timeout_on_sleeping_server":  with(interop.DoTimeoutOnSleepingServer),
	"cancel_after_begin":          with(interop.DoCancelAfterBegin),
	"cancel_after_first_response": with(interop.DoCancelAfterFirstResponse),
	"custom_metadata":             with(interop.DoCustomMetadata),
	"status_code_and_message":     with(interop.DoStatusCodeAndMessage),
	"special_status_message":      with(interop.DoSpecialStatusMessage),
	"unimplemented_service": func(ctx context.Context, cc *fastgrpc.ClientConn) {
		interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(cc))
	},
	"unimplemented_method": func(ctx context.Context, cc *fastgrpc.ClientConn) { interop.DoUnimplementedMethod(ctx, cc.Plain()) },
	"rpc_soak": func(ctx context.Context, cc *fastgrpc.ClientConn) {
		interop.DoSoakTest(ctx, interop.SoakTestConfig{
			RequestSize: 271828, ResponseSize: 314159, ServerAddr: cc.Target(), NumWorkers: 2, Iterations: 10,
			PerIterationMaxAcceptableLatency: patience, OverallTimeout: patience,
			ChannelForTest: func() (*grpc.ClientConn, func()) { return cc.Plain(), func() {} },
		})
	},
}

func with(f func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)) func(context.Context, *fastgrpc.ClientConn) {
	return func(ctx context.Context, cc *fastgrpc.ClientConn) { f(ctx, testgrpc.NewTestServiceClient(cc)) }
}

// gRPC's interoperability cases, with its own server, each in a process of its own: they end it where something is wrong.
func TestInterop(t *testing.T) {
	l := newLab(t)
	for _, scheme := range schemes {
		t.Run(scheme, func(t *testing.T) {
			target := startServer(t, l, scheme, "interop server")
			for name := range interopCases {
				t.Run(name, func(t *testing.T) { runClient(t, l, "interop case", name, target) })
			}
		})
	}
}

func playInteropServer(args []string) error {
	return serveProcess(args[0], func(s *fastgrpc.Server) { testgrpc.RegisterTestServiceServer(s, interop.NewTestServer()) })
}

func playInteropCase(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cc, err := fastgrpc.Dial(ctx, args[1], insecure)
	if err != nil {
		return err
	}
	begun := time.Now()
	interopCases[args[0]](ctx, cc)
	fmt.Println(args[0], "took", time.Since(begun))
	return cc.Close()
}
