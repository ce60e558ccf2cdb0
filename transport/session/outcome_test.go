package session_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// threeCalls starts a call that the server is answering, one that is sent and not acknowledged, and one that waits for a slot.
func (w *world) threeCalls(handler func(k *session.Call)) {
	w.serve = handler
	w.call("acknowledged", 1, []byte("acknowledged"), 0)
	w.run(5*time.Millisecond, nil)
	w.call("sent", 1, []byte("sent"), 0)
	w.call("waiting", 1, []byte("waiting"), 0)
	w.client.turn(w.net.Now())
}

// expect waits for the three calls, which have to fail with these outcomes.
func (w *world) expect(limit time.Duration, acknowledged, sent, waiting session.Outcome) {
	w.t.Helper()
	for tag, outcome := range map[string]session.Outcome{"acknowledged": acknowledged, "sent": sent, "waiting": waiting} {
		k := w.wait(tag, limit)
		if err := k.Err(); err == nil || err.Code != session.Unavailable || err.Outcome != outcome {
			w.t.Errorf("%s: %s; want outcome %v", tag, describe(k), outcome)
		}
		k.Release()
	}
	if w.closed == nil {
		w.t.Error("the session is still open")
	}
}

var twoSlots = session.Config{CallsPerSession: 2}

func nobody(*session.Call) {}

func TestServerCrash(t *testing.T) {
	w := newWorld(t, 1, lan, twoSlots)
	w.establish()
	w.threeCalls(nobody)
	start := w.net.Now()
	w.crash(w.server)
	w.expect(time.Second, session.MaybeExecuted, session.MaybeExecuted, session.NotExecuted)
	if d := w.net.Now().Sub(start); d > detection {
		t.Errorf("found after %v, want %v at most", d, detection)
	}
	if w.executions["sent"]+w.executions["waiting"] != 0 {
		t.Errorf("executed: %v", w.executions)
	}
	if _, err := w.conn.NewCall(); err == nil || err.Outcome != session.NotExecuted {
		t.Errorf("a call of a closed session: %v", err)
	}
	w.settle()
}

// TestServerRestart: the new process does not know the session and says so; no timeout has to pass. The client is served by a new one.
func TestServerRestart(t *testing.T) {
	w := newWorld(t, 1, lan, twoSlots)
	w.establish()
	w.threeCalls(nobody)
	start := w.net.Now()
	w.crash(w.server)
	w.startServer(77)
	w.expect(time.Second, session.MaybeExecuted, session.MaybeExecuted, session.NotExecuted)
	if d := w.net.Now().Sub(start); d > time.Millisecond {
		t.Errorf("found after %v, want one round trip", d)
	}
	if w.closed.Error() != "the peer was restarted" {
		t.Errorf("closed: %v", w.closed)
	}
	w.serve = nil
	w.dial()
	w.call("again", 1, []byte("again"), 0)
	if k := w.wait("again", time.Second); k.Err() != nil || w.executions["again"] != 1 {
		t.Error(describe(k))
	} else {
		k.Release()
	}
	w.settle()
}

// TestServerRestartWhileIdle: the next call finds out, within one round trip or the probe timeout.
func TestServerRestartWhileIdle(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	w.run(time.Second, nil)
	w.crash(w.server)
	w.startServer(77)
	start := w.net.Now()
	w.call("a", 1, []byte("x"), 0)
	k := w.wait("a", time.Second)
	if err := k.Err(); err == nil || err.Outcome != session.MaybeExecuted || w.executions["x"] != 0 {
		t.Error(describe(k))
	}
	if d := w.net.Now().Sub(start); d > time.Millisecond {
		t.Errorf("found after %v", d)
	}
	k.Release()
	w.settle()
}

// TestServerClose: a session that the server closes ends at the client with the server's code and words.
func TestServerClose(t *testing.T) {
	w := newWorld(t, 1, lan, twoSlots)
	w.establish()
	w.threeCalls(nobody)
	for c := range w.sessions {
		c.Close(w.net.Now(), session.Unavailable, "good night")
	}
	w.expect(time.Millisecond, session.MaybeExecuted, session.MaybeExecuted, session.NotExecuted)
	if w.closed.Error() != `the peer closed the session: "good night"` {
		t.Errorf("closed: %v", w.closed)
	}
}

// TestServerCloseLost: the word of the close is lost; the client hears that the session is not known when it next sends.
func TestServerCloseLost(t *testing.T) {
	w := newWorld(t, 1, lan, twoSlots)
	w.establish()
	w.threeCalls(nobody)
	w.net.Partition(serverAddr, clientAddr, true)
	for c := range w.sessions {
		c.Close(w.net.Now(), session.Unavailable, "good night")
	}
	w.run(time.Millisecond, nil)
	w.net.Partition(serverAddr, clientAddr, false)
	w.expect(100*time.Millisecond, session.MaybeExecuted, session.MaybeExecuted, session.NotExecuted)
}

