// Package helloworld is gRPC's first example: nothing in it knows what its calls travel over. The programs beside it choose.
package helloworld

import "context"

// Server is the Greeter.
type Server struct{ UnimplementedGreeterServer }

// SayHello implements GreeterServer.
func (Server) SayHello(_ context.Context, r *HelloRequest) (*HelloReply, error) {
	return &HelloReply{Message: "Hello " + r.GetName()}, nil
}
