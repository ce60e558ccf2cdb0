// Package fastgrpc is gRPC's interfaces over fastrpc: generated clients call over a ClientConn, generated services register with a Server, and stay
// as they are. One line changes at each end:
//
//	conn, err := fastgrpc.Dial(ctx, "xdp://192.0.2.7:9000", fastgrpc.WithTransport(fastrpc.WithInsecure()))
//	client := helloworld.NewGreeterClient(conn)
//
//	s := fastgrpc.NewServer(fastrpc.NewServer(fastrpc.WithInsecure()))
//	helloworld.RegisterGreeterServer(s, greeter)
//	err := s.ListenAndServe(ctx, "xdp://eth0:9000")
//
// Metadata, status, interceptors and statistics are gRPC's own. docs/grpc.md says what differs. A method's native name is its full one,
// /helloworld.Greeter/SayHello, and its messages are the codec's bytes without a frame around them, so that handlers and callers of package
// fastrpc meet those of gRPC: a protobuf codec is all that it takes.
package fastgrpc

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.66.0 generate
