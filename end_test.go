package fastrpc_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc"
)

// A client is closed at every moment of the calls that several goroutines make, in every way there is. Each ends with the truth.
func TestClosedAtEveryMoment(t *testing.T) {
	const rounds = 40
	nothingLeft(t)
	w := loopback()
	l := &ledger{ran: map[uint64]int{}}
	s := echoServer()
	l.register(s)
	port := w.serve(t, s)
	for round := range rounds {
		c, err := w.tryDial(t, w.dialTarget(port))
		must(t, err)
		calls := startMixedCalls(t, c, uint64(round)<<32)
		time.Sleep(time.Duration(round) * 25 * time.Microsecond) // the moment
		hangUp(t, c)
		calls.end(t, l, fastrpc.Canceled)
	}
}

// A server is shut down at every moment of such calls: what runs is answered, what does not run is said not to have.
func TestShutDownAtEveryMoment(t *testing.T) {
	const rounds = 40
	nothingLeft(t)
	framesReturn(t, 2*rounds)
	for round := range rounds {
		w := loopback()
		w.scheme, w.listen = audited, audited+"://127.0.0.1"
		l := &ledger{ran: map[uint64]int{}}
		s := echoServer()
		l.register(s)
		c, err := w.tryDial(t, w.dialTarget(w.serve(t, s)))
		must(t, err)
		calls := startMixedCalls(t, c, 0)
		time.Sleep(time.Duration(round) * 25 * time.Microsecond) // the moment
		shutDown(t, s)
		calls.end(t, l, fastrpc.Unavailable)
		hangUp(t, c)
	}
}

// mixedCalls are made by goroutines, each until its first error.
type mixedCalls struct {
	wg    sync.WaitGroup
	mu    sync.Mutex
	ended map[uint64]error
}

func startMixedCalls(t *testing.T, c *fastrpc.Client, firstID uint64) *mixedCalls {
	calls := &mixedCalls{ended: map[uint64]error{}}
	methods := []string{"inline", "pooled", "slow"}
	for g := range 6 {
		calls.wg.Go(func() {
			m := c.Method(methods[g%3])
			for i := uint64(1); ; i++ {
				id := firstID + uint64(g)<<24 + i
				body := binary.LittleEndian.AppendUint64(nil, id)
				var rep fastrpc.Reply
				var err error
				switch g {
				case 0, 1, 2:
					rep, err = m.Call(context.Background(), body)
				case 3:
					var d fastrpc.Draft
					if d, err = m.Alloc(context.Background()); err == nil {
						rep, err = d.Call(context.Background(), copy(d.Bytes(), body))
					}
				default:
					q := fastrpc.NewQueue(1)
					if _, err = m.Go(context.Background(), body, q); err == nil {
						collect(t, q, 1, func(r fastrpc.Result) { rep, err = r.Reply, r.Err })
					}
				}
				calls.mu.Lock()
				calls.ended[id] = err
				calls.mu.Unlock()
				if err != nil {
					return
				}
				if !bytes.Equal(rep.Body(), body) {
					t.Errorf("call %x has another call's reply", id)
				}
				rep.Release()
			}
		})
	}
	return calls
}

// end waits for the goroutines and compares what they were told with what ran.
func (c *mixedCalls) end(t *testing.T, l *ledger, code fastrpc.Code) {
	t.Helper()
	done := make(chan struct{})
	go func() { c.wg.Wait(); close(done) }()
	receive(t, done, "the end of the calls")
	for id, err := range c.ended {
		n := l.count(id)
		switch {
		case n > 1, err == nil && n != 1:
			t.Errorf("call %x ran %d times: %v", id, n, err)
		case err == nil:
		case fastrpc.OutcomeOf(err) == fastrpc.NotExecuted && n != 0:
			t.Errorf("call %x ran, and ended as not executed: %v", id, err)
		case fastrpc.CodeOf(err) != code:
			t.Errorf("call %x ended by %v, want %v", id, err, code)
		}
	}
}

// A collector that gives up waiting loses nothing: the calls can be collected later.
func TestQueueWaitGivenUp(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		s := newHoldServer()
		c := w.dial(t, w.serve(t, s.Server))
		q := fastrpc.NewQueue(4)
		for range 4 {
			_, err := c.Method("hold").Go(t.Context(), []byte("x"), q)
			must(t, err)
			receive(t, s.running, "the handler")
		}
		for i := range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*20*time.Microsecond)
			n, err := q.Wait(ctx, make([]fastrpc.Result, 4))
			cancel()
			if n != 0 {
				t.Fatalf("%d calls ended before their handlers", n)
			}
			checkError(t, err, fastrpc.DeadlineExceeded, fastrpc.OutcomeUnknown, "deadline")
		}
		if q.Open() != 4 {
			t.Errorf("%d calls are open, want 4", q.Open())
		}
		close(s.release)
		collect(t, q, 4, func(r fastrpc.Result) { must(t, r.Err); r.Reply.Release() })
	})
}
