package fastrpc_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/codec"
)

// diary notes what passes, from any goroutine.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *diary) check(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.lines, want) {
		t.Errorf("it happened\n%q\nwant\n%q", d.lines, want)
	}
	d.lines = nil
}

func TestInterceptors(t *testing.T) {
	nothingLeft(t)
	var d diary
	type key struct{}
	onServer := func(name string) (fastrpc.Option, fastrpc.Option) {
		return fastrpc.WithHandlerInterceptors(func(w *fastrpc.Response, r *fastrpc.Request, next fastrpc.Handler) error {
				d.note("%s %s", name, r.Method())
				r.SetContext(context.WithValue(r.Context(), key{}, name))
				return next(w, r)
			}), fastrpc.WithStreamHandlerInterceptors(func(st *fastrpc.ServerStream, next fastrpc.StreamHandler) error {
				st.Intercept(fastrpc.StreamHooks{
					Send: func(body []byte, next func([]byte) error) error { d.note("%s sends %s", name, body); return next(body) },
					Receive: func(next func() (fastrpc.Message, error)) (fastrpc.Message, error) {
						d.note("%s receives", name)
						return next()
					},
				})
				return next(st)
			})
	}
	onClient := func(name string) (fastrpc.Option, fastrpc.Option) {
		return fastrpc.WithCallInterceptors(func(ctx context.Context, m *fastrpc.Method, payload []byte, next fastrpc.CallFunc, opts ...fastrpc.CallOption) (fastrpc.Reply, error) {
				d.note("%s calls %s", name, m.Name())
				return next(ctx, m, append(slices.Clone(payload), name...), opts...)
			}), fastrpc.WithStreamInterceptors(func(ctx context.Context, m *fastrpc.Method, next fastrpc.StreamFunc, opts ...fastrpc.CallOption) (*fastrpc.Stream, error) {
				st, err := next(ctx, m, opts...)
				if err == nil {
					st.Intercept(fastrpc.StreamHooks{
						Send: func(body []byte, next func([]byte) error) error { return next(append(slices.Clone(body), name...)) },
					})
				}
				return st, err
			})
	}
	a, b := onServer("A")
	x, y := onServer("B")
	s := fastrpc.NewServer(insecure, a, b, x, y)
	s.Handle("worker", func(w *fastrpc.Response, r *fastrpc.Request) error {
		d.note("context of %v", r.Context().Value(key{}))
		return echo(w, r)
	})
	s.HandleStream("chat", func(st *fastrpc.ServerStream) error {
		m, err := st.Receive()
		if err != nil {
			return err
		}
		defer m.Release()
		return st.Send(m.Body())
	})
	w := loopback()
	a, b = onClient("c")
	x, y = onClient("d")
	c := w.dial(t, w.serve(t, s), a, b, x, y)

	rep, err := c.Method("worker").Call(t.Context(), []byte("-"))
	must(t, err)
	if string(rep.Body()) != "-cd" {
		t.Errorf("got %q", rep.Body())
	}
	rep.Release()
	d.check(t, "c calls worker", "d calls worker", "A worker", "B worker", "context of B")

	draft, err := c.Method("worker").Alloc(t.Context())
	must(t, err)
	rep, err = draft.Call(t.Context(), copy(draft.Bytes(), "draft "))
	must(t, err)
	if string(rep.Body()) != "draft cd" {
		t.Errorf("got %q", rep.Body())
	}
	rep.Release()
	d.check(t, "c calls worker", "d calls worker", "A worker", "B worker", "context of B")

	st := open(t, c, "chat")
	must(t, st.Send([]byte("-")))
	if got := next(t, st); string(got) != "-cd" {
		t.Errorf("got %q", got)
	}
	ends(t, st)
	d.check(t, "B receives", "A receives", "B sends -cd", "A sends -cd")
}

func TestTyped(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		type (
			number = wrapperspb.Int64Value
		)
		p := codec.Proto{}
		s := fastrpc.NewServer(insecure)
		fastrpc.Register(s, "double", p, func(ctx context.Context, n *number) (*number, error) {
			if n.Value < 0 {
				return nil, fastrpc.Errorf(fastrpc.OutOfRange, "%d is negative", n.Value)
			}
			r, w, ok := fastrpc.FromContext(ctx)
			if !ok {
				return nil, fastrpc.Errorf(fastrpc.Internal, "no call in the context")
			}
			w.SetTrailer(r.Header())
			return wrapperspb.Int64(2 * n.Value), nil
		})
		fastrpc.RegisterServerStream(s, "count", p, func(n *number, st *fastrpc.TypedServerStream[number, number]) error {
			for i := range n.Value {
				if err := st.Send(wrapperspb.Int64(i)); err != nil {
					return err
				}
			}
			return nil
		})
		fastrpc.RegisterClientStream(s, "sum", p, func(st *fastrpc.TypedServerStream[number, number]) (*number, error) {
			sum := &number{}
			for {
				n, err := st.Receive()
				if err == io.EOF {
					return sum, nil
				}
				if err != nil {
					return nil, err
				}
				sum.Value += n.Value
			}
		})
		fastrpc.Register(s, "json", codec.JSON{}, func(_ context.Context, m *map[string]int) (*map[string]int, error) { return m, nil })
		fastrpc.Register(s, "raw", codec.Raw{}, func(_ context.Context, b *[]byte) (*[]byte, error) { return b, nil })
		c := w.dial(t, w.serve(t, s))
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()

		n, err := fastrpc.Invoke[number, number](ctx, c.Method("double"), p, wrapperspb.Int64(21), fastrpc.Header(fastrpc.Metadata{"x": {"y"}}))
		if err != nil || n.Value != 42 {
			t.Errorf("double: %v, %v", n, err)
		}
		_, err = fastrpc.Invoke[number, number](ctx, c.Method("double"), p, wrapperspb.Int64(-1))
		checkError(t, err, fastrpc.OutOfRange, fastrpc.Executed, "negative")
		_, err = fastrpc.Invoke[[]byte, number](ctx, c.Method("double"), codec.Raw{}, &[]byte{0xff})
		checkError(t, err, fastrpc.Internal, fastrpc.Executed, "proto")

		down, err := fastrpc.OpenStream[number, number](ctx, c.Method("count"), p)
		must(t, err)
		must(t, down.Send(wrapperspb.Int64(100)))
		must(t, down.CloseSend())
		for i := range int64(100) {
			if n, err := down.Receive(); err != nil || n.Value != i {
				t.Fatalf("number %d is %v, %v", i, n, err)
			}
		}
		if _, err := down.Receive(); err != io.EOF {
			t.Errorf("the stream ends with %v", err)
		}

		up, err := fastrpc.OpenStream[number, number](ctx, c.Method("sum"), p)
		must(t, err)
		for i := range int64(100) {
			must(t, up.Send(wrapperspb.Int64(i)))
		}
		if n, err := up.CloseAndReceive(); err != nil || n.Value != 4950 {
			t.Errorf("sum: %v, %v", n, err)
		}

		m, err := fastrpc.Invoke[map[string]int, map[string]int](ctx, c.Method("json"), codec.JSON{}, &map[string]int{"a": 1})
		if err != nil || (*m)["a"] != 1 {
			t.Errorf("json: %v, %v", m, err)
		}
		for _, size := range []int{0, 100, 1400, 100_000} {
			body := pattern(size)
			if b, err := fastrpc.Invoke[[]byte, []byte](ctx, c.Method("raw"), codec.Raw{}, &body); err != nil || !bytes.Equal(*b, body) {
				t.Errorf("%d raw bytes came back as others, %v", size, err)
			}
		}
	})
}
