package fastrpc_test

import (
	"context"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
)

// The cable is cut, of which no connection hears anything: the session's heartbeats find out that the server is gone. When the cable is whole
// again the same client is served again, though both kernels still have the old connection.
func TestTCPCableCut(t *testing.T) {
	l := labtest.New(t, lab.Config{Queues: 1})
	server := l.Server()
	w := world{lab: l, scheme: "tcp", listen: "tcp://" + server.IPv4.String(), remote: server.IPv4}
	set := func(f func(netlink.Link) error) {
		t.Helper()
		must(t, server.Do(func() error {
			link, err := netlink.LinkByIndex(server.Ifindex)
			if err != nil {
				return err
			}
			return f(link)
		}))
	}
	s := echoServer()
	arrived, leave := make(chan struct{}), make(chan struct{})
	s.Handle("wait", func(*fastrpc.Response, *fastrpc.Request) error {
		close(arrived)
		<-leave
		return nil
	})
	port := w.serve(t, s)
	defer close(leave)
	c := w.dial(t, port)
	checkEcho(t, c, "worker", pattern(1<<20))
	ended := make(chan error)
	go func() {
		_, err := c.Method("wait").Call(context.Background(), nil) // without a deadline: the client has to find out
		ended <- err
	}()
	receive(t, arrived, "the request")
	set(netlink.LinkSetDown)
	checkError(t, receive(t, ended, "the end of the call"), fastrpc.Unavailable, fastrpc.OutcomeUnknown, "")
	set(netlink.LinkSetUp)
	eventually(t, func() string {
		rep, err := c.Method("echo").Call(context.Background(), nil, fastrpc.Timeout(patience))
		if err != nil {
			return err.Error()
		}
		rep.Release()
		return ""
	})
}
