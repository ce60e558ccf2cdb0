package bench

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/fastrpc/fastrpc"
)

func init() {
	Register(rpc{name: "xdp", scheme: "xdp", handle: (*fastrpc.Server).HandleInline})
	Register(rpc{name: "xdp-worker", scheme: "xdp", handle: (*fastrpc.Server).Handle})
	Register(rpc{name: "udp", scheme: "udp", handle: (*fastrpc.Server).HandleInline})
}

// rpc is this project, used as anybody would: a handler that echoes, calls with a timeout, replies that are released. The program must import
// the scheme's driver.
type rpc struct {
	name, scheme string
	handle       func(*fastrpc.Server, string, fastrpc.Handler)
}

func (s rpc) Name() string { return s.name }
func (s rpc) Bypass() bool { return s.scheme == "xdp" }

func (s rpc) Serve(ctx context.Context, e Endpoint, ready func(Ready)) error {
	srv := fastrpc.NewServer(fastrpc.WithInsecure())
	s.handle(srv, "echo", func(w *fastrpc.Response, r *fastrpc.Request) error {
		_, err := w.Write(r.Body())
		return err
	})
	host := e.Local.Addr().String()
	if s.Bypass() {
		host = e.Interface
	}
	addr, err := srv.Listen(ctx, s.target(host, e.Local.Port()))
	if err != nil {
		return err
	}
	r := granted(srv.Transports())
	r.Addr = netip.AddrPortFrom(e.Local.Addr(), addr.Port())
	ready(r)
	<-ctx.Done()
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
	defer cancel()
	return srv.Shutdown(limit)
}

func (s rpc) target(host string, port uint16) string {
	return s.scheme + "://" + net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// granted reads what the kernel granted out of the transport's name, such as "xdp eth0 queue 0 (native, zero-copy)".
func granted(transports []string) (r Ready) {
	name := strings.Join(transports, " ")
	for _, mode := range []string{"native", "generic"} {
		if strings.Contains(name, mode) {
			r.XDPMode, r.ZeroCopy = mode, "no"
		}
	}
	if r.XDPMode != "" && strings.Contains(name, "zero-copy") {
		r.ZeroCopy = "yes"
	}
	return r
}

func (s rpc) Connect(ctx context.Context, e Endpoint) (Caller, error) {
	c, err := fastrpc.Dial(ctx, s.target(e.Remote.Addr().String(), e.Remote.Port()), fastrpc.WithInsecure())
	if err != nil {
		return nil, err
	}
	return &rpcCaller{client: c, echo: c.Method("echo")}, nil
}

type rpcCaller struct {
	client *fastrpc.Client
	echo   *fastrpc.Method
}

func (c *rpcCaller) Call(payload []byte) error {
	reply, err := c.echo.Call(context.Background(), payload, fastrpc.Timeout(callLimit))
	if err != nil {
		return err
	}
	defer reply.Release()
	return verify(reply.Body(), payload)
}

func (c *rpcCaller) Close() error { return c.client.Close() }
