package session_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

func TestReassemblyBudget(t *testing.T) {
	t.Run("request", func(t *testing.T) {
		w := newWorldOn(t, 1, lan, session.Config{}, session.Config{Reassembly: 150000}, sim.LinkOptions{})
		w.establish()
		w.call("a", 1, pattern(100000, 1), 0)
		w.call("b", 1, pattern(100001, 2), 0)
		a, b := w.wait("a", time.Second), w.wait("b", time.Second)
		if a.Code() == session.OK {
			a, b = b, a
		}
		if a.Err() != nil || !a.Refused() || a.Code() != session.ResourceExhausted || !strings.Contains(string(a.Body()), "budget for reassembly") {
			t.Errorf("one has to be refused: %s %q", describe(a), a.Body())
		}
		if b.Err() != nil || len(b.Body()) < 100000 {
			t.Errorf("and the other to be served: %s", describe(b))
		}
		a.Release()
		b.Release()
		w.call("c", 1, pattern(100000, 1), 0)
		if k := w.wait("c", time.Second); k.Code() != session.OK {
			t.Errorf("the budget is not given back: %s %q", describe(k), k.Body())
		} else {
			k.Release()
		}
		w.settle()
	})
	t.Run("reply", func(t *testing.T) {
		w := newWorldOn(t, 1, lan, session.Config{Reassembly: 150000}, session.Config{}, sim.LinkOptions{})
		w.establish()
		w.serve = func(k *session.Call) { k.ReplyBytes(w.net.Now(), session.OK, session.Executed, pattern(100000, 1)) }
		w.call("a", 1, []byte("a"), 0)
		w.call("b", 1, []byte("b"), 0)
		a, b := w.wait("a", time.Second), w.wait("b", time.Second)
		if a.Err() == nil {
			a, b = b, a
		}
		if err := a.Err(); err == nil || err.Code != session.ResourceExhausted || err.Outcome != session.Executed || !strings.Contains(err.Reason, "budget for reassembly") {
			t.Errorf("one has to fail: %s", describe(a))
		}
		if b.Err() != nil {
			t.Errorf("and the other to be served: %s", describe(b))
		}
		a.Release()
		b.Release()
		w.call("c", 1, []byte("c"), 0)
		if k := w.wait("c", time.Second); k.Err() != nil {
			t.Errorf("the budget is not given back: %s", describe(k))
		} else {
			k.Release()
		}
		w.settle()
	})
}

// TestBudgetOfOneMessage: one call at a time, some of which time out, needs no more than its own size at either end, whatever the network does
// to the parts.
func TestBudgetOfOneMessage(t *testing.T) {
	const size = 4096
	cfg := session.Config{Reassembly: size, MaxMessage: size}
	faults := sim.Faults{Delay: 10 * time.Microsecond, Loss: 0.1, Duplicate: 0.1, Reorder: 0.2, Corrupt: 0.02}
	for seed := range uint64(20) {
		w := newWorld(t, seed, faults, cfg)
		w.establish()
		late := 0
		for i := range 100 {
			timeout := 10 * time.Second
			if i%3 == 2 {
				timeout = time.Duration(20+i) * time.Microsecond
			}
			w.call(i, 1, pattern(size, byte(i)), timeout)
			k := w.wait(i, 20*time.Second)
			switch {
			case k.Code() == session.DeadlineExceeded && timeout < time.Second:
				late++
			case k.Err() != nil || !bytes.Equal(k.Body(), pattern(size, byte(i))):
				t.Fatalf("seed %d, call %d: %s", seed, i, describe(k))
			}
			k.Release()
		}
		if c, s := w.client.core.Stats(), w.server.core.Stats(); c.ReassemblyRefused+s.ReassemblyRefused != 0 || late == 0 {
			t.Errorf("seed %d: %d replies and %d requests were refused, %d calls timed out", seed, c.ReassemblyRefused, s.ReassemblyRefused, late)
		}
		w.settle()
	}
}

// TestReclaim: before a message is refused, its receiver's owner is asked for what it has not given back yet.
func TestReclaim(t *testing.T) {
	const size = 4096
	var done []*session.Call
	cfg := session.Config{Reassembly: 2 * size, Reclaim: func() {
		for _, k := range done {
			k.Release()
		}
		done = nil
	}}
	w := newWorldOn(t, 1, lan, cfg, session.Config{}, sim.LinkOptions{})
	w.establish()
	for i := range 10 {
		w.call(i, 1, pattern(size, byte(i)), 0)
		k := w.wait(i, time.Second)
		if k.Err() != nil || !bytes.Equal(k.Body(), pattern(size, byte(i))) {
			t.Fatalf("call %d: %s", i, describe(k))
		}
		done = append(done, k)
	}
	if len(done) != 2 || w.client.core.Stats().ReassemblyRefused != 0 {
		t.Errorf("%d replies are kept, and the budget is for 2", len(done))
	}
	cfg.Reclaim()
	w.settle()
}

