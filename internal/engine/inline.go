package engine

import (
	"bytes"
	"runtime"
	"strconv"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
)

// SlowHandler is how long an inline handler may hold the poll before it is counted and named.
const SlowHandler = time.Millisecond

var errInside = &session.Error{Code: session.FailedPrecondition, Outcome: session.NotExecuted,
	Reason: "an inline handler called out over the very queue that it holds up: use Handle instead of HandleInline for handlers that call others"}

// EnterInline is called by whoever polls before an inline handler runs, LeaveInline after it.
func (e *Engine) EnterInline() {
	if e.holder == 0 {
		e.holder = goroutineID()
	}
	e.inline.Store(e.holder)
}

// LeaveInline counts a handler that held the poll for too long.
func (e *Engine) LeaveInline(method string) {
	e.inline.Store(0)
	now := transport.Now()
	if now.Sub(e.now) > SlowHandler {
		if e.slow == nil {
			e.slow = map[string]uint64{}
		}
		e.slow[method]++
	}
	e.now = now
}

// insideHandler tells whether the calling goroutine runs an inline handler of this engine.
func (e *Engine) insideHandler() bool {
	id := e.inline.Load()
	return id != 0 && id == goroutineID()
}

// goroutineID reads the calling goroutine's number off its stack trace, the only place where the runtime tells it. It takes about a
// microsecond, so it is asked once by the keeper, and by others only in the rare cases above.
func goroutineID() int64 {
	var buf [64]byte
	b := bytes.TrimPrefix(buf[:runtime.Stack(buf[:], false)], []byte("goroutine "))
	if i := bytes.IndexByte(b, ' '); i > 0 {
		id, _ := strconv.ParseInt(string(b[:i]), 10, 64)
		return id
	}
	return -1
}
