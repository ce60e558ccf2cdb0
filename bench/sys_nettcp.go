package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

func init() { Register(netTCP{}) }

// netTCP is the kernel's TCP path as Go programs write it: net.Conn, io.ReadFull and Write, TCP_NODELAY.
type netTCP struct{}

func (netTCP) Name() string { return "net-tcp" }
func (netTCP) Bypass() bool { return false }

func (netTCP) Serve(ctx context.Context, e Endpoint, ready func(Ready)) error {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(e.Local))
	if err != nil {
		return err
	}
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	ready(Ready{Addr: netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())})
	for {
		c, err := l.AcceptTCP()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go echoConn(ctx, c, e.Size)
	}
}

// echoConn ends when the client closes or ctx does; either is how a run ends, so that there is no error to tell.
func echoConn(ctx context.Context, c *net.TCPConn, size int) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	buf := make([]byte, size)
	for {
		if _, err := io.ReadFull(c, buf); err != nil {
			return
		}
		if _, err := c.Write(buf); err != nil {
			return
		}
	}
}

func (netTCP) Connect(ctx context.Context, e Endpoint) (Caller, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(e.Local.Addr(), 0))}
	c, err := d.DialContext(ctx, "tcp", e.Remote.String())
	if err != nil {
		return nil, err
	}
	if err := c.(*net.TCPConn).SetNoDelay(true); err != nil { // Go's default already; said aloud
		c.Close()
		return nil, fmt.Errorf("TCP_NODELAY: %w", err)
	}
	return &netCaller{conn: c, echo: make([]byte, e.Size)}, nil
}

type netCaller struct {
	conn  net.Conn
	echo  []byte
	calls int
}

func (c *netCaller) Call(payload []byte) error {
	if c.calls%1000 == 0 { // not with every call, which would add a timer's cost to each
		if err := c.conn.SetDeadline(time.Now().Add(callLimit)); err != nil {
			return err
		}
	}
	c.calls++
	if _, err := c.conn.Write(payload); err != nil {
		return err
	}
	if _, err := io.ReadFull(c.conn, c.echo); err != nil {
		return err
	}
	return verify(c.echo, payload)
}

func (c *netCaller) Close() error { return c.conn.Close() }
