package session_test

import (
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

var lan = sim.Faults{Delay: 10 * time.Microsecond}

// establish runs until the session is open at both ends.
func (w *world) establish() {
	w.t.Helper()
	if !w.run(time.Second, func() bool { return w.conn.Established() && len(w.sessions) == 1 }) {
		w.t.Fatalf("no session: %v", w.closed)
	}
}

// TestExpiredRequestFreesItsFrameOnce: a request that expired in the server's queue is released within the very turn that received it.
func TestExpiredRequestFreesItsFrameOnce(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	w.server.pausedUntil = w.net.Now().Add(20 * time.Millisecond)
	w.call("late", 1, []byte("x"), 5*time.Millisecond)
	w.wait("late", time.Second).Release()
	w.run(100*time.Millisecond, func() bool { return w.server.core.Stats().Expired == 1 })
	if s := w.server.core.Stats(); s.Expired != 1 || w.executions["x"] != 0 {
		t.Errorf("%d expired, %d executed; want 1 and 0", s.Expired, w.executions["x"])
	}
	w.settle()
}
