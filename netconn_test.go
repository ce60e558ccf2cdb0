package fastrpc_test

import (
	"context"
	"io"
	"net"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/fastrpc/fastrpc"
)

// The cases for a net.Conn of anybody's making, with either end in either part.
func TestStreamAsConn(t *testing.T) {
	for _, w := range []world{loopback(), loopbackTCP()} {
		s := fastrpc.NewServer(insecure)
		l := s.ListenConn("conn")
		m := w.dial(t, w.serve(t, s)).Method("conn")
		for name, swap := range map[string]bool{"client first": false, "server first": true} {
			t.Run(w.scheme+" "+name, func(t *testing.T) {
				nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
					c1, err := m.DialConn(context.Background())
					if err != nil {
						return nil, nil, nil, err
					}
					c2, err := l.Accept()
					if err != nil {
						return nil, nil, nil, err
					}
					if swap {
						c1, c2 = c2, c1
					}
					return c1, c2, func() { c1.Close(); c2.Close() }, nil
				})
			})
		}
		must(t, l.Close())
		c, err := m.DialConn(t.Context())
		must(t, err)
		_, err = io.ReadAll(c)
		checkError(t, err, fastrpc.Unavailable, fastrpc.Executed, "nobody accepts connections")
		must(t, c.Close())
	}
}
