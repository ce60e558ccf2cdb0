package xdp

import (
	"sync"
	"sync/atomic"

	"github.com/fastrpc/fastrpc/transport"
)

// maxEvents bounds what waits for a Link's owner; it asks every turn, so more means that nobody polls the Link.
const maxEvents = 64

// eventQueue takes events from any goroutine. An owner that finds none pays one load.
type eventQueue struct {
	pending atomic.Bool

	mu      sync.Mutex
	waiting []transport.Event
	lost    uint64 // events that found no room
}

func (q *eventQueue) push(e transport.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == maxEvents {
		q.lost++
		return
	}
	q.waiting = append(q.waiting, e)
	q.pending.Store(true)
}

func (q *eventQueue) pop(es []transport.Event) int {
	if !q.pending.Load() {
		return 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	n := copy(es, q.waiting)
	left := copy(q.waiting, q.waiting[n:])
	clear(q.waiting[left:])
	q.waiting = q.waiting[:left]
	q.pending.Store(left > 0)
	return n
}

func (q *eventQueue) lostCount() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}