// TestClientRestart: the same host and port, another process. The old session goes as soon as the new one is heard of, and its handlers learn
// that nobody waits.
func TestClientRestart(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	var old *session.Call
	w.serve = func(k *session.Call) { old = k }
	w.call("a", 1, []byte("x"), 0)
	w.run(time.Millisecond, nil)
	w.crash(w.client)
	w.startClient(33, session.Config{})
	w.dial()
	w.run(time.Millisecond, nil)
	if n := w.server.core.Sessions(); n != 1 || len(w.sessions) != 1 || w.gone != 1 || old == nil || !old.Gone() {
		t.Errorf("%d sessions, %d of them announced, %d requests gone; want 1 of each", n, len(w.sessions), w.gone)
	}
	old.ReplyBytes(w.net.Now(), session.OK, session.Executed, []byte("too late"))
	w.serve = nil
	w.call("b", 1, []byte("y"), 0)
	if k := w.wait("b", time.Second); k.Err() != nil {
		t.Error(describe(k))
	} else {
		k.Release()
	}
	w.settle()
}

// TestClientGone: the server keeps a session that it does not hear from for the idle timeout, then gives back all that it held.
func TestClientGone(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	w.call("a", 1, []byte("x"), 0)
	w.wait("a", time.Second)
	w.crash(w.client)
	w.run(59*time.Second, nil)
	if n := w.server.core.Sessions(); n != 1 {
		t.Errorf("%d sessions after 59 s", n)
	}
	w.run(2*time.Second, nil)
	w.server.home(t, "server")
}

// TestPartition cuts the ways between the ends. Healed in time nothing is lost; else the calls end, and what they say is true.
func TestPartition(t *testing.T) {
	type way [2]netip.AddrPort
	there, back := way{clientAddr, serverAddr}, way{serverAddr, clientAddr}
	for _, x := range []struct {
		name string
		cut  []way
	}{{"full", []way{there, back}}, {"there", []way{there}}, {"back", []way{back}}} {
		t.Run(x.name, func(t *testing.T) {
			partition := func(w *world, on bool) {
				for _, c := range x.cut {
					w.net.Partition(c[0], c[1], on)
				}
			}
			t.Run("healed", func(t *testing.T) {
				w := newWorld(t, 1, lan, twoSlots)
				w.establish()
				w.threeCalls(func(k *session.Call) { w.in(10*time.Millisecond, func() { w.echo(k) }) })
				partition(w, true)
				w.in(150*time.Millisecond, func() { partition(w, false) })
				for _, tag := range []string{"acknowledged", "sent", "waiting"} {
					k := w.wait(tag, 300*time.Millisecond)
					if k.Err() != nil || w.executions[tag] != 1 {
						t.Errorf("%s: %s, executions %d", tag, describe(k), w.executions[tag])
					}
					k.Release()
				}
				if w.closed != nil {
					t.Errorf("the session was lost: %v", w.closed)
				}
				w.settle()
			})
			t.Run("not healed", func(t *testing.T) {
				w := newWorld(t, 1, lan, twoSlots)
				w.establish()
				w.threeCalls(nobody)
				start := w.net.Now()
				partition(w, true)
				w.expect(time.Second, session.MaybeExecuted, session.MaybeExecuted, session.NotExecuted)
				if d := w.net.Now().Sub(start); d > detection+50*time.Millisecond {
					t.Errorf("found after %v", d)
				}
				if w.executions["waiting"] != 0 || w.executions["acknowledged"] != 1 {
					t.Errorf("executed: %v", w.executions)
				}
			})
		})
	}
}

// TestUnreachable: a forged ICMP message only makes the client look; the real thing makes it find out sooner.
func TestUnreachable(t *testing.T) {
	w := newWorldOn(t, 1, lan, session.Config{}, session.Config{}, sim.LinkOptions{Unreachable: true})
	w.establish()
	w.serve = nobody
	w.call("a", 1, []byte("x"), 0)
	path := w.conn.Path()
	for range 100 {
		w.client.core.HandleUnreachable(w.net.Now(), &path, nil)
		w.run(10*time.Millisecond, nil)
	}
	if w.closed != nil {
		t.Fatalf("forged messages ended the session: %v", w.closed)
	}
	start := w.net.Now()
	w.crash(w.server)
	k := w.wait("a", time.Second)
	if d := w.net.Now().Sub(start); d > 150*time.Millisecond {
		t.Errorf("found after %v", d)
	}
	k.Release()
	w.settle()
}

// TestPausedClient: a client that was stopped for longer than its patience does not take its own silence for the server's.
func TestPausedClient(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	w.serve = func(k *session.Call) { w.in(time.Second, func() { w.echo(k) }) }
	w.call("a", 1, []byte("x"), 0)
	w.in(100*time.Millisecond, func() { w.client.pausedUntil = w.net.Now().Add(5 * time.Second) })
	if k := w.wait("a", 10*time.Second); k.Err() != nil {
		t.Error(describe(k))
	} else {
		k.Release()
	}
	w.settle()
}
