package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/fastrpc/fastrpc/bench"
)

// rpc is what the RPC systems have in common: they need no AF_XDP and make calls, so that they have every workload but the flood.
type rpc struct{ name string }

func (r rpc) Name() string           { return r.name }
func (rpc) Bypass() bool             { return false }
func (rpc) Has(workload string) bool { return workload != bench.Flood }

// messageLimit is what a system is told that its longest message is, where it has a limit: the longest payload and room for its envelope.
const messageLimit = bench.MaxBulk + 64<<10

// reply is the handler of every system: the payload itself, with workload bulk a receipt for it.
func reply(e *bench.Endpoint, payload []byte) []byte {
	if e.Workload != bench.Bulk {
		return payload
	}
	return bench.AppendReceipt(make([]byte, 0, bench.ReceiptBytes), payload)
}

// check compares what came back with what the handler must have made of the payload.
func check(e *bench.Endpoint, got, payload []byte) error {
	if want := reply(e, payload); !bytes.Equal(got, want) {
		return fmt.Errorf("%w: %d bytes %.16x..., want %d bytes %.16x...", bench.ErrEcho, len(got), got, len(want), want)
	}
	return nil
}

// serve listens and has run serve the connections until it returns. stop, called when ctx ends, makes run return; its error is then of no
// interest.
func serve(ctx context.Context, e *bench.Endpoint, ready func(bench.Ready), run func(net.Listener) error, stop func()) error {
	l, err := net.Listen("tcp", e.Local.String())
	if err != nil {
		return err
	}
	defer l.Close()
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	ready(bench.Ready{Addr: netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())})
	stopped := make(chan struct{})
	defer context.AfterFunc(ctx, func() {
		defer close(stopped)
		stop()
		l.Close()
	})()
	if err := run(l); ctx.Err() == nil {
		return err
	}
	<-stopped
	return nil
}

// dial connects from the endpoint's own address.
func dial(ctx context.Context, e *bench.Endpoint) (net.Conn, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(e.Local.Addr(), 0))}
	return d.DialContext(ctx, "tcp", e.Remote.String())
}

// newCaller makes a Caller of call, which sends a payload and gives what came back; that is read at once and not kept. It may be called from
// several goroutines.
func newCaller(e *bench.Endpoint, call func(context.Context, []byte) ([]byte, error), close func() error) *caller {
	c := &caller{endpoint: *e, call: call, close: close}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

type caller struct {
	endpoint bench.Endpoint
	call     func(ctx context.Context, payload []byte) ([]byte, error)
	close    func() error

	ctx    context.Context // of every call; bench itself bounds how long a round may take
	cancel context.CancelFunc
}

func (c *caller) Call(payload []byte) error {
	got, err := c.call(c.ctx, payload)
	if err != nil {
		return err
	}
	return check(&c.endpoint, got, payload)
}

// unlessShut is what closing a connection answered, but for the error of one that was shut already: by the call that was cancelled, or the server.
func unlessShut(err, shut error) error {
	if errors.Is(err, shut) {
		return nil
	}
	return err
}

func (c *caller) Close() error {
	c.cancel()
	return c.close()
}
