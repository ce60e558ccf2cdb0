//go:build rdma

package rdma

import (
	"context"
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
	"github.com/fastrpc/fastrpc/transport"
)

// recorder is the driver, and keeps the ports that it opens.
type recorder struct {
	mu    sync.Mutex
	ports []*port
}

func (r *recorder) keep(p transport.Port, err error) (transport.Port, error) {
	if err == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ports = append(r.ports, p.(*port))
	}
	return p, err
}

func (r *recorder) Listen(ctx context.Context, t transport.Target) (transport.Port, error) {
	return r.keep(Driver{}.Listen(ctx, t))
}

func (r *recorder) Dial(ctx context.Context, t transport.Target, remote netip.AddrPort) (transport.Port, error) {
	return r.keep(Driver{}.Dial(ctx, t, remote))
}

var recorded recorder

func init() { transport.Register("recorded", &recorded) }

// breakAll stops every queue pair of a Link, as a failing card does.
func breakAll(t *testing.T, p *port) (n int) {
	switch l := p.link.(type) {
	case *RC:
		l.notes.mu.Lock()
		defer l.notes.mu.Unlock()
		for _, c := range l.notes.byQPN {
			if err := c.qp.Fail(); err != nil {
				t.Error(err)
			}
			n++
		}
	case *UD:
		if err := l.qp.Fail(); err != nil {
			t.Error(err)
		}
		n++
	}
	return n
}

// tally counts how often each call ran.
type tally struct {
	mu  sync.Mutex
	ran map[uint64]int
}

// serveCounted serves "count", and gives a client and the ports of both.
func serveCounted(t *testing.T, settings string) (*tally, *fastrpc.Client, [2]*port) {
	t.Helper()
	recorded.ports = nil
	n := &tally{ran: map[uint64]int{}}
	srv := fastrpc.NewServer(fastrpc.WithInsecure())
	srv.HandleInline("count", func(w *fastrpc.Response, r *fastrpc.Request) error {
		n.mu.Lock()
		n.ran[binary.LittleEndian.Uint64(r.Body())]++
		n.mu.Unlock()
		_, err := w.Write(r.Body())
		return err
	})
	addr, err := srv.Listen(t.Context(), "recorded://"+rxetest.Addr+":0"+settings)
	if err != nil {
		t.Fatal(err)
	}
	c, err := fastrpc.Dial(t.Context(), "recorded://"+addr.String()+settings, fastrpc.WithInsecure())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return n, c, [2]*port{recorded.ports[0], recorded.ports[1]}
}

// Queue pairs that break under load, on either side, end no call and run none twice: the session goes on over the next.
func TestBrokenQueuePairs(t *testing.T) {
	for _, settings := range []string{"?qp=rc", "?qp=ud"} {
		t.Run(settings[1:], func(t *testing.T) {
			n, c, ports := serveCounted(t, settings)
			var next, good atomic.Uint64
			var callers sync.WaitGroup
			over := make(chan struct{})
			for range 4 {
				callers.Go(func() {
					m := c.Method("count")
					for {
						select {
						case <-over:
							return
						default:
						}
						id := next.Add(1)
						body := binary.LittleEndian.AppendUint64(make([]byte, 0, 3000), id)
						rep, err := m.Call(t.Context(), body[:8+id%2900], fastrpc.Timeout(time.Minute))
						if err != nil {
							t.Errorf("call %d: %v", id, err)
							return
						}
						rep.Release()
						good.Add(1)
					}
				})
			}
			for round := range 6 {
				for from := good.Load(); good.Load() < from+20 && !t.Failed(); {
					time.Sleep(time.Millisecond)
				}
				if breakAll(t, ports[round%2]) == 0 {
					t.Error("no queue pair to break")
				}
			}
			for from := good.Load(); good.Load() < from+20 && !t.Failed(); {
				time.Sleep(time.Millisecond)
			}
			close(over)
			callers.Wait()
			n.mu.Lock()
			defer n.mu.Unlock()
			for id, ran := range n.ran {
				if ran != 1 {
					t.Errorf("call %d ran %d times", id, ran)
				}
			}
			if uint64(len(n.ran)) != next.Load() {
				t.Errorf("%d calls of %d ran", len(n.ran), next.Load())
			}
		})
	}
}
