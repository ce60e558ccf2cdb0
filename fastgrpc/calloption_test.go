package fastgrpc_test

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/fastgrpc"
)

type caller = func(context.Context, testgrpc.TestServiceClient, int, ...grpc.CallOption) error

// greetings sends a header and a trailer with every call.
func greetings() *service {
	say := func(ctx context.Context) {
		_ = grpc.SetHeader(ctx, metadata.Pairs("greeting", "hello", "greeting", "again"))
		_ = grpc.SetTrailer(ctx, metadata.Pairs("farewell-bin", "\x00\xff"))
	}
	return &service{
		unary: func(ctx context.Context, r *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
			say(ctx)
			return echo(r), nil
		},
		full: func(s testgrpc.TestService_FullDuplexCallServer) error {
			say(s.Context())
			return echoAll(s)
		},
	}
}

func TestHeaderTrailerPeerOnFinish(t *testing.T) {
	c := testgrpc.NewTestServiceClient(pair(t, greetings().register)())
	both(t, func(t *testing.T, call caller) {
		var header, trailer metadata.MD
		var p peer.Peer
		var ends []error
		opts := []grpc.CallOption{grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&p), grpc.OnFinish(func(err error) { ends = append(ends, err) })}
		must(t, call(bounded(t), c, 10, opts...))
		if got := header.Get("greeting"); !slices.Equal(got, []string{"hello", "again"}) {
			t.Errorf("the header is %v", header)
		}
		if got := trailer.Get("farewell-bin"); !slices.Equal(got, []string{"\x00\xff"}) {
			t.Errorf("the trailer is %v", trailer)
		}
		if a, err := netip.ParseAddrPort(p.Addr.String()); err != nil || !a.Addr().IsLoopback() || p.AuthInfo.AuthType() != "insecure" {
			t.Errorf("the peer is %v", p)
		}
		if len(ends) != 1 || ends[0] != nil {
			t.Errorf("OnFinish was told %v", ends)
		}
		ends = nil
		err := call(bounded(t), c, 10, append(opts, grpc.MaxCallRecvMsgSize(1))...)
		checkStatus(t, err, codes.ResourceExhausted, "")
		if len(ends) != 1 || ends[0] == nil {
			t.Errorf("OnFinish was told %v of a call that failed", ends)
		}
	})
}

// token is credentials.
type token struct{ secure bool }

func (c token) RequireTransportSecurity() bool { return c.secure }
func (token) GetRequestMetadata(_ context.Context, uri ...string) (map[string]string, error) {
	return map[string]string{"Authorization": "for " + uri[0]}, nil
}

func TestPerRPCCredentials(t *testing.T) {
	var got shared[[]string]
	s := &service{unary: func(ctx context.Context, r *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
		got.set(metadata.ValueFromIncomingContext(ctx, "authorization"))
		return echo(r), nil
	}}
	dial := pair(t, s.register)
	cc := dial()
	c := testgrpc.NewTestServiceClient(cc)
	want := "for https://" + cc.Client().Remote().String() + "/grpc.testing.TestService"
	_, err := c.UnaryCall(bounded(t), request(1), grpc.PerRPCCredentials(token{}))
	must(t, err)
	if !slices.Equal(got.get(), []string{want}) {
		t.Errorf("the server got %q", got.get())
	}
	_, err = testgrpc.NewTestServiceClient(dial(fastgrpc.WithPerRPCCredentials(token{}))).UnaryCall(bounded(t), request(1))
	must(t, err)
	if !slices.Equal(got.get(), []string{want}) {
		t.Errorf("the server got %q", got.get())
	}
	_, err = c.UnaryCall(bounded(t), request(1), grpc.PerRPCCredentials(token{secure: true}))
	checkStatus(t, err, codes.Unauthenticated, "transport: cannot send secure credentials on an insecure connection")
	_, err = fastgrpc.NewClient(cc.Client(), fastgrpc.WithPerRPCCredentials(token{secure: true}))
	checkStatus(t, err, codes.Unauthenticated, "")
}

