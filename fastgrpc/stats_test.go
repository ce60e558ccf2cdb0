package fastgrpc_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/fastrpc/fastrpc/fastgrpc"
)

// sizes keeps the sizes of messages that statistics tell of.
type sizes struct {
	mu   sync.Mutex
	seen [][2]int // of the message, and of what travelled
}

func (s *sizes) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (s *sizes) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (s *sizes) HandleConn(context.Context, stats.ConnStats)                       {}
func (s *sizes) HandleRPC(_ context.Context, e stats.RPCStats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e := e.(type) {
	case *stats.InPayload:
		s.seen = append(s.seen, [2]int{e.Length, e.CompressedLength})
	case *stats.OutPayload:
		s.seen = append(s.seen, [2]int{e.Length, e.CompressedLength})
	}
}

func (s *sizes) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = nil
}

// check looks for messages of 100,000 bytes that were compressed and that were not, each way.
func (s *sizes) check(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	small, same := 0, 0
	for _, n := range s.seen {
		if n[0] > 100_000 && n[1] < 1000 {
			small++
		} else if n[0] > 100_000 && n[1] == n[0] {
			same++
		}
	}
	if small != 2 || same != 2 {
		t.Errorf("%d messages were compressed and %d were not: %v", small, same, s.seen)
	}
}

// events keeps the order in which statistics come.
type events struct {
	mu   sync.Mutex
	seen []string
	end  chan error
}

type tagKey struct{}

func (s *events) TagRPC(ctx context.Context, i *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, tagKey{}, i.FullMethodName)
}
func (s *events) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (s *events) HandleConn(_ context.Context, e stats.ConnStats)                   { s.note(e) }
func (s *events) HandleRPC(ctx context.Context, e stats.RPCStats) {
	if ctx.Value(tagKey{}) == nil {
		s.note("untagged")
	}
	s.note(e)
	if e, ok := e.(*stats.End); ok {
		s.end <- e.Error
	}
}

func (s *events) note(e any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, fmt.Sprintf("%T", e)[len("*stats."):])
}

func (s *events) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	s.seen = nil
	return seen
}

func TestStats(t *testing.T) {
	server, client := &events{end: make(chan error, 1)}, &events{end: make(chan error, 1)}
	cc := pair(t, greetings().register, fastgrpc.StatsHandler(server))(fastgrpc.WithStatsHandler(client))
	if got := client.take(); !slices.Equal(got, []string{"ConnBegin"}) {
		t.Errorf("the client began with %v", got)
	}
	c := testgrpc.NewTestServiceClient(cc)
	both(t, func(t *testing.T, call caller) {
		must(t, call(bounded(t), c, 10))
		if err := <-client.end; err != nil {
			t.Errorf("the client's end is told with %v", err)
		}
		if err := <-server.end; err != nil {
			t.Errorf("the server's end is told with %v", err)
		}
		if got, want := client.take(), []string{"Begin", "OutHeader", "OutPayload", "InHeader", "InPayload", "InTrailer", "End"}; !slices.Equal(got, want) {
			t.Errorf("the client was told %v", got)
		}
		if got, want := server.take(), []string{"Begin", "InHeader", "InPayload", "OutHeader", "OutPayload", "OutTrailer", "End"}; !slices.Equal(got, want) {
			t.Errorf("the server was told %v", got)
		}
	})
	must(t, cc.Close())
	if got := client.take(); !slices.Equal(got, []string{"ConnEnd"}) {
		t.Errorf("the client ended with %v", got)
	}
}

// The end of a stream that nobody reads any more is told too: by the context's.
func TestEndOfAnUnreadStream(t *testing.T) {
	client := &events{end: make(chan error, 1)}
	c := testgrpc.NewTestServiceClient(pair(t, (&service{}).register)(fastgrpc.WithStatsHandler(client)))
	ctx, cancel := context.WithCancel(bounded(t))
	finished := make(chan error, 1)
	s, err := c.FullDuplexCall(ctx, grpc.OnFinish(func(err error) { finished <- err }))
	must(t, err)
	must(t, s.Send(streamRequest(1)))
	cancel()
	checkStatus(t, <-client.end, codes.Canceled, "context canceled")
	checkStatus(t, <-finished, codes.Canceled, "context canceled")
}

