package fastrpc_test

import (
	"fmt"
	"testing"

	"github.com/fastrpc/fastrpc"
)

// A process may have many clients with a socket each: more than a byte can number.
func TestManyClients(t *testing.T) {
	for _, w := range []world{loopback(), loopbackTCP()} {
		t.Run(w.scheme, func(t *testing.T) {
			nothingLeft(t)
			port := w.serve(t, echoServer())
			w.query = "?frames=64"
			clients := make([]*fastrpc.Client, 300)
			for i := range clients {
				clients[i] = w.dial(t, port)
			}
			for i, c := range clients {
				checkEcho(t, c, "echo", fmt.Append(nil, "client ", i))
			}
		})
	}
}