func TestMessageSizes(t *testing.T) {
	dial := pair(t, (&service{}).register)
	c := testgrpc.NewTestServiceClient(dial())
	both(t, func(t *testing.T, call caller) {
		must(t, call(bounded(t), c, 1<<20))
		err := call(bounded(t), c, 1000, grpc.MaxCallSendMsgSize(100))
		if checkStatus(t, err, codes.ResourceExhausted, ""); !strings.Contains(err.Error(), "trying to send message larger than max (1") {
			t.Errorf("got %v", err)
		}
		err = call(bounded(t), c, 1000, grpc.MaxCallRecvMsgSize(100))
		if checkStatus(t, err, codes.ResourceExhausted, ""); !strings.Contains(err.Error(), "received message larger than max (1") {
			t.Errorf("got %v", err)
		}
		checkStatus(t, call(bounded(t), c, 5<<20), codes.ResourceExhausted, "")  // gRPC's own limit, at the server
		checkStatus(t, call(bounded(t), c, 17<<20), codes.ResourceExhausted, "") // the connection's
		must(t, call(bounded(t), c, 1))
	})
}

func TestServerMessageSizes(t *testing.T) {
	for _, o := range []fastgrpc.ServerOption{fastgrpc.MaxRecvMsgSize(100), fastgrpc.MaxSendMsgSize(100)} {
		c := testgrpc.NewTestServiceClient(pair(t, (&service{}).register, o)())
		both(t, func(t *testing.T, call caller) {
			must(t, call(bounded(t), c, 10))
			checkStatus(t, call(bounded(t), c, 1000), codes.ResourceExhausted, "")
		})
	}
}

// shouting is a codec of the program's own; it keeps what it has read.
type shouting struct{ kept *[]mem.BufferSlice }

func (shouting) Name() string { return "shouting" }
func (shouting) Marshal(v any) (mem.BufferSlice, error) {
	b, err := proto.Marshal(v.(proto.Message))
	for i := range b {
		b[i] ^= 0xff
	}
	return mem.BufferSlice{mem.NewBuffer(&b, mem.DefaultBufferPool())}, err
}
func (c shouting) Unmarshal(data mem.BufferSlice, v any) error {
	if c.kept != nil {
		data.Ref()
		*c.kept = append(*c.kept, data)
	}
	b := data.Materialize()
	for i := range b {
		b[i] ^= 0xff
	}
	return proto.Unmarshal(b, v.(proto.Message))
}

func init() { encoding.RegisterCodecV2(shouting{}) }

func TestCodecs(t *testing.T) {
	c := testgrpc.NewTestServiceClient(pair(t, (&service{}).register)())
	both(t, func(t *testing.T, call caller) {
		for _, n := range []int{0, 10, 1200, 3000, 1 << 20} {
			must(t, call(bounded(t), c, n, grpc.CallContentSubtype("shouting")))
			must(t, call(bounded(t), c, n, grpc.ForceCodecV2(shouting{})))
		}
		checkStatus(t, call(bounded(t), c, 1, grpc.CallContentSubtype("unheard")), codes.Internal, "no codec registered for content-subtype unheard")
	})
}

// A codec may keep the frames that it has read, beyond the call, and nobody writes to them meanwhile.
func TestCodecKeepsFrames(t *testing.T) {
	var kept []mem.BufferSlice
	c := testgrpc.NewTestServiceClient(pair(t, (&service{}).register)())
	both(t, func(t *testing.T, call caller) {
		for range 20 {
			must(t, call(bounded(t), c, 1200, grpc.ForceCodecV2(shouting{&kept})))
		}
	})
	for _, data := range kept {
		var r testgrpc.SimpleResponse
		must(t, shouting{}.Unmarshal(data, &r))
		if len(r.GetPayload().GetBody()) != 1200 {
			t.Errorf("what was kept has %d bytes by now", len(r.GetPayload().GetBody()))
		}
		data.Free()
	}
}

// A server whose codec the client does not share cannot read what it is sent.
func TestWrongCodec(t *testing.T) {
	c := testgrpc.NewTestServiceClient(pair(t, (&service{}).register, fastgrpc.ForceServerCodecV2(shouting{}))())
	both(t, func(t *testing.T, call caller) { checkStatus(t, call(bounded(t), c, 10), codes.Internal, "") })
}

