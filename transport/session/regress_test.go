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

// TestMissedReplyIsSentAgainOnce: the client asks again for a reply that was lost, and gets it once, not twice.
func TestMissedReplyIsSentAgainOnce(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	w.serve = func(k *session.Call) {
		w.net.Partition(serverAddr, clientAddr, true)
		w.in(500*time.Microsecond, func() { w.net.Partition(serverAddr, clientAddr, false) })
		w.echo(k)
	}
	w.call("a", 1, []byte("x"), 0)
	w.wait("a", time.Second).Release()
	if n := w.server.core.Stats().Retransmitted; n != 1 {
		t.Errorf("the reply was sent again %d times, want once", n)
	}
	w.settle()
}

// TestDeadlinePassesWhileConnecting: a call that waits for a session ends at its deadline, though nobody ever answers.
func TestDeadlinePassesWhileConnecting(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.crash(w.server)
	start := w.net.Now()
	w.call("a", 1, []byte("x"), 30*time.Millisecond)
	k := w.wait("a", 100*time.Millisecond)
	if err := k.Err(); err == nil || err.Code != session.DeadlineExceeded || err.Outcome != session.NotExecuted {
		t.Error(describe(k))
	}
	if d := w.net.Now().Sub(start); d > 31*time.Millisecond {
		t.Errorf("ended after %v", d)
	}
	k.Release()
	w.settle()
}

// TestStartAfterTheSessionClosed: between NewCall and Start the session may be lost.
func TestStartAfterTheSessionClosed(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	k, err := w.conn.NewCall()
	if err != nil {
		t.Fatal(err)
	}
	w.conn.Close(w.net.Now(), session.Unavailable, "lost")
	k.Tag = "a"
	k.Start(w.net.Now(), 1, copy(k.Buffer(), "x"), w.net.Now().Add(time.Millisecond))
	if err := w.wait("a", time.Second).Err(); err == nil || err.Code != session.Unavailable || err.Outcome != session.NotExecuted {
		t.Errorf("ended with %v", err)
	}
	k.Release()
	w.settle()
}
