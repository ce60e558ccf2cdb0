package session_test

import (
	"slices"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

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
