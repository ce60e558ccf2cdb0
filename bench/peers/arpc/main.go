// The peer arpc is lesismal/arpc, plain bytes. Handlers run in the connection's reader. A lone call is written by its caller; many at once are
// its CallAsync, with its defaults of a writer that sends together what is due.
package main

import (
	"context"
	"net"
	"time"

	"github.com/lesismal/arpc"
	arpclog "github.com/lesismal/arpc/log"

	"github.com/fastrpc/fastrpc/bench"
	"github.com/fastrpc/fastrpc/bench/peers/internal/peer"
)

var system = peer.New("arpc", serve, dial)

func main() { peer.Main(system) }

func init() { arpclog.SetLevel(arpclog.LevelNone) } // it writes to standard output, which is bench's

// arpcLimit is how long a call may take: CallAsync has no other way to end it.
const arpcLimit = time.Minute

func arpcSettings(h arpc.Handler, e *bench.Endpoint) {
	h.SetMaxBodyLen(peer.MessageLimit)
	h.SetAsyncWrite(e.Outstanding > 1)
	h.HandleConnected(func(c *arpc.Client) { _ = c.Conn.(*net.TCPConn).SetNoDelay(true) }) // by default it switches Nagle's algorithm on
}

func serve(ctx context.Context, e bench.Endpoint, ready func(bench.Ready)) error {
	s := arpc.NewServer()
	arpcSettings(s.Handler, &e)
	const inReader = false
	s.Handler.Handle("/echo", func(c *arpc.Context) { _ = c.Write(peer.Reply(&e, c.Body())) }, inReader)
	return peer.Listen(ctx, &e, ready, s.Serve, func() {}) // that its listener is closed ends it
}

func dial(ctx context.Context, e bench.Endpoint) (bench.Caller, error) {
	h := arpc.DefaultHandler.Clone()
	arpcSettings(h, &e)
	c, err := arpc.NewClient(func() (net.Conn, error) { return peer.Dial(ctx, &e) }, h)
	if err != nil {
		return nil, err
	}
	own := peer.NewCaller(&e, func(_ context.Context, payload []byte) (got []byte, err error) {
		err = c.Call("/echo", payload, &got, arpcLimit)
		return got, err
	}, func() error {
		c.Stop()
		return nil
	})
	if !e.Piped() {
		return own, nil
	}
	return &arpcPipeline{own, peer.NewEndings(&e), c}, nil
}

type arpcPipeline struct {
	*peer.Caller
	peer.Endings
	arpc *arpc.Client
}

func (p *arpcPipeline) Begin(slot int, payload []byte) error {
	return p.arpc.CallAsync("/echo", payload, func(c *arpc.Context, err error) {
		if err != nil {
			p.End(slot, payload, nil, err)
		} else {
			p.End(slot, payload, c.Body(), nil)
		}
	}, arpcLimit)
}
