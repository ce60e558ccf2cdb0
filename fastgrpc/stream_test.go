package fastgrpc_test

import (
	"context"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/fastgrpc"
)

func TestStreamsUsedWrongly(t *testing.T) {
	c := testgrpc.NewTestServiceClient(pair(t, (&service{}).register)())
	s, err := c.FullDuplexCall(bounded(t))
	must(t, err)
	must(t, s.CloseSend())
	must(t, s.CloseSend())
	checkStatus(t, s.Send(streamRequest(1)), codes.Internal, "SendMsg called after CloseSend")

	ctx, cancel := context.WithCancel(bounded(t))
	s, err = c.FullDuplexCall(ctx)
	must(t, err)
	cancel()
	for err = nil; err == nil; { // the context's end takes a moment to arrive
		err = s.Send(streamRequest(1))
	}
	if err != io.EOF {
		t.Errorf("sending after the end: %v", err)
	}
	for range 2 {
		_, err = s.Recv()
		checkStatus(t, err, codes.Canceled, "")
	}
}

// A client that does not read holds up its stream alone, and the server's handler with it.
func TestClientStopsReading(t *testing.T) {
	var sent atomic.Int64
	ended := make(chan error, 1)
	s := &service{full: func(s testgrpc.TestService_FullDuplexCallServer) (err error) {
		for err == nil {
			if err = s.Send(&testgrpc.StreamingOutputCallResponse{Payload: &testgrpc.Payload{Body: make([]byte, 1000)}}); err == nil {
				sent.Add(1)
			}
		}
		ended <- err
		return err
	}}
	c := testgrpc.NewTestServiceClient(pair(t, s.register)())
	ctx, cancel := context.WithCancel(bounded(t))
	stream, err := c.FullDuplexCall(ctx)
	must(t, err)
	_, err = stream.Recv()
	must(t, err)
	for range 1000 {
		_, err := c.UnaryCall(bounded(t), request(1000))
		must(t, err)
	}
	if n := sent.Load(); n > 200 {
		t.Errorf("%d messages were sent to a client that had read one", n)
	}
	cancel()
	checkStatus(t, <-ended, codes.Canceled, "")
}

// A server that is shut down ends the streams that stay open as Unavailable.
func TestShutdownEndsStreams(t *testing.T) {
	s := fastgrpc.NewServer(fastrpc.NewServer(fastrpc.WithInsecure(), fastrpc.WithDrainTimeout(10*time.Millisecond)))
	ended := make(chan error, 1)
	(&service{full: func(s testgrpc.TestService_FullDuplexCallServer) error {
		must(t, s.Send(&testgrpc.StreamingOutputCallResponse{}))
		_, err := s.Recv()
		ended <- err
		return err
	}}).register(s)
	addr, err := s.Listen(t.Context(), "udp://127.0.0.1:0")
	must(t, err)
	cc, err := fastgrpc.Dial(t.Context(), "udp://"+addr.String(), insecure)
	must(t, err)
	defer cc.Close()
	stream, err := testgrpc.NewTestServiceClient(cc).FullDuplexCall(bounded(t))
	must(t, err)
	_, err = stream.Recv()
	must(t, err)
	go s.GracefulStop()
	_, err = stream.Recv()
	checkStatus(t, err, codes.Unavailable, "")
	checkStatus(t, <-ended, codes.Unavailable, "")
}
