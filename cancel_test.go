package fastrpc_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc"
)

// ledger counts how often each call's handler ran.
type ledger struct {
	mu  sync.Mutex
	ran map[uint64]int
}

func (l *ledger) handler(w *fastrpc.Response, r *fastrpc.Request) error {
	l.mu.Lock()
	l.ran[binary.LittleEndian.Uint64(r.Body())]++
	l.mu.Unlock()
	return echo(w, r)
}

func (l *ledger) count(id uint64) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ran[id]
}

// register adds a method of each kind; the slow one still runs when a caller that has to wait for its turn on a processor gives up.
func (l *ledger) register(s *fastrpc.Server) {
	s.HandleInline("inline", l.handler)
	s.Handle("pooled", l.handler)
	s.Handle("slow", func(w *fastrpc.Response, r *fastrpc.Request) error {
		time.Sleep(lastMoment / 2)
		return l.handler(w, r)
	})
}

// A caller gives up at every moment of its call: before it is sent, while it polls for itself, while another polls for it, while the reply
// is on its way. It is told what is true; the others notice nothing; and no frame is lost, of which there are so few that each would be missed.
func TestCanceledAtEveryMoment(t *testing.T) {
	for _, others := range []int{0, 4} {
		for _, bytes := range []int{8, 20_000} {
			t.Run(fmt.Sprintf("%d others, %d bytes", others, bytes), func(t *testing.T) {
				nothingLeft(t)
				framesReturn(t, 2)
				w := loopback()
				w.scheme, w.listen, w.query = audited, audited+"://127.0.0.1", "?frames=256"
				l := &ledger{ran: map[uint64]int{}}
				s := echoServer()
				l.register(s)
				port := w.serve(t, s)
				c := w.dial(t, port)
				stop := callBusily(t, c, others)
				cancelAtEveryMoment(t, c, l, bytes)
				stop()
				for range 1000 {
					checkEcho(t, c, "worker", pattern(bytes))
				}
			})
		}
	}
}

func TestCanceledAtEveryMomentOverXDP(t *testing.T) {
	nothingLeft(t)
	w := cabled(t, 1)
	w.query = "?frames=256"
	l := &ledger{ran: map[uint64]int{}}
	s := echoServer()
	l.register(s)
	c := w.dial(t, w.serve(t, s))
	stop := callBusily(t, c, 2)
	cancelAtEveryMoment(t, c, l, 8)
	stop()
	for range 1000 {
		checkEcho(t, c, "worker", pattern(20_000))
	}
}

// lastMoment is longer than a call takes, on a machine with a processor to spare.
const lastMoment = 250 * time.Microsecond

func cancelAtEveryMoment(t *testing.T, c *fastrpc.Client, l *ledger, bytes int) {
	t.Helper()
	const step = 500 * time.Nanosecond
	ended := map[uint64]error{}
	body := pattern(bytes)
	canceled, well := 0, 0
	for delay := time.Duration(0); delay < lastMoment; delay += step {
		m := c.Method([]string{"inline", "pooled", "slow"}[len(ended)%3])
		id := uint64(len(ended) + 1)
		binary.LittleEndian.PutUint64(body, id)
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			for since := time.Now(); time.Since(since) < delay; {
				runtime.Gosched()
			}
			cancel()
		}()
		rep, err := m.Call(ctx, body)
		cancel()
		ended[id] = err
		switch fastrpc.CodeOf(err) {
		case fastrpc.OK:
			if got := rep.Body(); len(got) != bytes || binary.LittleEndian.Uint64(got) != id {
				t.Fatalf("call %d has another call's reply", id)
			}
			well++
			rep.Release()
		case fastrpc.Canceled:
			canceled++
		default:
			t.Fatalf("canceled after %v: %v", delay, err)
		}
	}
	// What was sent before this has been received before it.
	checkEcho(t, c, "echo", nil)
	checkEcho(t, c, "worker", nil)
	unknown := 0
	for id, err := range ended {
		n := l.count(id)
		switch outcome := fastrpc.OutcomeOf(err); {
		case n > 1, err == nil && n != 1:
			t.Errorf("call %d ran %d times: %v", id, n, err)
		case err == nil:
		case outcome == fastrpc.NotExecuted && n != 0:
			t.Errorf("call %d ran, and ended as not executed: %v", id, err)
		case outcome == fastrpc.OutcomeUnknown:
			unknown++
		case outcome == fastrpc.Executed:
			t.Errorf("call %d ended as executed: %v", id, err)
		}
	}
	t.Logf("%d ended well, %d canceled, of which %d unknown", well, canceled, unknown)
	if unknown == 0 {
		t.Error("no call was canceled on its way")
	}
}

// callBusily lets goroutines call until stop, which fails the test when any call did.
func callBusily(t *testing.T, c *fastrpc.Client, goroutines int) (stop func()) {
	t.Helper()
	var over atomic.Bool
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			m := c.Method([]string{"echo", "worker"}[g%2])
			for i := 0; !over.Load(); i++ {
				want := fmt.Sprintf("%d/%d", g, i)
				rep, err := m.Call(context.Background(), []byte(want), fastrpc.Timeout(patience))
				if err != nil {
					t.Errorf("another's call: %v", err)
					return
				}
				if string(rep.Body()) != want {
					t.Errorf("another's call: got %q, want %q", rep.Body(), want)
				}
				rep.Release()
			}
		})
	}
	return func() {
		over.Store(true)
		wg.Wait()
	}
}

// A dial that is given up at every moment leaves nothing, and the server serves on.
func TestDialCanceledAtEveryMoment(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		port := w.serve(t, echoServer())
		stays := w.dial(t, port)
		const steps = 40
		for i := range steps {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*50*time.Microsecond)
			must(t, w.atClient(func() error {
				c, err := fastrpc.Dial(ctx, w.dialTarget(port), insecure)
				if err == nil {
					return c.Close()
				}
				checkError(t, err, fastrpc.DeadlineExceeded, fastrpc.NotExecuted, "deadline")
				return nil
			}))
			cancel()
		}
		checkEcho(t, stays, "echo", pattern(100))
		checkEcho(t, w.dial(t, port), "worker", pattern(10_000))
	})
}
