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

// events are what happened to the device; a goroutine of the Link's writes them, and its owner reads.
type events struct {
	mu      sync.Mutex
	waiting []transport.Event
	any     atomic.Bool
	dropped atomic.Uint64
	cancel  context.CancelFunc
	ended   sync.WaitGroup
}

// maxEvents may wait until the owner asks.
const maxEvents = 16

// Events implements transport.Link.
func (l *Link) Events(es []transport.Event) int {
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
	if len(e.waiting) == maxEvents {
		e.dropped.Add(1)
		return
	}
	e.waiting = append(e.waiting, ev)
	e.any.Store(true)
}

// watch turns asynchronous events of the device into the Link's, until the Link closes.
func (l *Link) watch() {
	var ctx context.Context
	ctx, l.events.cancel = context.WithCancel(context.Background())
	l.events.ended.Go(func() {
		for {
			e, err := l.ctx.Event(ctx)
			if err != nil {
				return
			}
			switch {
			case e.Type == verbs.EventPortError && e.Port == l.port, e.Type == verbs.EventDeviceFatal:
				l.events.push(transport.Event{Kind: transport.LinkDown, Err: fmt.Errorf("rdma: %s: %v", l.caps.Name, e)})
			case e.Type == verbs.EventPortActive && e.Port == l.port:
				l.events.push(transport.Event{Kind: transport.LinkUp})
			default:
				continue
			}
			l.Wake()
		}
	})
}
