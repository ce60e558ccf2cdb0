package fastgrpc

import (
	"fmt"
	"testing"

	"github.com/fastrpc/fastrpc"
	_ "github.com/fastrpc/fastrpc/transport/udp"
)

// Names that callers make up take a bounded room, and keep no method from being remembered.
func TestMethodsAreRemembered(t *testing.T) {
	s := fastrpc.NewServer(fastrpc.WithInsecure())
	addr, err := s.Listen(t.Context(), "udp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown(t.Context())
	cc, err := Dial(t.Context(), "udp://"+addr.String(), WithTransport(fastrpc.WithInsecure()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	for i := range 3 * mostMethods {
		cc.look(fmt.Sprint("/made.Up/", i))
	}
	if real := cc.look("/real.Service/Method"); cc.look("/real.Service/Method") != real {
		t.Error("a method is looked up at the server with each call")
	}
	n := 0
	cc.methods.Range(func(any, any) bool { n++; return true })
	if n > mostMethods {
		t.Errorf("%d methods are remembered", n)
	}
}
