package fastgrpc_test

import (
	"context"
	"testing"

	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/fastgrpc"
	"github.com/fastrpc/fastrpc/fastgrpc/examples/helloworld"
)

// The native API and gRPC's meet: names and messages are the same.
func TestNativeCaller(t *testing.T) {
	cc := pair(t, (&service{}).register)()
	b, err := proto.Marshal(request(10))
	must(t, err)
	rep, err := cc.Client().Method(testgrpc.TestService_UnaryCall_FullMethodName).Call(bounded(t), b)
	must(t, err)
	defer rep.Release()
	var r testgrpc.SimpleResponse
	must(t, proto.Unmarshal(rep.Body(), &r))
	if len(r.GetPayload().GetBody()) != 10 {
		t.Errorf("the reply is %v", &r)
	}
}

func TestNativeHandler(t *testing.T) {
	cc := pair(t, func(s *fastgrpc.Server) {
		s.Handle(helloworld.Greeter_SayHello_FullMethodName, func(w *fastrpc.Response, r *fastrpc.Request) error {
			_, err := w.Write(r.Body()) // the one field of both messages is a string of the same number
			return err
		})
	})()
	r, err := helloworld.NewGreeterClient(cc).SayHello(bounded(t), &helloworld.HelloRequest{Name: "gopher"})
	must(t, err)
	if r.GetMessage() != "gopher" {
		t.Errorf("the reply is %v", r)
	}
}

// mostAllocations is what a call may allocate on both sides together. Seven are the generated code's, protobuf's and the handler's: the request, the reply
// and a string in each at either end, less the client's request, and the options; one is the handler's context.
const mostAllocations = 10

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	cc := pair(t, func(s *fastgrpc.Server) { helloworld.RegisterGreeterServer(s, helloworld.Server{}) })()
	c := helloworld.NewGreeterClient(cc)
	req := &helloworld.HelloRequest{Name: "gopher"}
	call := func() {
		if _, err := c.SayHello(context.Background(), req); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		call()
	}
	if n := testing.AllocsPerRun(1000, call); n > mostAllocations {
		t.Errorf("a call allocates %v times", n)
	}
}

func BenchmarkUnary(b *testing.B) {
	for _, mode := range []string{"worker", "inline"} {
		b.Run(mode, func(b *testing.B) {
			var opts []fastgrpc.ServerOption
			if mode == "inline" {
				opts = append(opts, fastgrpc.Inline(helloworld.Greeter_SayHello_FullMethodName))
			}
			cc := pair(b, func(s *fastgrpc.Server) { helloworld.RegisterGreeterServer(s, helloworld.Server{}) }, opts...)()
			c := helloworld.NewGreeterClient(cc)
			req := &helloworld.HelloRequest{Name: "gopher"}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.SayHello(context.Background(), req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
