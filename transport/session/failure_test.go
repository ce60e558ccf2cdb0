package session_test

import (
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// The five ways in which a remote call differs from a local one (Nelson, 1981; Tanenbaum and van Steen, chapter 8).

// detection is how long a client with calls may take to find that its peer is gone, at the defaults: a heartbeat until the first ping, and one
// for each of the five that have to be missed; the last millisecond is the timers' grain.
const detection = (1+8)*50*time.Millisecond + time.Millisecond

func TestRequestLost(t *testing.T) {
	for _, size := range []int{100, 10000} {
		w := newWorld(t, 1, lan, session.Config{})
		w.establish()
		w.net.Partition(clientAddr, serverAddr, true)
		w.in(300*time.Microsecond, func() { w.net.Partition(clientAddr, serverAddr, false) })
		start := w.net.Now()
		w.call("a", 1, pattern(size, 1), 0)
		k := w.wait("a", time.Second)
		if k.Err() != nil || len(k.Body()) != size || w.executions[string(pattern(size, 1))] != 1 {
			t.Errorf("%d bytes: %s, executions %d", size, describe(k), w.executions[string(pattern(size, 1))])
		}
		if d := w.net.Now().Sub(start); d > 5*time.Millisecond { // the probe timeout and little more
			t.Errorf("%d bytes: recovered after %v", size, d)
		}
		k.Release()
		w.settle()
	}
}

func TestCrashBeforeProcessing(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	start := w.net.Now()
	w.call("a", 1, []byte("x"), 0)
	w.in(5*time.Microsecond, func() { w.crash(w.server) }) // the request is on its way
	k := w.wait("a", detection)
	if err := k.Err(); err == nil || err.Code != session.Unavailable || err.Outcome != session.MaybeExecuted {
		t.Error(describe(k))
	}
	if w.executions["x"] != 0 || w.closed == nil {
		t.Errorf("executed %d times, session closed: %v", w.executions["x"], w.closed)
	}
	t.Logf("found after %v", w.net.Now().Sub(start))
	k.Release()
	w.settle()
}

func TestResponseLost(t *testing.T) {
	for _, size := range []int{100, 10000} {
		w := newWorld(t, 1, lan, session.Config{})
		w.establish()
		w.serve = func(k *session.Call) {
			w.net.Partition(serverAddr, clientAddr, true)
			w.in(300*time.Microsecond, func() { w.net.Partition(serverAddr, clientAddr, false) })
			w.echo(k)
		}
		start := w.net.Now()
		w.call("a", 1, pattern(size, 1), 0)
		k := w.wait("a", time.Second)
		if k.Err() != nil || len(k.Body()) != size || w.executions[string(pattern(size, 1))] != 1 {
			t.Errorf("%d bytes: %s, executions %d", size, describe(k), w.executions[string(pattern(size, 1))])
		}
		if d := w.net.Now().Sub(start); d > 5*time.Millisecond {
			t.Errorf("%d bytes: recovered after %v", size, d)
		}
		k.Release()
		w.settle()
	}
}

// TestSlowServer: a handler may take its time. The client keeps asking, ever more rarely, and takes the server neither for dead nor asks it to
// run the request again.
func TestSlowServer(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	w.serve = func(k *session.Call) { w.in(10*time.Second, func() { w.echo(k) }) }
	w.call("a", 1, []byte("x"), 0)
	k := w.wait("a", 11*time.Second)
	if k.Err() != nil || w.executions["x"] != 1 {
		t.Errorf("%s, executions %d", describe(k), w.executions["x"])
	}
	if s := w.client.core.Stats(); s.Probes > 220 || s.Sent > 500 {
		t.Errorf("%d probes and %d packets in 10 s", s.Probes, s.Sent)
	}
	k.Release()
	w.settle()
}

// TestOverloadedServer: a server that has room for four requests gets fifty at once. What does not fit is not acknowledged, comes again, and is
// run once.
func TestOverloadedServer(t *testing.T) {
	w := newWorldOn(t, 1, lan, session.Config{}, session.Config{Calls: 4}, sim.LinkOptions{})
	w.establish()
	w.serve = func(k *session.Call) { w.in(5*time.Millisecond, func() { w.echo(k) }) }
	for i := range 50 {
		w.call(i, 1, []byte{byte(i)}, 0)
	}
	for i := range 50 {
		k := w.wait(i, 10*time.Second)
		if k.Err() != nil || w.executions[string([]byte{byte(i)})] != 1 {
			t.Errorf("call %d: %s, executions %d", i, describe(k), w.executions[string([]byte{byte(i)})])
		}
		k.Release()
	}
	if s := w.server.core.Stats(); s.CallsRefused == 0 {
		t.Error("there was room enough: the test shows nothing")
	}
	w.settle()
}

// TestResponseLostAfterAcknowledgement: the request was acknowledged before its reply was lost. One probe brings it, from where it is kept.
func TestResponseLostAfterAcknowledgement(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	var lost time.Duration
	start := w.net.Now()
	w.serve = func(k *session.Call) {
		w.in(10*time.Millisecond, func() {
			w.net.Partition(serverAddr, clientAddr, true)
			w.in(50*time.Microsecond, func() { w.net.Partition(serverAddr, clientAddr, false) })
			lost = w.net.Now().Sub(start)
			w.echo(k)
		})
	}
	w.call("a", 1, []byte("x"), 0)
	w.run(9*time.Millisecond, nil)
	probes := w.client.core.Stats().Probes
	k := w.wait("a", time.Second)
	if k.Err() != nil || w.executions["x"] != 1 || w.server.core.Stats().Retransmitted != 1 {
		t.Errorf("%s, executions %d, sent again %d", describe(k), w.executions["x"], w.server.core.Stats().Retransmitted)
	}
	if n := w.client.core.Stats().Probes - probes; n != 1 {
		t.Errorf("%d probes, want one", n)
	}
	t.Logf("lost at %v, there at %v", lost, w.net.Now().Sub(start))
	k.Release()
	w.settle()
}