// TestSlotsAreGivenInOrder: calls beyond what the server takes at once wait for their turn.
func TestSlotsAreGivenInOrder(t *testing.T) {
	w := newWorldOn(t, 1, lan, session.Config{}, session.Config{CallsPerSession: 2}, sim.LinkOptions{})
	w.establish()
	var order []byte
	at := 0
	w.serve = func(k *session.Call) {
		order = append(order, k.Body()...)
		at = max(at, w.server.core.Answering())
		w.in(time.Millisecond, func() { w.echo(k) })
	}
	for i := range 20 {
		w.call(i, 1, []byte{byte(i)}, 0)
	}
	for i := range 20 {
		w.wait(i, time.Second).Release()
	}
	if !slices.IsSorted(order) || len(order) != 20 || at != 2 {
		t.Errorf("served in order %v, %d at once", order, at)
	}
	w.settle()
}

func TestTooManyCalls(t *testing.T) {
	w := newWorldOn(t, 1, lan, session.Config{Calls: 3}, session.Config{}, sim.LinkOptions{})
	w.establish()
	for round := range 3 {
		for i := range 3 {
			w.call(i, 1, []byte("x"), 0)
		}
		if _, err := w.conn.NewCall(); err != session.ErrTooManyCalls {
			t.Fatalf("round %d: the fourth: %v", round, err)
		}
		w.run(time.Second, func() bool { return len(w.ended) == 3 })
		if _, err := w.conn.NewCall(); err != session.ErrTooManyCalls {
			t.Fatalf("round %d: ended calls that are not released count: %v", round, err)
		}
		for i := range 3 {
			w.wait(i, 0).Release()
		}
	}
	w.settle()
}

func TestNoFrame(t *testing.T) {
	w := newWorldOn(t, 1, lan, session.Config{}, session.Config{}, sim.LinkOptions{Frames: 16})
	w.establish()
	w.run(time.Millisecond, nil)
	for round := range 3 {
		var calls []*session.Call
		for {
			k, err := w.conn.NewCall()
			if err == session.ErrNoFrame {
				break
			} else if err != nil || len(calls) > 8 {
				t.Fatalf("after %d calls: %v", len(calls), err)
			}
			calls = append(calls, k)
		}
		if len(calls) != 6 { // the others are for acknowledgements and heartbeats
			t.Errorf("round %d: %d calls of 8 frames", round, len(calls))
		}
		calls[0].Discard()
		for i, k := range calls[1:] {
			k.Tag = i
			k.Start(w.net.Now(), 1, copy(k.Buffer(), []byte{byte(i)}), 0)
		}
		for i := range calls[1:] {
			w.wait(i, time.Second).Release()
		}
	}
	w.settle()
}

// TestFewFrames: with a handful of frames at both ends all calls end well, though now and then there is none to acknowledge or to send with.
func TestFewFrames(t *testing.T) {
	w := newWorldOn(t, 1, lan, session.Config{}, session.Config{}, sim.LinkOptions{Frames: 16, CompleteAfter: 20 * time.Microsecond})
	w.establish()
	for i := range 30 {
		var k *session.Call
		w.run(time.Second, func() (ok bool) {
			k, _ = w.conn.NewCall()
			return k != nil
		})
		k.Tag = i
		if err := k.StartBytes(w.net.Now(), 1, pattern(3000+i, byte(i)), 0); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 30 {
		k := w.wait(i, 10*time.Second)
		if k.Err() != nil || len(k.Body()) != 3000+i {
			t.Errorf("call %d: %s", i, describe(k))
		}
		k.Release()
	}
	if w.client.core.Stats().NoFrame == 0 || w.server.core.Stats().NoFrame == 0 {
		t.Error("there were frames enough: the test shows nothing")
	}
	w.settle()
}

// TestHeldReplies: replies that the user holds stay as they were, however many, and leave the link frames to go on with.
func TestHeldReplies(t *testing.T) {
	w := newWorldOn(t, 1, lan, session.Config{}, session.Config{}, sim.LinkOptions{Frames: 64})
	w.establish()
	var held []*session.Call
	for i := range 100 {
		w.call(i, 1, pattern(100, byte(i)), 0)
		held = append(held, w.wait(i, time.Second))
		if n := w.client.link.Counts().Borrowed; n < min(i+1, 16) || n > min(i+1, 16)+4 { // the later ones have moved out; a few are kept to send with
			t.Errorf("%d frames are held by %d replies", n, i+1)
		}
	}
	for i := range 200 {
		w.call("more", 1, pattern(200, byte(i)), 0)
		w.wait("more", time.Second).Release()
	}
	for i, k := range held {
		if !bytes.Equal(k.Body(), pattern(100, byte(i))) {
			t.Errorf("reply %d has changed", i)
		}
		k.Release()
	}
	w.settle()
}
