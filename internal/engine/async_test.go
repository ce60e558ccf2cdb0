package engine

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// kickLink counts the bursts that leave: Flushes with something to send.
type kickLink struct {
	transport.Link
	kicks  atomic.Int64
	queued bool
}

func (l *kickLink) Send(fs []transport.Frame) (int, error) {
	l.queued = l.queued || len(fs) > 0
	return l.Link.Send(fs)
}

func (l *kickLink) Flush() error {
	if l.queued {
		l.kicks.Add(1)
	}
	l.queued = false
	return l.Link.Flush()
}

// mirror answers every request with its body.
type mirror struct{}

func (mirror) Serve(now transport.Time, k *session.Call) {
	k.ReplyBytes(now, 0, session.Executed, k.Body())
}
func (mirror) Gone(*session.Call) {}

// pair returns a session between two engines.
func pair(t testing.TB, wrap func(transport.Link) transport.Link, h Handler) *Conn {
	t.Helper()
	a, b := sim.Pipe(sim.LinkOptions{})
	server, err := Acquire(b, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listen(9000, h); err != nil {
		t.Fatal(err)
	}
	client, err := Acquire(wrap(a), Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	c, err := client.Dial(t.Context(), netip.AddrPortFrom(a.Addr().Addr(), 8000), netip.AddrPortFrom(b.Addr().Addr(), 9000))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func begin(t testing.TB, c *Conn, q *Completions, n int) {
	t.Helper()
	for range n {
		if _, err := c.Go(transport.Now(), q, 1, []byte("a call"), false, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func collectAll(t testing.TB, q *Completions) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out := make([]Completion, 64)
	for q.Open() > 0 {
		n, err := q.Wait(ctx, out)
		if err != nil {
			t.Fatalf("%d calls are open: %v", q.Open(), err)
		}
		for _, c := range out[:n] {
			if c.Err != nil || c.Call.Err() != nil || string(c.Call.Body()) != "a call" {
				t.Fatalf("call %d ended by %v, %v", c.ID, c.Err, c.Call)
			}
			c.Engine.Release(c.Call)
		}
	}
}

// unsent counts the calls that wait for company.
func unsent(e *Engine) int {
	for !e.token.acquire() {
	}
	defer e.release()
	return e.batched
}

// The first call leaves at once; the next ones wait for Flush, or for a full batch.
func TestCallsGather(t *testing.T) {
	requests := make(silence, 1024)
	link := &kickLink{}
	c := pair(t, func(l transport.Link) transport.Link { link.Link = l; return link }, requests)
	e, q := c.Engine(), NewCompletions(1024)
	for !e.token.acquire() { // the keeper stays out of it
	}
	e.now = transport.Now()
	q.open.Store(1)
	q.join(e)
	q.open.Store(0)
	start := func(n int) {
		for range n {
			w := newWaiter(c, q)
			w.id, w.method, w.body = q.next.Add(1), 1, []byte("a call")
			q.open.Add(1)
			e.begin(w, e.now)
		}
	}
	for _, step := range []struct {
		calls int
		kicks bool
		left  int
	}{{1, true, 0}, {10, false, 10}, {batchCalls - 11, false, batchCalls - 1}, {1, true, 0}, {3, false, 3}} {
		before := link.kicks.Load()
		start(step.calls)
		if kicked := link.kicks.Load() > before; kicked != step.kicks || e.batched != step.left || e.batch() != (step.left > 0) {
			t.Errorf("after %d more calls: sent %v, %d wait, want %v and %d", step.calls, kicked, e.batched, step.kicks, step.left)
		}
	}
	e.token.free()
	q.Flush()
	if unsent(e) != 0 || e.batch() {
		t.Error("calls wait after Flush")
	}
	for range 1 + batchCalls + 3 {
		<-requests
	}
}

// What is begun and neither flushed nor collected leaves all the same, also while more is begun.
func TestBatchLeavesByItself(t *testing.T) {
	requests := make(silence, 1024)
	c := pair(t, func(l transport.Link) transport.Link { return l }, requests)
	q := NewCompletions(1024)
	begin(t, c, q, 2)
	<-requests
	<-requests
	begin(t, c, q, 1)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); { // not quiet: the keeper sees that the token changes hands
		select {
		case <-requests:
			return
		case <-time.After(time.Millisecond):
			unsent(c.Engine())
		}
	}
	t.Error("the call has not left")
}

// Many goroutines begin, one collects: every call comes, once.
func TestManyBeginOneCollects(t *testing.T) {
	c := pair(t, func(l transport.Link) transport.Link { return l }, mirror{})
	q := NewCompletions(64)
	const goroutines, each = 8, 500
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for n := 0; n < each; {
				if _, err := c.Go(transport.Now(), q, 1, []byte("a call"), false, 0); err == nil {
					n++
				} else if err == errQueueFull {
					runtime.Gosched()
				} else {
					t.Error(err)
					return
				}
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	seen, out := map[uint64]bool{}, make([]Completion, 32)
	for len(seen) < goroutines*each {
		n, err := q.Wait(ctx, out)
		if err != nil {
			t.Fatalf("after %d calls: %v", len(seen), err)
		}
		for _, c := range out[:n] {
			if c.Err != nil || c.Call.Err() != nil || seen[c.ID] {
				t.Errorf("call %d ended by %v, by %v, or came before: %v", c.ID, c.Err, c.Call.Err(), seen[c.ID])
			}
			seen[c.ID] = true
			c.Engine.Release(c.Call)
		}
	}
	wg.Wait()
}

// A lone caller, who waits for its reply, and a collector get along on one engine.
func TestCollectorBesideCallers(t *testing.T) {
	c := pair(t, func(l transport.Link) transport.Link { return l }, mirror{})
	q := NewCompletions(16)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range 300 {
				k, err := c.Call(context.Background(), transport.Now(), 1, []byte("alone"), false, 0)
				if err != nil || k.Err() != nil {
					t.Errorf("%v, %v", err, k)
					return
				}
				c.Engine().Release(k)
			}
		})
	}
	for range 300 {
		begin(t, c, q, 5)
		collectAll(t, q)
	}
	wg.Wait()
	if e := c.Engine(); e.collectors.Load() != 0 || e.wanted.Load() != 0 {
		t.Errorf("%d collectors count as parked, %d as waiting for the token", e.collectors.Load(), e.wanted.Load())
	}
}

// A queue with calls over several engines collects them all, also the one whose engine was not the last.
func TestCompletionsOfSeveralEngines(t *testing.T) {
	plain := func(l transport.Link) transport.Link { return l }
	conns := []*Conn{pair(t, plain, mirror{}), pair(t, plain, mirror{}), pair(t, plain, mirror{})}
	q := NewCompletions(64)
	for round := range 50 {
		for i, c := range conns {
			begin(t, c, q, 1+(round+i)%5)
		}
		if n := len(*q.engines.Load()); n != len(conns) {
			t.Fatalf("the queue knows %d engines, want %d", n, len(conns))
		}
		collectAll(t, q)
		begin(t, conns[round%3], q, 2) // alone again
		if es := *q.engines.Load(); len(es) != 1 || es[0] != conns[round%3].Engine() {
			t.Fatalf("the queue knows %d engines, want the only one that has calls", len(es))
		}
		collectAll(t, q)
	}
}

// Whoever collects when the engine stops gets every call, and then an error.
func TestEngineStopsUnderACollector(t *testing.T) {
	c, link, _ := silentServer(t, Config{})
	other := pair(t, func(l transport.Link) transport.Link { return l }, mirror{})
	q := NewCompletions(16)
	begin(t, c, q, 5)
	begin(t, other, q, 3)
	go link.close()
	ended, out := 0, make([]Completion, 16)
	for ended < 8 {
		n, err := q.Wait(t.Context(), out)
		if err != nil {
			t.Fatalf("after %d calls: %v", ended, err)
		}
		for _, x := range out[:n] {
			if failed := x.Err != nil || x.Call.Err() != nil; failed != (x.Engine == c.Engine()) {
				t.Errorf("a call ended by %v, %v", x.Err, x.Call)
			}
			if x.Err == nil {
				x.Engine.Release(x.Call)
			}
		}
		ended += n
	}
	q = NewCompletions(1)
	if _, err := c.Go(transport.Now(), q, 1, nil, false, 0); err == nil || err.Code != session.Canceled {
		t.Errorf("a call over an engine that has stopped: %v", err)
	}
	if _, err := q.Wait(t.Context(), out); !errors.Is(err, errStopped) {
		t.Errorf("collecting at an engine that has stopped: %v", err)
	}
}
