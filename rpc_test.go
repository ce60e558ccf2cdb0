package fastrpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc"
	_ "github.com/fastrpc/fastrpc/transport/tcp"
	_ "github.com/fastrpc/fastrpc/transport/udp"
)

// start serves the methods that most tests call, and dials.
func start(t testing.TB, opts ...fastrpc.Option) (*fastrpc.Server, *fastrpc.Client) {
	t.Helper()
	opts = append([]fastrpc.Option{fastrpc.WithInsecure()}, opts...)
	s := fastrpc.NewServer(opts...)
	echo := func(w *fastrpc.Response, r *fastrpc.Request) error {
		_, err := w.Write(r.Body())
		return err
	}
	s.HandleInline("echo", echo)
	s.Handle("worker", echo)
	addr, err := s.Listen(t.Context(), "udp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
	return s, dial(t, fmt.Sprintf("udp://127.0.0.1:%d", addr.Port()), opts...)
}

func dial(t testing.TB, target string, opts ...fastrpc.Option) *fastrpc.Client {
	t.Helper()
	c, err := fastrpc.Dial(t.Context(), target, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

func TestCall(t *testing.T) {
	_, c := start(t)
	for _, method := range []string{"echo", "worker"} {
		m := c.Method(method)
		for _, n := range []int{0, 1, 64, 1400, 1500, 10_000, 1 << 20, 16 << 20} {
			rep, err := m.Call(t.Context(), pattern(n))
			if err != nil {
				t.Fatalf("%s of %d bytes: %v", method, n, err)
			}
			if !bytes.Equal(rep.Body(), pattern(n)) {
				t.Errorf("%s of %d bytes came back as other %d bytes", method, n, len(rep.Body()))
			}
			rep.Release()
		}
	}
}

func TestUnknownMethod(t *testing.T) {
	_, c := start(t)
	_, err := c.Method("nothing").Call(t.Context(), nil)
	var e *fastrpc.Error
	if !errors.As(err, &e) || e.Code != fastrpc.Unimplemented || e.Outcome != fastrpc.NotExecuted {
		t.Errorf("got %v", err)
	}
}

func TestConcurrentCallers(t *testing.T) {
	_, c := start(t)
	var wg sync.WaitGroup
	for g := range 64 {
		wg.Go(func() {
			m := c.Method([]string{"echo", "worker"}[g%2])
			for i := range 200 {
				want := fmt.Appendf(nil, "%d/%d", g, i)
				rep, err := m.Call(context.Background(), want, fastrpc.Timeout(patience))
				if err != nil {
					t.Errorf("call %s: %v", want, err)
					return
				}
				if !bytes.Equal(rep.Body(), want) {
					t.Errorf("got %q, want %q", rep.Body(), want)
				}
				rep.Release()
			}
		})
	}
	wg.Wait()
}

func BenchmarkCallUDP(b *testing.B) {
	for _, method := range []string{"echo", "worker"} {
		b.Run(method, func(b *testing.B) {
			_, c := start(b)
			m := c.Method(method)
			body := make([]byte, 64)
			b.ReportAllocs()
			for b.Loop() {
				rep, err := m.Call(context.Background(), body, fastrpc.Timeout(time.Second))
				if err != nil {
					b.Fatal(err)
				}
				rep.Release()
			}
		})
	}
}

func TestAsynchronous(t *testing.T) {
	t.Run("Wait", func(t *testing.T) {
		asynchronous(t, func(q *fastrpc.Queue, results []fastrpc.Result) int {
			n, err := q.Wait(t.Context(), results)
			if err != nil {
				t.Fatal(err)
			}
			return n
		})
	})
	t.Run("Poll", func(t *testing.T) { // alone: nobody else may need to see to timers, acknowledgements and frames
		asynchronous(t, (*fastrpc.Queue).Poll)
	})
}

func asynchronous(t *testing.T, look func(*fastrpc.Queue, []fastrpc.Result) int) {
	_, c := start(t)
	q := fastrpc.NewQueue(64)
	m := c.Method("echo")
	payloads := map[uint64][]byte{}
	results := make([]fastrpc.Result, 16)
	collect := func() {
		for _, r := range results[:look(q, results)] {
			if r.Err != nil {
				t.Fatalf("call %d: %v", r.ID, r.Err)
			}
			if want, ok := payloads[r.ID]; !ok || !bytes.Equal(r.Reply.Body(), want) {
				t.Errorf("call %d came back as %d bytes, or twice", r.ID, len(r.Reply.Body()))
			}
			delete(payloads, r.ID)
			r.Reply.Release()
		}
	}
	for i := range 1000 {
		for q.Open() == 64 {
			collect()
		}
		body := pattern(i * 3)
		id, err := m.Go(t.Context(), body, q)
		if err != nil {
			t.Fatal(err)
		}
		payloads[id] = body
	}
	for q.Open() > 0 {
		collect()
	}
	if len(payloads) != 0 {
		t.Errorf("%d calls were never collected", len(payloads))
	}
}

func TestQueueFull(t *testing.T) {
	_, c := start(t)
	q := fastrpc.NewQueue(1)
	m := c.Method("echo")
	if _, err := m.Go(t.Context(), nil, q); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Go(t.Context(), nil, q); fastrpc.CodeOf(err) != fastrpc.ResourceExhausted || fastrpc.OutcomeOf(err) != fastrpc.NotExecuted {
		t.Errorf("got %v", err)
	}
}

func TestBuildInPlace(t *testing.T) {
	_, c := start(t)
	m := c.Method("echo")
	for range 10_000 { // more than there are frames: each is given back
		d, err := m.Alloc(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		d.Discard()
	}
	d, err := m.Alloc(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rep, err := d.Call(t.Context(), copy(d.Bytes(), "built in place"))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(rep.Body()); got != "built in place" {
		t.Errorf("got %q", got)
	}
	rep.Release()
}

func TestReleasedTwice(t *testing.T) {
	_, c := start(t)
	rep, err := c.Method("echo").Call(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	rep.Release()
	for name, f := range map[string]func(){"Release": rep.Release, "Body": func() { rep.Body() }} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s after Release did not panic", name)
				}
			}()
			f()
		}()
	}
}

// TestCallAllocatesNothing covers both sides: the server is in this process.
func TestCallAllocatesNothing(t *testing.T) {
	_, c := start(t)
	m := c.Method("echo")
	body := make([]byte, 64)
	call := func() {
		rep, err := m.Call(context.Background(), body, fastrpc.Timeout(patience))
		if err != nil {
			t.Fatal(err)
		}
		rep.Release()
	}
	for range 2000 {
		call()
	}
	if n := testing.AllocsPerRun(2000, call); n != 0 {
		t.Errorf("%v allocations a call, want none", n)
	}
}
