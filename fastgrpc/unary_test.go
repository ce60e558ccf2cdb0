package fastgrpc_test

import (
	"context"
	"testing"

	"github.com/fastrpc/fastrpc/fastgrpc"
	"github.com/fastrpc/fastrpc/fastgrpc/examples/helloworld"
)

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
