package fastrpc_test

import (
	"errors"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc"
)

// Who only ever polls is told of a deadline that passes, too: nobody else looks at the timers meanwhile.
func TestPollSeesDeadlines(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		s := fastrpc.NewServer(insecure)
		release := make(chan struct{})
		s.Handle("hold", func(*fastrpc.Response, *fastrpc.Request) error {
			<-release
			return nil
		})
		c := w.dial(t, w.serve(t, s))
		defer close(release)
		queue, results := fastrpc.NewQueue(4), make([]fastrpc.Result, 4)
		if n := queue.Poll(results); n != 0 {
			t.Fatalf("%d calls ended of none", n)
		}
		_, err := c.Method("hold").Go(t.Context(), nil, queue, fastrpc.Timeout(20*time.Millisecond))
		must(t, err)
		for end := time.Now().Add(patience); ; {
			if n := queue.Poll(results); n == 1 {
				var e *fastrpc.Error
				if err := results[0].Err; !errors.As(err, &e) || e.Code != fastrpc.DeadlineExceeded {
					t.Errorf("%v, want DeadlineExceeded", err)
				}
				return
			}
			if time.Now().After(end) {
				t.Fatal("the deadline has passed unnoticed")
			}
		}
	})
}

// Polling allocates nothing, whether calls have ended or not.
func TestPollAllocates(t *testing.T) {
	_, c := start(t)
	queue, results := fastrpc.NewQueue(4), make([]fastrpc.Result, 4)
	m := c.Method("echo")
	call := func() {
		if _, err := m.Go(t.Context(), nil, queue); err != nil {
			t.Fatal(err)
		}
		for queue.Poll(results) == 0 {
		}
		results[0].Reply.Release()
	}
	for range 100 {
		call()
	}
	if n := testing.AllocsPerRun(1000, call); n > 0.5 { // the runtime's own now and then
		t.Errorf("%v allocations a call", n)
	}
}
