package session_test

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// TestNarrowedWhileCallsWait: small calls wait in one frame, cancels too, when the path turns out to carry less than that frame. Every call that
// is not canceled comes back with its own bytes, over many seeds.
func TestNarrowedWhileCallsWait(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := newWorldOn(t, seed, sim.Faults{Delay: 50 * time.Microsecond, Loss: 0.05}, session.Config{}, session.Config{}, sim.LinkOptions{FrameBytes: 9216})
		w.establish()
		w.serve = func(k *session.Call) {
			if string(k.Body()) == "hold" {
				w.in(time.Second, func() { w.echo(k) })
				return
			}
			w.echo(k)
		}
		const calls = 40
		var held []*session.Call
		for i := range 5 {
			held = append(held, w.call(calls+i, 1, []byte("hold"), 0))
		}
		w.run(10*time.Millisecond, nil)
		for i := range calls {
			w.call(i, 1, pattern(200, byte(i)), 0)
		}
		for _, k := range held {
			if rng.IntN(2) == 0 {
				k.Cancel(w.net.Now())
			}
		}
		path := w.conn.Path()
		path.MTU = uint16(1000 + rng.IntN(1000))
		w.client.core.HandleMTU(&path)
		for i := range calls {
			k := w.wait(i, 2*time.Second)
			if k.Err() != nil || !bytes.Equal(k.Body(), pattern(200, byte(i))) {
				t.Errorf("seed %d: call %d: %s", seed, i, describe(k))
			}
			k.Release()
		}
		for i := range held {
			w.wait(calls+i, 2*time.Second).Release()
		}
		w.settle()
	}
}

// TestLongMessagesWaitForTheirTurn: more long requests than go through in the time after which a standstill ends a message. None of them stands
// still: the ones that wait do so for others of their own session.
func TestLongMessagesWaitForTheirTurn(t *testing.T) {
	w := newWorld(t, 7, sim.Faults{Delay: 50 * time.Microsecond, Bandwidth: sim.Bandwidth{BitsPerSecond: 100e6, QueueBytes: 256 << 10}}, session.Config{})
	w.establish()
	w.serve = func(k *session.Call) { k.ReplyBytes(w.net.Now(), session.OK, session.Executed, nil) }
	body := pattern(16<<20, 1)
	for i := range 4 {
		w.call(i, 1, body, 0)
	}
	for i := range 4 {
		if k := w.wait(i, 20*time.Second); k.Err() != nil || k.Code() != session.OK {
			t.Errorf("request %d: %s", i, describe(k))
		} else {
			k.Release()
		}
	}
	w.settle()
}

// TestFlappingPath: the way to a server that has crashed changes whenever the client looks for another one. It is given up as soon as any.
func TestFlappingPath(t *testing.T) {
	w := newWorld(t, 7, lan, session.Config{})
	w.establish()
	w.call("before", 1, []byte("x"), 0)
	w.wait("before", time.Second).Release()
	other := w.client.onEvent
	moves := 0
	w.client.onEvent = func(ev session.Event) {
		if ev.Kind == session.PathQuiet {
			moves++
			path := ev.Conn.Path()
			path.Opaque[9]++
			ev.Conn.Move(w.net.Now(), path)
		}
		other(ev)
	}
	w.crash(w.server)
	w.call("x", 1, []byte("x"), 0)
	if k := w.wait("x", 500*time.Millisecond); k.Err() == nil || k.Err().Code != session.Unavailable {
		t.Error(describe(k))
	} else {
		k.Release()
	}
	if moves == 0 {
		t.Error("nobody asked for another path: the test shows nothing")
	}
}

// TestBodyIsTheCallersAgain: a small request is copied, also while its session is being opened.
func TestBodyIsTheCallersAgain(t *testing.T) {
	w := newWorld(t, 7, lan, session.Config{})
	body := []byte("hello")
	w.call("x", 1, body, 0)
	copy(body, "XXXXX")
	k := w.wait("x", time.Second)
	if string(k.Body()) != "hello" {
		t.Errorf("%q", k.Body())
	}
	k.Release()
	w.settle()
}
