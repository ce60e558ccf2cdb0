package engine

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
)

// Engines are shared: one for each link of the process, counted by its users.
var (
	mu    sync.Mutex
	users = map[*Engine]int{}
	byID  [session.Engines]atomic.Pointer[Engine]
)

// ErrTooMany is what an engine of a process is told for which there is no number left in a session ID.
var ErrTooMany = fmt.Errorf("engine: this process has %d sockets open already, one for each client and server over udp:// or tcp:// and one for each queue of "+
	"xdp://: close clients that are done with, let goroutines share a client, or restrict the queues, such as with ?queues=0-3", session.Engines)

// Acquire returns the link's engine and counts one more user of it. The reference to the link is the engine's from here on.
func Acquire(link transport.Link, cfg Config) (*Engine, error) {
	mu.Lock()
	defer mu.Unlock()
	free := -1
	for i := range byID {
		switch e := byID[i].Load(); {
		case e == nil && free < 0:
			free = i
		case e != nil && e.link == link:
			users[e]++
			return e, nil
		}
	}
	if free < 0 {
		return nil, ErrTooMany
	}
	e := start(link, uint16(free), cfg)
	users[e] = 1
	byID[free].Store(e)
	return e, nil
}

// Close gives the engine up, and with it a reference to its link. The last user's Close ends its sessions and stops it.
func (e *Engine) Close() error {
	mu.Lock()
	users[e]--
	last := users[e] == 0
	if last {
		delete(users, e)
		byID[e.id].Store(nil)
	}
	mu.Unlock()
	if !last {
		return e.link.Close()
	}
	e.stop()
	return e.closeLink()
}

// closeLink closes a stopped engine's link, unless replies lie in its memory that are not released yet: the last one's release does it then.
func (e *Engine) closeLink() error {
	<-e.dead
	e.closing.Lock()
	defer e.closing.Unlock()
	e.discardSubmitted()
	if e.closed {
		return nil
	}
	e.core.FreeFrames()
	if e.core.Held() > 0 {
		return nil
	}
	e.closed = true
	return e.link.Close()
}
