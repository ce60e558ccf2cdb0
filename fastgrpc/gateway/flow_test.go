package gateway_test

import (
	"io"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	piece     = 32 << 10 // bytes of a message
	pieces    = 400      // of a stream: more than anybody on the way may hold
	heldMost  = 250      // of them may be on the way: the windows of two legs, and what each end queues
	unrelated = 100      // calls beside, in which a gateway that does not hold back would have taken more
)

// A client that does not read holds the server back, whatever else goes on; then it gets everything.
func TestClientDoesNotRead(t *testing.T) {
	var sent atomic.Int64
	m := methods{
		"/t.T/Echo": echo,
		"/t.T/Much": func(_ any, ss grpc.ServerStream) error {
			for i := range pieces {
				if err := ss.SendMsg(bytesOf(piece, i)); err != nil {
					return err
				}
				sent.Add(1)
			}
			return nil
		},
	}
	throughGateways(t, m, func(t *testing.T, cc grpc.ClientConnInterface) {
		sent.Store(0)
		cs := open(t.Context(), t, cc, "/t.T/Much")
		if err := cs.CloseSend(); err != nil {
			t.Fatal(err)
		}
		callBeside(t, cc)
		if n := sent.Load(); n > heldMost {
			t.Errorf("the server has sent %d messages of %d bytes to a client that reads none", n, piece)
		}
		for i := range pieces {
			var m wrapperspb.BytesValue
			if err := cs.RecvMsg(&m); err != nil || len(m.Value) != piece || m.Value[1] != bytesOf(2, i).Value[1] {
				t.Fatalf("message %d: %d bytes, %v", i, len(m.Value), err)
			}
		}
		if err := cs.RecvMsg(new(wrapperspb.BytesValue)); err != io.EOF {
			t.Error(err)
		}
	})
}

// A server that does not read holds the client back.
func TestServerDoesNotRead(t *testing.T) {
	read := make(chan bool)
	m := methods{
		"/t.T/Echo": echo,
		"/t.T/Much": func(_ any, ss grpc.ServerStream) error {
			<-read
			for i := range pieces {
				var m wrapperspb.BytesValue
				if err := ss.RecvMsg(&m); err != nil || len(m.Value) != piece || m.Value[1] != bytesOf(2, i).Value[1] {
					t.Errorf("message %d: %d bytes, %v", i, len(m.Value), err)
					return err
				}
			}
			return nil
		},
	}
	throughGateways(t, m, func(t *testing.T, cc grpc.ClientConnInterface) {
		var sent atomic.Int64
		cs := open(t.Context(), t, cc, "/t.T/Much")
		go func() {
			for i := range pieces {
				if err := cs.SendMsg(bytesOf(piece, i)); err != nil {
					t.Error(err)
				}
				sent.Add(1)
			}
			if err := cs.CloseSend(); err != nil {
				t.Error(err)
			}
		}()
		callBeside(t, cc)
		if n := sent.Load(); n > heldMost {
			t.Errorf("the client has sent %d messages of %d bytes to a server that reads none", n, piece)
		}
		read <- true
		if err := cs.RecvMsg(new(wrapperspb.BytesValue)); err != io.EOF {
			t.Error(err)
		}
	})
}

func callBeside(t *testing.T, cc grpc.ClientConnInterface) {
	for i := range unrelated {
		var m wrapperspb.BytesValue
		if err := cc.Invoke(t.Context(), "/t.T/Echo", bytesOf(100, i), &m); err != nil {
			t.Fatal(err)
		}
	}
}
