package main

import (
	"context"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/bench"
	"github.com/fastrpc/fastrpc/bench/peers/internal/peer/peertest"
	"github.com/fastrpc/fastrpc/bench/peers/kitex/echopb"
	"github.com/fastrpc/fastrpc/bench/result"
)

func TestPeer(t *testing.T) { peertest.Run(t, system) }

// lookAround is a handler that looks which goroutines there are during a call.
type lookAround struct{ stacks chan string }

func (l *lookAround) Call(_ context.Context, m *echopb.Message) (*echopb.Message, error) {
	buf := make([]byte, 1<<20)
	l.stacks <- string(buf[:runtime.Stack(buf, true)])
	return m, nil
}

// Both ends are over netpoll: the handler is called by a connection of it, and the caller waits in one.
func TestOverNetpoll(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	e := bench.Endpoint{Local: netip.MustParseAddrPort("127.0.0.1:0"), Workload: bench.Latency, Point: result.Point{Size: 64, Outstanding: 1}}
	ready, served, handler := make(chan bench.Ready, 1), make(chan error, 1), &lookAround{make(chan string, 1)}
	go func() { served <- serveEcho(ctx, e, func(r bench.Ready) { ready <- r }, handler) }()
	e.Remote = (<-ready).Addr
	c, err := dial(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Call(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	stacks := strings.Split(<-handler.stacks, "\n\n")
	for _, goroutine := range [][2]string{{"(*lookAround).Call", "netpoll.(*connection).onProcess"}, {"internal/peer.(*Caller).Call", "netpoll.(*connection).waitRead"}} {
		found := ""
		for _, s := range stacks {
			if strings.Contains(s, goroutine[0]) {
				found = s
			}
		}
		if !strings.Contains(found, goroutine[1]) {
			t.Errorf("%s is not over %s:\n%s", goroutine[0], goroutine[1], found)
		}
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	c.Close()
}