// The connection's Close ends its streams, read or not, for those that wait for their end: once each. So it is where the Client stays open.
func TestCloseTellsOfStreams(t *testing.T) {
	dial := pair(t, (&service{}).register)
	for name, owned := range map[string]bool{"Dial": true, "NewClient": false} {
		t.Run(name, func(t *testing.T) {
			cc := dial()
			if !owned {
				var err error
				cc, err = fastgrpc.NewClient(cc.Client())
				must(t, err)
			}
			c := testgrpc.NewTestServiceClient(cc)
			const streams = 3
			var times [streams]atomic.Int32
			finished := make(chan error, 2*streams)
			open := func(i int) testgrpc.TestService_FullDuplexCallClient {
				s, err := c.FullDuplexCall(bounded(t), grpc.OnFinish(func(err error) {
					times[i].Add(1)
					finished <- err
				}))
				must(t, err)
				must(t, s.Send(streamRequest(1)))
				_, err = s.Recv()
				must(t, err)
				return s
			}
			ended, waits, unread := open(0), open(1), open(2)
			must(t, ended.CloseSend())
			if _, err := ended.Recv(); err != io.EOF {
				t.Fatal(err)
			}
			if err := <-finished; err != nil {
				t.Errorf("a stream that ended well finished with %v", err)
			}
			received := make(chan error, 1)
			go func() {
				_, err := waits.Recv()
				received <- err
			}()
			must(t, cc.Close())
			for range streams - 1 {
				select {
				case err := <-finished:
					checkStatus(t, err, codes.Canceled, "")
				case <-time.After(patience):
					t.Fatal("a stream is not told of")
				}
			}
			checkStatus(t, <-received, codes.Canceled, "")
			for _, s := range []testgrpc.TestService_FullDuplexCallClient{waits, unread} {
				_, err := s.Recv()
				checkStatus(t, err, codes.Canceled, "")
			}
			must(t, cc.Close())
			for i := range times {
				if n := times[i].Load(); n != 1 {
					t.Errorf("stream %d finished %d times", i, n)
				}
			}
			if late, err := c.FullDuplexCall(bounded(t)); err == nil {
				_, err = late.Recv()
				checkStatus(t, err, codes.Canceled, "")
			} else {
				checkStatus(t, err, codes.Canceled, "")
			}
		})
	}
}

// A message that cannot be sent ends the stream while its header is waited for.
func TestStreamEndsByItsSender(t *testing.T) {
	c := testgrpc.NewTestServiceClient(pair(t, (&service{}).register)())
	var header metadata.MD
	finished := make(chan error, 1)
	s, err := c.FullDuplexCall(bounded(t), grpc.Header(&header), grpc.OnFinish(func(err error) { finished <- err }), grpc.MaxCallSendMsgSize(100))
	must(t, err)
	received := make(chan error, 1)
	go func() {
		_, err := s.Recv()
		received <- err
	}()
	must(t, s.Send(streamRequest(1)))
	checkStatus(t, s.Send(streamRequest(1000)), codes.ResourceExhausted, "")
	checkStatus(t, <-finished, codes.ResourceExhausted, "")
	if err := <-received; err != nil { // the echo of the first may be quicker
		checkStatus(t, err, codes.ResourceExhausted, "")
	}
}

// OpenTelemetry's own instrumentation: the server's span is the client's child, and an error is one in both.
func TestOpenTelemetry(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	opts := []otelgrpc.Option{
		otelgrpc.WithTracerProvider(sdk.NewTracerProvider(sdk.WithSpanProcessor(spans))), otelgrpc.WithPropagators(propagation.TraceContext{}),
	}
	s := &service{unary: func(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
		return nil, status.Error(codes.DataLoss, "gone")
	}}
	c := testgrpc.NewTestServiceClient(pair(t, s.register, fastgrpc.StatsHandler(otelgrpc.NewServerHandler(opts...)))(fastgrpc.WithStatsHandler(otelgrpc.NewClientHandler(opts...))))
	_, err := c.UnaryCall(bounded(t), request(1))
	checkStatus(t, err, codes.DataLoss, "gone")
	ended := spans.Ended()
	if len(ended) != 2 {
		t.Fatalf("%d spans have ended", len(ended))
	}
	server, client := ended[0], ended[1]
	if server.Parent().SpanID() != client.SpanContext().SpanID() || server.SpanContext().TraceID() != client.SpanContext().TraceID() {
		t.Errorf("the server's span has the parent %v, and the client's is %v", server.Parent(), client.SpanContext())
	}
	for _, span := range ended {
		if span.Name() != "grpc.testing.TestService/UnaryCall" || span.Status().Description != "gone" {
			t.Errorf("the span %q has the status %v", span.Name(), span.Status())
		}
	}
}
