package fastrpc_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc"
)

// witness serves one stream at a time, and says how the handler saw it end.
func witness(s *fastrpc.Server) (ends chan error) {
	ends = make(chan error, 1)
	s.HandleStream("witness", func(st *fastrpc.ServerStream) error {
		for {
			m, err := st.Receive()
			if err != nil {
				<-st.Context().Done()
				ends <- err
				return err
			}
			m.Release()
			if err := st.Send(nil); err != nil {
				<-st.Context().Done()
				ends <- err
				return err
			}
		}
	})
	return ends
}

func TestStreamDeadline(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		s := streamServer()
		ended := witness(s)
		c := w.dial(t, w.serve(t, s))
		st, err := c.Method("witness").Stream(context.Background(), fastrpc.Timeout(time.Second))
		must(t, err)
		must(t, st.Send(nil))
		next(t, st)
		if _, err = st.Receive(); fastrpc.CodeOf(err) != fastrpc.DeadlineExceeded { // by either end's clock
			t.Errorf("the stream ends with %v", err)
		}
		if err := st.Send(nil); err != io.EOF && fastrpc.CodeOf(err) != fastrpc.DeadlineExceeded {
			t.Errorf("Send after the deadline: %v", err)
		}
		checkError(t, receive(t, ended, "the handler's end"), fastrpc.DeadlineExceeded, fastrpc.Executed, "")
	})
}

// Whoever has canceled gets no answer any more, however quick the server is.
func TestStreamEndsWithItsContext(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		c := w.dial(t, w.serve(t, streamServer()))
		for range 500 { // the server would answer at once
			ctx, cancel := context.WithCancel(context.Background())
			st, err := c.Method("sum").Stream(ctx)
			must(t, err)
			cancel()
			outcome := fastrpc.OutcomeUnknown
			if err = st.CloseSend(); fastrpc.OutcomeOf(err) == fastrpc.NotExecuted {
				outcome = fastrpc.NotExecuted // the poller had not come to open it
			}
			checkError(t, err, fastrpc.Canceled, outcome, "")
			_, err = st.Receive()
			checkError(t, err, fastrpc.Canceled, outcome, "")
			if t.Failed() {
				return
			}
		}
	})
}

func TestStreamCancel(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		s := streamServer()
		ended := witness(s)
		c := w.dial(t, w.serve(t, s))
		for name, cancels := range map[string]bool{"by its context": true, "by Close": false} {
			ctx, cancel := context.WithCancel(context.Background())
			st, err := c.Method("witness").Stream(ctx)
			must(t, err)
			must(t, st.Send(nil))
			next(t, st)
			received := make(chan error, 1)
			go func() {
				_, err := st.Receive()
				received <- err
			}()
			if cancels {
				cancel()
			} else {
				st.Close()
			}
			checkError(t, receive(t, received, "the end of Receive "+name), fastrpc.Canceled, fastrpc.OutcomeUnknown, "")
			checkError(t, st.Send(nil), fastrpc.Canceled, fastrpc.OutcomeUnknown, "")
			checkError(t, st.CloseSend(), fastrpc.Canceled, fastrpc.OutcomeUnknown, "")
			checkError(t, receive(t, ended, "the handler's end"), fastrpc.Canceled, fastrpc.Executed, "")
			if _, err := st.Header(); fastrpc.CodeOf(err) != fastrpc.OK { // a message had come, so it is known that there is none
				t.Errorf("Header: %v", err)
			}
			cancel()
		}
	})
}

// A unary handler's context ends when its caller leaves.
func TestCallerLeaves(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		s := echoServer()
		began, left := make(chan struct{}), make(chan error, 1)
		s.Handle("wait", func(_ *fastrpc.Response, r *fastrpc.Request) error {
			ctx := r.Context()
			close(began)
			<-ctx.Done()
			left <- ctx.Err()
			return ctx.Err()
		})
		c := w.dial(t, w.serve(t, s))
		ctx, cancel := context.WithCancel(context.Background())
		go func() { <-began; cancel() }()
		_, err := c.Method("wait").Call(ctx, nil)
		checkError(t, err, fastrpc.Canceled, fastrpc.OutcomeUnknown, "")
		if err := receive(t, left, "the handler's end"); err != context.Canceled {
			t.Errorf("the handler's context ended with %v", err)
		}
	})
}

// Streams that end at any moment, by either end, leave nothing that would hinder the next ones.
func TestStreamsEndAtRandom(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		s := streamServer(fastrpc.WithMaxStreams(16))
		s.HandleStream("fickle", func(st *fastrpc.ServerStream) error {
			for range rand.IntN(20) {
				m, err := st.Receive()
				if err != nil {
					return err
				}
				if err := st.Send(m.Body()); err != nil { // the message is left to the handler's end
					return err
				}
			}
			return fastrpc.Errorf(fastrpc.Aborted, "enough")
		})
		c := w.dial(t, w.serve(t, s))
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 15 {
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					st, err := c.Method([]string{"chat", "fickle"}[rand.IntN(2)]).Stream(ctx)
					if err != nil {
						t.Error(err)
						cancel()
						return
					}
					var sender sync.WaitGroup
					sender.Go(func() {
						body := pattern(1 << rand.IntN(18))
						for st.Send(body) == nil {
						}
					})
					if rand.IntN(2) == 0 {
						time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, cancel)
					}
					for left := rand.IntN(30); ; left-- {
						m, err := st.Receive()
						if err != nil {
							if c := fastrpc.CodeOf(err); c != fastrpc.Canceled && c != fastrpc.Aborted && c != fastrpc.ResourceExhausted {
								t.Errorf("a stream ended with %v", err)
							}
							break
						}
						m.Release()
						if left == 0 {
							cancel()
						}
					}
					sender.Wait()
					cancel()
				}
			})
		}
		wg.Wait()
		var open []*fastrpc.Stream
		eventually(t, func() string { // the server may still be about the last ones
			st, err := c.Method("chat").Stream(t.Context())
			must(t, err)
			_ = st.Send([]byte("x"))
			m, err := st.Receive()
			if err == nil {
				m.Release()
				open = append(open, st)
			}
			if len(open) < 16 {
				return fmt.Sprintf("%d streams could be opened: %v", len(open), err)
			}
			return ""
		})
		for _, st := range open {
			st.Close()
		}
		checkEcho(t, c, "worker", pattern(1<<20))
	})
}
