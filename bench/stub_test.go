package bench

import (
	"errors"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/fastrpc/fastrpc/bench/result"
)

// Every way to use the stub gives back what the harness asks for, and notices what is not that.
func TestStubs(t *testing.T) {
	e := Endpoint{Workload: Latency, Point: result.Point{Size: 64, Outstanding: 1}}
	srv := grpc.NewServer()
	RegisterStub(srv, e)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(l) }()
	defer srv.Stop()
	for _, s := range Stubs {
		for _, size := range []int{MinBulk, 64, 1024} {
			cc, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			c, err := NewStubCaller(s, cc, e, cc.Close)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorker(size, 3, c)
			for n := range 100 {
				if err := w.call(); err != nil {
					t.Fatalf("%q: call %d of %d bytes: %v", s, n, size, err)
				}
			}
			if s == Flow { // it does not see what it is asked for
				w.calls++
				if err := w.call(); !errors.Is(err, ErrEcho) {
					t.Errorf("a message that was passed over: %v", err)
				}
			}
			if err := c.Close(); err != nil {
				t.Errorf("%q: Close: %v", s, err)
			}
		}
		if s.Has(Flood) || !s.Has(Latency) || s.Has(Rate) != (s == Unary) {
			t.Errorf("%q has the wrong workloads", s)
		}
	}
}
