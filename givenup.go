package fastrpc

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fastrpc/fastrpc/internal/engine"
	"github.com/fastrpc/fastrpc/transport"
)

// givenUp ends the contexts of requests for whose answers nobody waits any more. It costs nothing but where handlers ask for a context.
type givenUp struct {
	calls sync.Map     // of *engine.Call: what ends the handler's context, or gone
	marks atomic.Int32 // how many are gone
}

// gone stands for a request that was given up before its handler asked for a context.
type gone struct{}

// watch has cancel called when k is given up; at once where it was.
func (g *givenUp) watch(k *engine.Call, cancel context.CancelFunc) {
	if _, loaded := g.calls.LoadOrStore(k, cancel); loaded {
		cancel()
	}
}

// deadlineSlack is how shortly before a deadline a caller gives up because of it: the two clocks are set by the request's arrival, and the word that
// it was given up travels as long.
const deadlineSlack = 10 * time.Millisecond

// giveUp is called in the poll. A request that is given up at its deadline ends by that.
func (g *givenUp) giveUp(k *engine.Call) {
	if d := k.Deadline(); d != 0 && d <= transport.Now().Add(deadlineSlack) {
		return
	}
	v, loaded := g.calls.LoadOrStore(k, gone{})
	if cancel, ok := v.(context.CancelFunc); ok && loaded {
		cancel()
	} else if !loaded {
		g.marks.Add(1)
	}
}

// forget is called when a handler that asked has returned; and, in the poll, before the record is another request's, for a mark that came after
// that, or that nobody asked for.
func (g *givenUp) forget(k *engine.Call) {
	if v, ok := g.calls.LoadAndDelete(k); ok && v == (gone{}) {
		g.marks.Add(-1)
	}
}
