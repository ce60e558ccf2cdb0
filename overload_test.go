package fastrpc_test

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc"
)

// A full pool refuses at once, by name, what it has no room for; it forgets nothing, and goes on when there is room again.
func TestFullPoolRefuses(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		const workers, waiting, more = 2, 3, 4
		s := fastrpc.NewServer(insecure, fastrpc.WithWorkers(workers, waiting))
		release := make(chan struct{})
		var ran atomic.Int32
		s.Handle("hold", func(w *fastrpc.Response, r *fastrpc.Request) error {
			ran.Add(1)
			<-release
			return echo(w, r)
		})
		s.HandleInline("echo", echo)
		c := w.dial(t, w.serve(t, s))
		q := fastrpc.NewQueue(16)
		m := c.Method("hold")
		for i := range workers + waiting + more {
			_, err := m.Go(t.Context(), []byte{byte(i)}, q)
			must(t, err)
		}
		collect(t, q, more, func(r fastrpc.Result) {
			checkError(t, r.Err, fastrpc.ResourceExhausted, fastrpc.NotExecuted, "WithWorkers")
		})
		checkEcho(t, c, "echo", pattern(100)) // others are served meanwhile
		close(release)
		came := map[byte]bool{}
		collect(t, q, workers+waiting, func(r fastrpc.Result) {
			must(t, r.Err)
			came[r.Reply.Body()[0]] = true
			r.Reply.Release()
		})
		if n := ran.Load(); n != workers+waiting || len(came) != workers+waiting {
			t.Errorf("the handler ran %d times, %d replies came, want %d", n, len(came), workers+waiting)
		}
		for range 100 {
			rep, err := m.Call(t.Context(), []byte{1}, fastrpc.Timeout(patience))
			must(t, err)
			rep.Release()
		}
	})
}

// An inline handler holds up its queue, so calling out over the same queue would never end: it is told so at once. A worker may.
func TestInlineHandlerMayNotCallOut(t *testing.T) {
	nothingLeft(t)
	w := cabled(t, 1)
	// The server's host is in the middle: it serves the client's host, and calls a server there over the same queue.
	far := echoServer()
	var at netip.AddrPort
	must(t, w.atClient(func() (err error) {
		at, err = far.Listen(t.Context(), "xdp://veth0:0")
		return err
	}))
	t.Cleanup(func() { shutDown(t, far) })
	middle := fastrpc.NewServer(insecure)
	port := w.serve(t, middle)
	var out *fastrpc.Client
	must(t, w.atServer(func() (err error) {
		out, err = fastrpc.Dial(t.Context(), "xdp://"+netip.AddrPortFrom(w.lab.Client().IPv4, at.Port()).String(), insecure)
		return err
	}))
	t.Cleanup(func() { hangUp(t, out) })
	told := make(chan error, 1)
	ask := func(ctx context.Context, method string) func(*fastrpc.Response, *fastrpc.Request) error {
		return func(w *fastrpc.Response, r *fastrpc.Request) error {
			rep, err := out.Method(method).Call(ctx, r.Body(), fastrpc.Timeout(patience))
			if err != nil {
				told <- err
				return err
			}
			defer rep.Release()
			_, err = w.Write(rep.Body())
			return err
		}
	}
	ctx := context.Background()
	middle.HandleInline("inline", ask(ctx, "echo"))
	middle.Handle("worker", ask(ctx, "worker"))
	bound := out.Method("echo")
	middle.HandleInline("inline, bound before", func(*fastrpc.Response, *fastrpc.Request) error {
		_, err := bound.Call(ctx, nil)
		told <- err
		return err
	})
	middle.HandleInline("inline, in place", func(*fastrpc.Response, *fastrpc.Request) error {
		_, err := bound.Alloc(ctx)
		told <- err
		return err
	})
	c := w.dial(t, port)
	checkEcho(t, c, "worker", pattern(10_000))
	rep, err := bound.Call(ctx, nil)
	must(t, err)
	rep.Release()
	for _, method := range []string{"inline", "inline, bound before", "inline, in place"} {
		began := time.Now()
		_, err := c.Method(method).Call(ctx, []byte("x"), fastrpc.Timeout(patience))
		checkError(t, err, fastrpc.FailedPrecondition, fastrpc.Executed, "Handle instead of HandleInline")
		checkError(t, receive(t, told, "what the handler was told"), fastrpc.FailedPrecondition, fastrpc.NotExecuted, "Handle instead of HandleInline")
		if took := time.Since(began); took > patience/2 {
			t.Errorf("%s: it took %v", method, took)
		}
	}
	checkEcho(t, c, "worker", pattern(10_000)) // nothing is held up
}
