package fastrpc_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc"
)

// holdServer's "hold" tells that it runs and waits for release; "until" waits for its context to end before.
type holdServer struct {
	*fastrpc.Server
	running chan struct{}
	release chan struct{}
	ended   chan error
}

func newHoldServer(opts ...fastrpc.Option) *holdServer {
	h := &holdServer{echoServer(opts...), make(chan struct{}, 64), make(chan struct{}), make(chan error, 64)}
	h.Handle("hold", func(w *fastrpc.Response, r *fastrpc.Request) error {
		h.running <- struct{}{}
		<-h.release
		return echo(w, r)
	})
	h.Handle("until", func(_ *fastrpc.Response, r *fastrpc.Request) error {
		ctx := r.Context()
		h.running <- struct{}{}
		<-ctx.Done()
		h.ended <- ctx.Err()
		<-h.release
		return ctx.Err()
	})
	return h
}

// Shutdown refuses what is new, as not executed, and waits for what runs, whose reply arrives. A second Shutdown waits for the first.
func TestShutdownDrains(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		s := newHoldServer()
		port := w.serve(t, s.Server)
		c := w.dial(t, port)
		checkEcho(t, c, "echo", nil)
		checkEcho(t, c, "worker", nil)
		q := fastrpc.NewQueue(4)
		for range 4 {
			_, err := c.Method("hold").Go(t.Context(), pattern(5000), q)
			must(t, err)
			receive(t, s.running, "the handler")
		}
		var both sync.WaitGroup
		down := make(chan struct{})
		for range 2 {
			both.Go(func() { shutDown(t, s.Server) })
		}
		go func() { both.Wait(); close(down) }()
		eventually(t, func() string { // nothing tells when it has begun
			rep, err := c.Method("echo").Call(t.Context(), nil, fastrpc.Timeout(patience))
			if err != nil {
				checkError(t, err, fastrpc.Unavailable, fastrpc.NotExecuted, "shutting down")
				return ""
			}
			rep.Release()
			return "calls are still served"
		})
		_, err := c.Method("worker").Call(t.Context(), nil)
		checkError(t, err, fastrpc.Unavailable, fastrpc.NotExecuted, "shutting down")
		eventually(t, func() string { // calls are refused a moment before sessions are
			late, err := w.tryDial(t, w.dialTarget(port))
			if err == nil {
				hangUp(t, late)
				return "sessions are still taken"
			}
			checkError(t, err, fastrpc.Unavailable, fastrpc.NotExecuted, "")
			return ""
		})
		select {
		case <-down:
			t.Error("Shutdown did not wait for the handlers")
		default:
		}
		close(s.release)
		collect(t, q, 4, func(r fastrpc.Result) {
			if r.Err != nil {
				t.Errorf("a handler ran on, and its call ended by %v", r.Err)
			} else if len(r.Reply.Body()) != 5000 {
				t.Errorf("a reply of %d bytes", len(r.Reply.Body()))
			}
			r.Reply.Release()
		})
		receive(t, down, "the end of Shutdown")
		shutDown(t, s.Server) // once more, long after
		_, err = c.Method("echo").Call(t.Context(), nil, fastrpc.Timeout(patience))
		checkError(t, err, fastrpc.Unavailable, fastrpc.NotExecuted, "")
		must(t, w.atServer(func() error {
			_, err := s.Listen(t.Context(), w.listenTarget(0))
			checkError(t, err, fastrpc.Unavailable, fastrpc.NotExecuted, "the server is shut down")
			return nil
		}))
	})
}

// A handler that does not end is waited for until the context is over: its own context ends then, its caller learns that the server is
// gone, and when it returns at last, its reply goes nowhere and nothing breaks.
func TestShutdownOverAStuckHandler(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		s := newHoldServer()
		c := w.dial(t, w.serve(t, s.Server))
		q := fastrpc.NewQueue(2)
		for _, method := range []string{"hold", "until"} {
			_, err := c.Method(method).Go(t.Context(), pattern(100), q)
			must(t, err)
			receive(t, s.running, "the handler")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		err := s.Shutdown(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || fastrpc.CodeOf(err) != fastrpc.DeadlineExceeded {
			t.Errorf("Shutdown over a stuck handler: %v", err)
		}
		if err := receive(t, s.ended, "the end of the handler's context"); !errors.Is(err, context.Canceled) {
			t.Errorf("the handler's context ended by %v", err)
		}
		collect(t, q, 2, func(r fastrpc.Result) {
			checkError(t, r.Err, fastrpc.Unavailable, fastrpc.OutcomeUnknown, "shut down")
		})
		close(s.release)
	})
}

// ListenAndServe returns nil when its context ends, after draining, and when the server is shut down.
func TestListenAndServeEnds(t *testing.T) {
	nothingLeft(t)
	for name, end := range map[string]func(s *fastrpc.Server, cancel func()){
		"context":  func(_ *fastrpc.Server, cancel func()) { cancel() },
		"Shutdown": func(s *fastrpc.Server, _ func()) { shutDown(t, s) },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := echoServer()
			done := make(chan error, 1)
			go func() { done <- s.ListenAndServe(ctx, "udp://127.0.0.1:0") }()
			serving(t, s)
			end(s, cancel)
			must(t, receive(t, done, "the end of ListenAndServe"))
		})
	}
}

// Close ends the calls in progress, of every kind, and only this client's.
func TestCloseWithCallsInProgress(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		s := newHoldServer()
		port := w.serve(t, s.Server)
		stays := w.dial(t, port)
		c, err := w.tryDial(t, w.dialTarget(port))
		must(t, err)
		q := fastrpc.NewQueue(4)
		for range 4 {
			_, err := c.Method("hold").Go(t.Context(), nil, q)
			must(t, err)
			receive(t, s.running, "the handler")
		}
		var callers sync.WaitGroup
		for range 4 {
			callers.Go(func() {
				_, err := c.Method("hold").Call(context.Background(), nil)
				checkError(t, err, fastrpc.Canceled, fastrpc.OutcomeUnknown, "the client was closed")
			})
			receive(t, s.running, "the handler")
		}
		hangUp(t, c)
		callers.Wait()
		collect(t, q, 4, func(r fastrpc.Result) {
			checkError(t, r.Err, fastrpc.Canceled, fastrpc.OutcomeUnknown, "the client was closed")
		})
		hangUp(t, c) // once more
		_, err = c.Method("echo").Call(t.Context(), nil)
		checkError(t, err, fastrpc.Canceled, fastrpc.NotExecuted, "the client is closed")
		checkEcho(t, stays, "echo", pattern(100))
		close(s.release)
	})
}