func TestCompressor(t *testing.T) {
	var in, out sizes
	s := pair(t, greetings().register, fastgrpc.StatsHandler(&in))
	c := testgrpc.NewTestServiceClient(s(fastgrpc.WithStatsHandler(&out)))
	both(t, func(t *testing.T, call caller) {
		in.reset()
		out.reset()
		for _, n := range []int{0, 10, 100_000} {
			must(t, call(bounded(t), c, n, grpc.UseCompressor(gzip.Name)))
			must(t, call(bounded(t), c, n, grpc.UseCompressor(encoding.Identity)))
		}
		in.check(t)
		out.check(t)
		checkStatus(t, call(bounded(t), c, 1, grpc.UseCompressor("press")), codes.Internal, `grpc: Compressor is not installed for requested grpc-encoding "press"`)
		checkStatus(t, call(bounded(t), c, 100_000, grpc.UseCompressor(gzip.Name), grpc.MaxCallRecvMsgSize(50_000)), codes.ResourceExhausted, "grpc: received message after decompression larger than max 50000")
	})
}

// What was decompressed gives its frames back: a stream goes on beyond its window, and calls beyond the client's limit of those at once.
func TestCompressedMessagesGiveFramesBack(t *testing.T) {
	c := testgrpc.NewTestServiceClient(pair(t, (&service{}).register)(fastgrpc.WithTransport(fastrpc.WithMaxCalls(4))))
	noise := make([]byte, 3000) // so that it stays as long as it is, above what is copied
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	ctx := bounded(t)
	for range 10 {
		_, err := c.UnaryCall(ctx, &testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: noise}}, grpc.UseCompressor(gzip.Name))
		must(t, err)
	}
	s, err := c.FullDuplexCall(ctx, grpc.UseCompressor(gzip.Name))
	must(t, err)
	for range 100 {
		must(t, s.Send(&testgrpc.StreamingOutputCallRequest{Payload: &testgrpc.Payload{Body: noise}}))
		_, err := s.Recv()
		must(t, err)
	}
}

func TestCallAuthority(t *testing.T) {
	var got shared[[]string]
	s := &service{unary: func(ctx context.Context, r *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
		got.set(metadata.ValueFromIncomingContext(ctx, ":authority"))
		return echo(r), nil
	}}
	_, err := testgrpc.NewTestServiceClient(pair(t, s.register)()).UnaryCall(bounded(t), request(1), grpc.CallAuthority("example.com"))
	must(t, err)
	if !slices.Equal(got.get(), []string{"example.com"}) {
		t.Errorf("the server saw %q", got.get())
	}
}

// mark is an option of an interceptor's.
type mark struct{ grpc.EmptyCallOption }

// foreign is an option that says something to gRPC which nobody here knows.
type foreign struct{ grpc.CallOption }

func TestOptionsOfOthers(t *testing.T) {
	c := testgrpc.NewTestServiceClient(pair(t, (&service{}).register)())
	both(t, func(t *testing.T, call caller) {
		must(t, call(bounded(t), c, 1, mark{}, &mark{}, grpc.StaticMethod(), grpc.MaxRetryRPCBufferSize(1)))
		checkStatus(t, call(bounded(t), c, 1, foreign{}), codes.Internal, "fastgrpc: the call option fastgrpc_test.foreign is not supported over fastrpc: leave it out")
	})
}

// A call that waits for a server is made when that is there; one that does not says so at once.
func TestWaitForReady(t *testing.T) {
	s := fastgrpc.NewServer(fastrpc.NewServer(fastrpc.WithInsecure()))
	(&service{}).register(s)
	addr, err := s.Listen(t.Context(), "udp://127.0.0.1:0")
	must(t, err)
	cc, err := fastgrpc.Dial(t.Context(), "udp://"+addr.String(), insecure)
	must(t, err)
	defer cc.Close()
	c := testgrpc.NewTestServiceClient(cc)
	_, err = c.UnaryCall(bounded(t), request(1))
	must(t, err)
	stop := func(s *fastgrpc.Server) {
		s.Stop()
		for fastrpc.OutcomeOf(err) != fastrpc.NotExecuted { // the first call may leave before the client hears of it
			_, err = c.UnaryCall(bounded(t), request(1))
			checkStatus(t, err, codes.Unavailable, "")
		}
		err = nil
	}
	stop(s)
	both(t, func(t *testing.T, call caller) {
		done := make(chan error)
		go func() { done <- call(bounded(t), c, 1, grpc.WaitForReady(true)) }()
		again := fastgrpc.NewServer(fastrpc.NewServer(fastrpc.WithInsecure()))
		(&service{}).register(again)
		_, err := again.Listen(t.Context(), "udp://"+addr.String())
		must(t, err)
		must(t, <-done)
		stop(again)
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.UnaryCall(ctx, request(1), grpc.WaitForReady(true))
	checkStatus(t, err, codes.Canceled, "")
}
