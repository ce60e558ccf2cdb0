package fastrpc_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc"
)

// What the caller allows is what the handler sees, by whichever way it is said; of two, the earlier counts.
func TestDeadlineTravels(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		type seen struct {
			left time.Duration
			has  bool
		}
		deadlines := make(chan seen, 1)
		look := func(_ *fastrpc.Response, r *fastrpc.Request) error {
			at, has := r.Deadline()
			ctxAt, ctxHas := r.Context().Deadline()
			if has != ctxHas || has && ctxAt.Sub(at).Abs() > time.Second {
				t.Errorf("Deadline says %v, %v; Context %v, %v", at, has, ctxAt, ctxHas)
			}
			deadlines <- seen{time.Until(at), has}
			return nil
		}
		s := fastrpc.NewServer(insecure)
		s.HandleInline("inline", look)
		s.Handle("worker", look)
		c := w.dial(t, w.serve(t, s))
		for _, method := range []string{"inline", "worker"} {
			m := c.Method(method)
			call := func(ctx context.Context, opts ...fastrpc.CallOption) seen {
				t.Helper()
				rep, err := m.Call(ctx, nil, opts...)
				must(t, err)
				rep.Release()
				return receive(t, deadlines, "the handler")
			}
			within := func(got seen, limit time.Duration) {
				t.Helper()
				if !got.has || got.left > limit || got.left < limit-patience {
					t.Errorf("%s: %v left of %v (%v)", method, got.left, limit, got.has)
				}
			}
			if got := call(context.Background()); got.has {
				t.Errorf("%s: a call without a deadline came with %v left", method, got.left)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
			within(call(ctx), 10*time.Minute)
			within(call(context.Background(), fastrpc.Timeout(5*time.Minute)), 5*time.Minute)
			within(call(ctx, fastrpc.Timeout(5*time.Minute)), 5*time.Minute)
			within(call(ctx, fastrpc.Timeout(20*time.Minute)), 10*time.Minute)
			cancel()
		}
	})
}

// A request whose deadline passes while it waits for a worker is not begun.
func TestDeadlinePassesInTheQueue(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		s := fastrpc.NewServer(insecure, fastrpc.WithWorkers(1, 10))
		busy, release := make(chan struct{}), make(chan struct{})
		s.Handle("hold", func(*fastrpc.Response, *fastrpc.Request) error {
			close(busy)
			<-release
			return nil
		})
		var ran atomic.Int32
		s.Handle("count", func(*fastrpc.Response, *fastrpc.Request) error {
			ran.Add(1)
			return nil
		})
		c := w.dial(t, w.serve(t, s))
		queue := fastrpc.NewQueue(4)
		count := c.Method("count")
		rep, err := count.Call(t.Context(), nil) // binds it
		must(t, err)
		rep.Release()
		_, err = c.Method("hold").Go(t.Context(), nil, queue)
		must(t, err)
		receive(t, busy, "the first handler")

		for timeout := 20 * time.Millisecond; timeout < patience; timeout *= 2 {
			if _, err = count.Call(t.Context(), nil, fastrpc.Timeout(timeout)); fastrpc.OutcomeOf(err) != fastrpc.NotExecuted {
				break // otherwise it was not even sent before
			}
		}
		checkError(t, err, fastrpc.DeadlineExceeded, fastrpc.OutcomeUnknown, "deadline") // the client cannot know
		_, err = count.Go(t.Context(), nil, queue, fastrpc.Timeout(patience))
		must(t, err)
		close(release)
		collect(t, queue, 2, func(r fastrpc.Result) { must(t, r.Err); r.Reply.Release() })
		if n := ran.Load(); n != 2 { // the one before, and the one behind
			t.Errorf("the handler ran %d times, want 2", n)
		}
	})
}

// collect takes n results off a queue.
func collect(t testing.TB, q *fastrpc.Queue, n int, f func(fastrpc.Result)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	results := make([]fastrpc.Result, 16)
	for n > 0 {
		got, err := q.Wait(ctx, results[:min(n, len(results))])
		if err != nil {
			t.Fatalf("%d results are missing: %v", n, err)
		}
		for _, r := range results[:got] {
			f(r)
		}
		n -= got
	}
}

// A handler that takes too long: the client ends at its deadline, not knowing; the handler's context ends as well; the session goes on.
func TestSlowHandlerMeetsTheDeadline(t *testing.T) {
	const allowed = 500 * time.Millisecond // enough for the request to get to its handler, on a machine that has others to run
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		s := echoServer()
		ended, release := make(chan error, 1), make(chan struct{})
		s.Handle("slow", func(_ *fastrpc.Response, r *fastrpc.Request) error {
			ctx := r.Context()
			select {
			case <-ctx.Done():
			case <-time.After(patience):
			}
			ended <- ctx.Err()
			<-release // until the client has found out by itself
			return ctx.Err()
		})
		c := w.dial(t, w.serve(t, s))
		for _, ask := range []func() error{
			func() error {
				_, err := c.Method("slow").Call(context.Background(), nil, fastrpc.Timeout(allowed))
				return err
			},
			func() error {
				ctx, cancel := context.WithTimeout(context.Background(), allowed)
				defer cancel()
				_, err := c.Method("slow").Call(ctx, nil)
				return err
			},
		} {
			began := time.Now()
			err := ask()
			checkError(t, err, fastrpc.DeadlineExceeded, fastrpc.OutcomeUnknown, "deadline")
			if took := time.Since(began); took < allowed || took > patience/2 {
				t.Errorf("it took %v", took)
			}
			if got := receive(t, ended, "the handler's end"); !errors.Is(got, context.DeadlineExceeded) {
				t.Errorf("the handler's context ended by %v", got)
			}
		}
		close(release)
		checkEcho(t, c, "echo", pattern(100))
	})
}
