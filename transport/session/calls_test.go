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

func TestEchoSizes(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	small := w.conn.SmallMessage()
	unit := small - 4
	sizes := []int{0, 1, small - 1, small, small + 1, unit, unit + 1, 2 * unit, 2*unit - 1, 2*unit + 1, 3 * unit, 64 * unit, 65*unit + 1, 1 << 20, 16 << 20}
	for i, n := range sizes {
		body := pattern(n, byte(i))
		w.call(n, 5, body, 0)
		k := w.wait(n, time.Minute)
		if k.Err() != nil || k.Code() != session.OK || !bytes.Equal(k.Body(), body) {
			t.Errorf("%d bytes: %s", n, describe(k))
		}
		if w.executions[string(body)] != 1 {
			t.Errorf("%d bytes: executed %d times", n, w.executions[string(body)])
		}
		k.Release()
	}
	w.settle()
}

// TestInPlace builds request and reply in the frames that carry them.
func TestInPlace(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	w.serve = func(k *session.Call) {
		if len(k.Buffer()) != w.conn.SmallMessage() {
			t.Errorf("a buffer of %d bytes", len(k.Buffer()))
		}
		k.Reply(w.net.Now(), session.InvalidArgument, session.Executed, copy(k.Buffer(), slices.Concat(k.Body(), []byte("!"))))
	}
	k, err := w.conn.NewCall()
	if err != nil {
		t.Fatal(err)
	}
	k.Tag = "a"
	k.Start(w.net.Now(), 3, copy(k.Buffer(), "hello"), 0)
	w.wait("a", time.Second)
	if k.Err() != nil || k.Code() != session.InvalidArgument || k.Refused() || string(k.Body()) != "hello!" {
		t.Error(describe(k))
	}
	k.Release()
	w.settle()
}

// TestOverTheLargestMessage: three ways, three errors.
func TestOverTheLargestMessage(t *testing.T) {
	w := newWorldOn(t, 1, lan, session.Config{MaxMessage: 1 << 20}, session.Config{MaxMessage: 100000}, sim.LinkOptions{})
	w.call("early", 1, pattern(200000, 1), 0) // the server's limit is not known yet
	k := w.wait("early", time.Second)
	if k.Err() != nil || k.Code() != session.ResourceExhausted || !k.Refused() || !strings.Contains(string(k.Body()), "request exceeds the server's largest message") {
		t.Errorf("the server's limit: %s %q", describe(k), k.Body())
	}
	k.Release()
	if k, err := w.conn.NewCall(); err != nil {
		t.Error(err)
	} else if err := k.StartBytes(w.net.Now(), 1, pattern(100001, 1), 0); err != session.ErrTooLarge {
		t.Errorf("the limit of both: %v", err)
	} else {
		k.Discard()
	}
	w.serve = func(k *session.Call) { k.ReplyBytes(w.net.Now(), session.OK, session.Executed, pattern(100001, 1)) }
	w.call("reply", 1, []byte("x"), 0)
	k = w.wait("reply", time.Second)
	if k.Err() != nil || k.Code() != session.ResourceExhausted || k.Refused() || !strings.Contains(string(k.Body()), "reply exceeds the largest message") {
		t.Errorf("a large reply: %s %q", describe(k), k.Body())
	}
	k.Release()
	w.settle()
}

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

func TestDeadlineAtTheClient(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{CallsPerSession: 1})
	w.establish()
	w.serve = func(*session.Call) {} // never answers
	start := w.net.Now()
	w.call("sent", 1, []byte("s"), 5*time.Millisecond)
	w.call("unsent", 1, []byte("u"), 3*time.Millisecond) // waits for the slot
	w.call("past", 1, []byte("p"), -1)
	for _, x := range []struct {
		tag     string
		outcome session.Outcome
		after   time.Duration
	}{{"past", session.NotExecuted, 0}, {"unsent", session.NotExecuted, 3 * time.Millisecond}, {"sent", session.MaybeExecuted, 5 * time.Millisecond}} {
		k := w.wait(x.tag, time.Second)
		if err := k.Err(); err == nil || err.Code != session.DeadlineExceeded || err.Outcome != x.outcome {
			t.Errorf("%s: %s", x.tag, describe(k))
		}
		if d := w.net.Now().Sub(start); d < x.after || d > x.after+50*time.Microsecond {
			t.Errorf("%s: ended after %v, want %v", x.tag, d, x.after)
		}
		k.Release()
	}
	w.run(time.Millisecond, nil)
	if w.gone != 1 {
		t.Errorf("the server was told of %d calls that nobody waits for, want 1", w.gone)
	}
	if w.server.core.Answering() != 1 {
		t.Error("an answer is still due")
	}
}

// TestDeadlineTravels: the server sees what is left of the client's time, to the precision of its clock.
func TestDeadlineTravels(t *testing.T) {
	w := newWorld(t, 1, sim.Faults{Delay: time.Millisecond}, session.Config{})
	w.establish()
	var left []time.Duration
	w.serve = func(k *session.Call) {
		if k.Deadline() == 0 {
			left = append(left, 0)
		} else {
			left = append(left, k.Deadline().Sub(w.net.Now()))
		}
		w.echo(k)
	}
	for i, timeout := range []time.Duration{0, 10 * time.Millisecond, 100 * time.Hour} { // the last is more than the field holds
		w.call(i, 1, nil, timeout)
		w.wait(i, time.Second).Release()
	}
	if want := []time.Duration{0, 10 * time.Millisecond, (1<<32 - 1) * time.Microsecond}; !slices.Equal(left, want) {
		t.Errorf("left at the server: %v, want %v", left, want)
	}
	w.settle()
}

