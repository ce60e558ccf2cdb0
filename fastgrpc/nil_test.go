package fastgrpc_test

import (
	"context"
	"io"
	"testing"

	"google.golang.org/grpc"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"
)

// A message that is nil, or nothing of its type, travels as an empty one, compressed or not, both ways and in streams.
func TestNilMessages(t *testing.T) {
	const method = "/grpc.testing.TestService/UnaryCall"
	var nothing *testgrpc.SimpleRequest
	s := &service{
		unary: func(_ context.Context, r *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
			if proto.Size(r) != 0 {
				t.Errorf("the request is %v", r)
			}
			return nil, nil
		},
		full: func(s testgrpc.TestService_FullDuplexCallServer) error {
			for {
				if r, err := s.Recv(); err == io.EOF {
					return nil
				} else if err != nil || proto.Size(r) != 0 {
					t.Errorf("the message is %v: %v", r, err)
					return err
				}
				if err := s.SendMsg(nil); err != nil {
					return err
				}
				if err := s.Send(nil); err != nil {
					return err
				}
			}
		},
	}
	cc := pair(t, s.register)()
	for name, opts := range map[string][]grpc.CallOption{"plain": nil, "compressed": {grpc.UseCompressor("gzip")}} {
		t.Run(name, func(t *testing.T) {
			for _, args := range []any{nil, nothing, &testgrpc.SimpleRequest{}} {
				reply := &testgrpc.SimpleResponse{Username: "before"}
				must(t, cc.Invoke(bounded(t), method, args, reply, opts...))
				if proto.Size(reply) != 0 {
					t.Errorf("the reply to %v is %v", args, reply)
				}
				st, err := testgrpc.NewTestServiceClient(cc).FullDuplexCall(bounded(t), opts...)
				must(t, err)
				must(t, st.SendMsg(args))
				for range 2 {
					r, err := st.Recv()
					must(t, err)
					if proto.Size(r) != 0 {
						t.Errorf("the answer to %v is %v", args, r)
					}
				}
				must(t, st.CloseSend())
				if _, err := st.Recv(); err != io.EOF {
					t.Errorf("the stream ended with %v", err)
				}
			}
		})
	}
}
