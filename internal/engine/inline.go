package engine

import (
	"bytes"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
)

// SlowHandler is how long an inline handler may hold the poll before it is counted and named.
const SlowHandler = time.Millisecond

var errInside = &session.Error{Code: session.FailedPrecondition, Outcome: session.NotExecuted,
	Reason: "an inline handler called out over the very queue that it holds up: use Handle instead of HandleInline for handlers that call others"}

// EnterInline is called by whoever polls before an inline handler runs.
func (e *Engine) EnterInline(method string) {
	if e.holder == 0 {
		e.holder = goroutineID()
		e.poller.Store(e.holder)
	}
	if e.inlineAt == 0 {
		e.inlineAt = e.now
	}
	e.inlineName = method
}

// watch judges the inline handlers that ran since the clock was last read: a handler on its own, by name; of a burst that was slow
// together, the last one. It waits for a reading that is made anyway, so that the handlers' replies do not wait for one. Time in which the
// process was not running counts too.
func (e *Engine) watch() {
	if e.now.Sub(e.inlineAt) > SlowHandler {
		if e.slow == nil {
			e.slow = map[string]uint64{}
		}
		e.slow[e.inlineName]++
	}
	e.inlineAt = 0
}

// insideHandler tells whether the calling goroutine runs an inline handler of this engine: a poller runs no other code of the user's.
func (e *Engine) insideHandler() bool {
	if e.listening.Load() == 0 {
		return false
	}
	id := e.poller.Load()
	return id != 0 && id == goroutineID()
}

// MayBlock returns an error when the calling goroutine runs an inline handler of this engine, which would wait for itself.
func (e *Engine) MayBlock() error {
	if e.insideHandler() {
		return errInside
	}
	return nil
}

var stackBuffers = sync.Pool{New: func() any { return new([64]byte) }}

// goroutineID reads the calling goroutine's number off its stack trace, the only place where the runtime tells it. It takes about a
// microsecond, so it is asked once by the keeper, and by others only in the rare cases above.
func goroutineID() int64 {
	buf := stackBuffers.Get().(*[64]byte)
	defer stackBuffers.Put(buf)
	b := bytes.TrimPrefix(buf[:runtime.Stack(buf[:], false)], []byte("goroutine "))
	if i := bytes.IndexByte(b, ' '); i > 0 {
		id, _ := strconv.ParseInt(string(b[:i]), 10, 64)
		return id
	}
	return -1
}
