//go:build rdma

package rdma

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	verbs "github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/transport"
)

// events are what a Link has to say; its owner writes them, and a goroutine that waits for the device's.
type events struct {
	mu      sync.Mutex
	waiting []transport.Event
	any     atomic.Bool
	dropped atomic.Uint64
	limit   int // of those waiting
	cancel  context.CancelFunc
	ended   sync.WaitGroup
}

// deviceEvents may wait until the owner asks, beside those about connections.
const deviceEvents = 16

// Events implements transport.Link.
func (l *card) Events(es []transport.Event) int {
	e := &l.events
	if !e.any.Load() {
		return 0
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	n := copy(es, e.waiting)
	e.waiting = e.waiting[:copy(e.waiting, e.waiting[n:])]
	e.any.Store(len(e.waiting) > 0)
	return n
}

func (e *events) push(ev transport.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.waiting) >= e.limit {
		e.dropped.Add(1)
		return
	}
	e.waiting = append(e.waiting, ev)
	e.any.Store(true)
}

// watch turns asynchronous events of the device into the Link's, until close; those about a queue pair go to ofQP.
func (l *card) watch(limit int, ofQP func(verbs.AsyncEvent)) {
	var ctx context.Context
	ctx, l.events.cancel = context.WithCancel(context.Background())
	l.events.limit = limit
	l.events.ended.Go(func() {
		for {
			e, err := l.ctx.Event(ctx)
			if err != nil {
				return
			}
			switch {
			case e.Type == verbs.EventPortError && e.Port == l.spot.port, e.Type == verbs.EventDeviceFatal, e.Type == verbs.EventCQError, e.Type == verbs.EventSRQError:
				l.events.push(transport.Event{Kind: transport.LinkDown, Err: l.failed(fmt.Errorf("%v", e))})
			case e.Type == verbs.EventPortActive && e.Port == l.spot.port:
				l.events.push(transport.Event{Kind: transport.LinkUp})
			case e.QPN != 0 && ofQP != nil:
				ofQP(e)
				continue
			default:
				continue
			}
			l.Wake()
		}
	})
}

func (e *events) close() {
	if e.cancel != nil {
		e.cancel()
		e.ended.Wait()
	}
}
