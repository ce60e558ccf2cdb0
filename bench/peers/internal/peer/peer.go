package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/fastrpc/fastrpc/bench"
)

// System is a peer's way to carry a payload: RPC over the kernel's TCP.
type System struct {
	name    string
	serve   Serve
	connect Connect
}

// Serve and Connect are those of a bench.System.
type (
	Serve   func(ctx context.Context, e bench.Endpoint, ready func(bench.Ready)) error
	Connect func(ctx context.Context, e bench.Endpoint) (bench.Caller, error)
)

// New makes a System of its two ends.
func New(name string, serve Serve, connect Connect) System { return System{name, serve, connect} }

func (s System) Name() string           { return s.name }
func (System) Bypass() bool             { return false }
func (System) Has(workload string) bool { return workload != bench.Flood }
func (s System) Serve(ctx context.Context, e bench.Endpoint, ready func(bench.Ready)) error {
	return s.serve(ctx, e, ready)
}
func (s System) Connect(ctx context.Context, e bench.Endpoint) (bench.Caller, error) {
	return s.connect(ctx, e)
}

// Main is the whole of a peer's program.
func Main(systems ...bench.System) {
	if err := bench.PeerMain(os.Args[1:], os.Stdin, os.Stdout, systems...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// MessageLimit is what a system is told that its longest message is, where it has a limit: the longest payload and room for its envelope.
const MessageLimit = bench.MaxBulk + 64<<10

// Reply is the handler of every system: the payload itself, or a receipt for it.
func Reply(e *bench.Endpoint, payload []byte) []byte {
	if !e.Receipted(len(payload)) {
		return payload
	}
	return bench.AppendReceipt(make([]byte, 0, bench.ReceiptBytes), payload)
}

// Listen listens and has run serve the connections until it returns. stop, called when ctx ends, makes run return; its error is then of no
// interest.
func Listen(ctx context.Context, e *bench.Endpoint, ready func(bench.Ready), run func(net.Listener) error, stop func()) error {
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

// Dial connects; not from a bound port, of which connections that are closing would soon have taken all.
func Dial(ctx context.Context, e *bench.Endpoint) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", e.Remote.String())
}

// NewCaller makes a Caller of call, which sends a payload and gives what came back; that is read at once and not kept. It may be called from
// several goroutines.
func NewCaller(e *bench.Endpoint, call func(context.Context, []byte) ([]byte, error), close func() error) *Caller {
	return &Caller{endpoint: *e, call: call, close: close}
}

// Caller makes blocking calls.
type Caller struct {
	endpoint bench.Endpoint
	call     func(ctx context.Context, payload []byte) ([]byte, error)
	close    func() error
}

// background is the context of every call: one that can end costs some libraries a goroutine a call, kitex for one (client/rpctimeout.go,
// rpcTimeoutMW). Bench itself bounds how long a round may take.
var background = context.Background()

func (c *Caller) Call(payload []byte) error {
	got, err := c.call(background, payload)
	if err != nil {
		return err
	}
	return c.endpoint.Verify(got, payload)
}

// UnlessShut is what closing a connection answered, but for the error of one that was shut already: by the call that was cancelled, or the server.
func UnlessShut(err, shut error) error {
	if errors.Is(err, shut) {
		return nil
	}
	return err
}

func (c *Caller) Close() error {
	return c.close()
}