// TestExpiredRequestsAreDropped: a server that was paused does not run what nobody waits for any more. The link stamps packets as it sees them
// (in a simulation, at arrival), so the wait before the turn counts as well as the one in the network's queues.
func TestExpiredRequestsAreDropped(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	w.server.pausedUntil = w.net.Now().Add(110 * time.Millisecond)
	for i := range 10 {
		w.call(i, 1, []byte{byte(i)}, time.Duration(1+i)*20*time.Millisecond)
	}
	served := 0
	for i := range 10 {
		k := w.wait(i, time.Second)
		if k.Err() == nil {
			served++
		}
		k.Release()
	}
	if len(w.executions) != 5 || served != 5 {
		t.Errorf("%d requests were run and %d answered, want the 5 whose time had not passed", len(w.executions), served)
	}
	w.settle()
}

// TestRequestsDelayedInTheNetworkExpire: time spent in queues on the way is taken off the deadline, though the two clocks are not compared.
func TestRequestsDelayedInTheNetworkExpire(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	w.call("warm", 1, []byte("warm"), 0)
	w.wait("warm", time.Second).Release()
	w.net.SetFaults(clientAddr, serverAddr, sim.Faults{Delay: 30 * time.Millisecond})
	w.call("a", 1, []byte("a"), 20*time.Millisecond)
	w.call("b", 1, []byte("b"), 60*time.Millisecond)
	w.wait("a", time.Second).Release()
	if k := w.wait("b", time.Second); k.Err() != nil {
		t.Error(describe(k))
	} else {
		k.Release()
	}
	if w.executions["a"] != 0 || w.executions["b"] != 1 || w.server.core.Stats().Expired == 0 {
		t.Errorf("executed %v, expired %d", w.executions, w.server.core.Stats().Expired)
	}
	w.settle()
}

// TestCancelAtEveryStep cancels a call after each number of steps that it takes. The outcome is true, the session goes on, nothing is left behind.
func TestCancelAtEveryStep(t *testing.T) {
	for _, size := range []int{10, 20000} {
		outcomes := map[string]int{}
		for k, ended := 0, false; !ended; k++ {
			w := newWorld(t, 1, lan, session.Config{Window: 4})
			w.serve = func(call *session.Call) { w.in(300*time.Microsecond, func() { w.echo(call) }) }
			call := w.call("a", 1, pattern(size, 1), 0)
			for range k {
				w.turns()
				w.advance(w.net.Now().Add(time.Second))
			}
			if ended = call.Ended(); !ended {
				call.Cancel(w.net.Now())
				call.Cancel(w.net.Now())
			}
			w.wait("a", 0)
			switch err := call.Err(); {
			case ended && err == nil:
				outcomes["answered"]++
			case !ended && err != nil && err.Code == session.Canceled:
				outcomes[err.Outcome.String()]++
				if err.Outcome == session.NotExecuted {
					w.run(10*time.Millisecond, nil)
					if len(w.executions) != 0 {
						t.Errorf("%d bytes, step %d: it ran", size, k)
					}
				}
			default:
				t.Errorf("%d bytes, step %d: %s", size, k, describe(call))
			}
			call.Release()
			w.serve = nil
			w.call("b", 1, []byte("after"), 0)
			if b := w.wait("b", time.Second); b.Err() != nil || string(b.Body()) != "after" {
				t.Errorf("%d bytes, step %d: the next call: %s", size, k, describe(b))
			} else {
				b.Release()
			}
			w.settle()
		}
		if outcomes["not executed"] == 0 || outcomes["unknown"] == 0 || outcomes["answered"] != 1 {
			t.Errorf("%d bytes: outcomes %v", size, outcomes)
		}
	}
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
		if n := w.client.link.Counts().Borrowed; n != min(i+1, 16) { // the later ones have moved out of their frames
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

func TestLease(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	k := w.call("a", 1, nil, 0)
	w.wait("a", time.Second)
	lease := k.Lease()
	if !k.EndLease(lease) || k.EndLease(lease) || k.Lease() == lease {
		t.Error("a lease ends once")
	}
	k.Release()
	w.settle()
}

// TestSequenceNumbersWrap: a slot's sequence number begins anew after 2²⁰ calls.
func TestSequenceNumbersWrap(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{CallsPerSession: 1})
	w.establish()
	w.call("first", 1, nil, 0) // both ends have the slot now
	w.wait("first", time.Second).Release()
	w.conn.SetSeq(0, 1<<20-4)
	for c := range w.sessions {
		c.SetSeq(0, 1<<20-4)
	}
	for i := range 8 {
		w.call(i, 1, []byte{byte(i)}, 0)
		k := w.wait(i, time.Second)
		if k.Err() != nil || !bytes.Equal(k.Body(), []byte{byte(i)}) || w.executions[string([]byte{byte(i)})] != 1 {
			t.Errorf("call %d: %s", i, describe(k))
		}
		k.Release()
	}
	w.settle()
}
