package bench

import (
	"context"
	"encoding/binary"
	"fmt"

	"google.golang.org/grpc"

	"github.com/fastrpc/fastrpc/bench/stubpb"
)

//go:generate sh -c "cd stubpb && go run github.com/bufbuild/buf/cmd/buf@v1.66.0 generate"

// A Stub is a way to use generated code, over gRPC and over fastrpc alike.
type Stub string

// The ways.
const (
	Unary    Stub = ""           // a unary call each
	PingPong Stub = "-ping-pong" // a message each way on one stream
	Flow     Stub = "-flow"      // the next message of those that the server streams
)

// Stubs are all ways.
var Stubs = []Stub{Unary, PingPong, Flow}

// Has tells whether a way has a workload: on one stream there is one call at a time.
func (s Stub) Has(workload string) bool {
	return workload != Flood && (s == Unary || workload == Latency)
}

// StubLimit is what gRPC is told that its longest message is: the longest payload and room for its envelope.
const StubLimit = MaxBulk + 64<<10

// RegisterStub registers the server of the stubs.
func RegisterStub(r grpc.ServiceRegistrar, e Endpoint) {
	stubpb.RegisterStubServer(r, &stubServer{endpoint: e})
}

type stubServer struct {
	stubpb.UnimplementedStubServer
	endpoint Endpoint
}

func (s *stubServer) Call(_ context.Context, m *stubpb.Message) (*stubpb.Message, error) {
	if !s.endpoint.Receipted(len(m.Payload)) {
		return &stubpb.Message{Payload: m.Payload}, nil
	}
	return &stubpb.Message{Payload: AppendReceipt(make([]byte, 0, ReceiptBytes), m.Payload)}, nil
}

func (s *stubServer) PingPong(stream grpc.BidiStreamingServer[stubpb.Message, stubpb.Message]) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil // the caller is done
		}
		if err := stream.Send(m); err != nil {
			return err
		}
	}
}

func (s *stubServer) Flow(m *stubpb.Message, stream grpc.ServerStreamingServer[stubpb.Message]) error {
	var first [8]byte
	copy(first[:], m.Payload)
	for n := binary.LittleEndian.Uint64(first[:]); ; n++ {
		number(m.Payload, n)
		if err := stream.Send(m); err != nil {
			return err
		}
	}
}

// NewStubCaller makes calls over cc, which close closes.
func NewStubCaller(s Stub, cc grpc.ClientConnInterface, e Endpoint, close func() error) (Caller, error) {
	c := stubCaller{endpoint: e, client: stubpb.NewStubClient(cc), close: close}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	switch s {
	case Unary:
		return &c, nil
	case PingPong:
		stream, err := c.client.PingPong(c.ctx)
		return &pingPonger{c, stream}, err
	case Flow:
		return &flower{stubCaller: c}, nil
	}
	return nil, fmt.Errorf("unknown way %q to use a stub", s)
}

// stubCaller makes unary calls.
type stubCaller struct {
	endpoint Endpoint
	client   stubpb.StubClient
	ctx      context.Context // of streams
	cancel   context.CancelFunc
	close    func() error
}

// Call has no deadline: one costs gRPC a timer a call. Bench itself bounds how long a round may take.
func (c *stubCaller) Call(payload []byte) error {
	m, err := c.client.Call(context.Background(), &stubpb.Message{Payload: payload})
	if err != nil {
		return err
	}
	return c.endpoint.Verify(m.Payload, payload)
}

func (c *stubCaller) Close() error {
	c.cancel()
	return c.close()
}

// pingPonger sends messages to and fro on one stream.
type pingPonger struct {
	stubCaller
	stream grpc.BidiStreamingClient[stubpb.Message, stubpb.Message]
}

func (c *pingPonger) Call(payload []byte) error {
	if err := c.stream.Send(&stubpb.Message{Payload: payload}); err != nil {
		return err
	}
	return c.verifyNext(c.stream.Recv, payload)
}

// flower takes what the server streams. The harness numbers its payloads as the server does.
type flower struct {
	stubCaller
	stream grpc.ServerStreamingClient[stubpb.Message]
}

func (c *flower) Call(payload []byte) (err error) {
	if c.stream == nil {
		if c.stream, err = c.client.Flow(c.ctx, &stubpb.Message{Payload: payload}); err != nil {
			return err
		}
	}
	return c.verifyNext(c.stream.Recv, payload)
}

func (c *stubCaller) verifyNext(recv func() (*stubpb.Message, error), payload []byte) error {
	m, err := recv()
	if err != nil {
		return err
	}
	return verify(m.Payload, payload)
}
