package session_test

import (
	"slices"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
	"github.com/fastrpc/fastrpc/transport/wire"
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

// TestForgedHelloEndsNothing: a Hello as if the client had been restarted, from somebody who does not receive at its address. Only a client that
// shows that it does ends its predecessor's session.
func TestForgedHelloEndsNothing(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	w.inject(&wire.Handshake{Kind: wire.Hello, Calls: 1, Source: 12345, Incarnation: 999, MaxPacket: 1500})
	w.run(10*time.Millisecond, func() bool { return w.server.core.Sessions() == 2 })
	w.call("a", 1, []byte("x"), 0)
	if k := w.wait("a", time.Second); k.Err() != nil {
		t.Error(describe(k))
	} else {
		k.Release()
	}
	w.settle()
}

// inject sends a handshake packet to the server as if from the client's address.
func (w *world) inject(h *wire.Handshake) {
	b := make([]byte, 2048)
	w.net.Inject(clientAddr, serverAddr, b[:h.Put(b)])
}

// TestSessionOpensBeforeItsRequests: the request comes first when the ping that completes the handshake is lost.
func TestSessionOpensBeforeItsRequests(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.run(time.Second, func() bool { return w.server.core.Sessions() == 1 })
	w.net.Partition(clientAddr, serverAddr, true)
	w.in(100*time.Microsecond, func() {
		w.net.Partition(clientAddr, serverAddr, false)
		w.call("a", 1, []byte("x"), 0)
	})
	var order []session.EventKind
	inner := w.server.onEvent
	w.server.onEvent = func(ev session.Event) {
		order = append(order, ev.Kind)
		inner(ev)
	}
	w.run(time.Second, func() bool { return w.ended["a"] != nil })
	if !slices.Equal(order, []session.EventKind{session.SessionOpened, session.RequestArrived}) {
		t.Errorf("events %v", order)
	}
	w.settle()
}

// TestWindowOpensWhenDeadCallsAreLost: a window full of packets whose calls have ended must not hold up those that wait behind it.
func TestWindowOpensWhenDeadCallsAreLost(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{Window: 4})
	w.establish()
	w.run(time.Millisecond, nil)
	w.net.Partition(clientAddr, serverAddr, true)
	for i := range 4 {
		w.call(i, 1, []byte("dead"), 500*time.Microsecond)
	}
	w.call("live", 1, []byte("x"), 0)
	w.in(600*time.Microsecond, func() { w.net.Partition(clientAddr, serverAddr, false) })
	start := w.net.Now()
	w.wait("live", time.Second).Release()
	if d := w.net.Now().Sub(start); d > 10*time.Millisecond {
		t.Errorf("it took %v", d)
	}
	w.settle()
}

// TestKeepAliveHeedsTheServer: an idle session stays open though the server's patience is shorter than the client's interval.
func TestKeepAliveHeedsTheServer(t *testing.T) {
	for _, idle := range []time.Duration{600 * time.Millisecond, 3 * time.Second} {
		w := newWorldOn(t, 1, lan, session.Config{}, session.Config{IdleTimeout: idle}, sim.LinkOptions{})
		w.establish()
		w.run(time.Minute, func() bool { return w.closed != nil || len(w.sessions) == 0 })
		if w.closed != nil || len(w.sessions) != 1 {
			t.Errorf("idle timeout %v: the session closed: %v", idle, w.closed)
		}
		w.settle()
	}
}

// TestSmallMessageOverTheLimit: a limit below one packet holds too, both ways, with calls built in place.
func TestSmallMessageOverTheLimit(t *testing.T) {
	w := newWorldOn(t, 1, lan, session.Config{}, session.Config{MaxMessage: 100}, sim.LinkOptions{})
	early := w.call("early", 1, pattern(101, 1), 0) // before the server's limit is known
	if n := len(early.Buffer()); n > 0 {
		t.Errorf("a large request keeps a buffer of %d bytes", n)
	}
	w.establish()
	k := w.wait("early", time.Second)
	if k.Err() != nil || k.Code() != session.ResourceExhausted || !k.Refused() || w.server.core.Stats().Requests != 0 {
		t.Errorf("early: %s", describe(k))
	}
	k.Release()
	k, err := w.conn.NewCall()
	if err != nil || len(k.Buffer()) != 100 {
		t.Errorf("room for %d bytes, want 100", len(k.Buffer()))
	}
	if err := k.StartBytes(w.net.Now(), 1, pattern(101, 1), 0); err != session.ErrTooLarge {
		t.Errorf("StartBytes: %v", err)
	}
	k.Discard()
	w.settle()
}

// TestRefusedReplyIsCalledOff: a server whose reply the client cannot take learns it at once, and sends no more of it.
func TestRefusedReplyIsCalledOff(t *testing.T) {
	w := newWorldOn(t, 1, lan, session.Config{Reassembly: 5000}, session.Config{}, sim.LinkOptions{})
	w.establish()
	w.serve = func(k *session.Call) { k.ReplyBytes(w.net.Now(), session.OK, session.Executed, pattern(10<<20, 1)) }
	w.call("a", 1, []byte("x"), 0)
	w.wait("a", time.Second).Release()
	w.run(time.Second, func() bool { return w.server.core.Audit().Records == 0 })
	if s := w.server.core.Stats(); s.Sent > 600 {
		t.Errorf("the server sent %d packets", s.Sent)
	}
	w.settle()
}

// TestLostRequestOfAnEndedCall: a request is lost, its call ends at its deadline and is not released for a while. Nothing of it is sent again.
func TestLostRequestOfAnEndedCall(t *testing.T) {
	for _, size := range []int{10, 5000} {
		w := newWorld(t, 1, lan, session.Config{})
		w.establish()
		w.net.Partition(clientAddr, serverAddr, true)
		w.call("a", 1, pattern(size, 1), 500*time.Microsecond)
		w.in(600*time.Microsecond, func() { w.net.Partition(clientAddr, serverAddr, false) })
		k := w.wait("a", time.Second)
		w.run(200*time.Millisecond, nil)
		if n := w.server.core.Stats().Requests; n != 0 || w.server.core.Audit().Records != 0 {
			t.Errorf("%d bytes: %d requests arrived, %d are being received", size, n, w.server.core.Audit().Records)
		}
		k.Release()
		w.settle()
	}
}

// TestMalformedRequestLeavesNothing: the first part of a request contradicts itself. It counts as not received, holds no record, and the request
// may still come.
func TestMalformedRequestLeavesNothing(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	w.run(time.Millisecond, nil)
	number := uint32(100)
	say := func(f wire.Frame) {
		for c := range w.sessions {
			b := make([]byte, wire.Overhead+len(f.Payload)+wire.ChecksumBytes)
			number++
			(&wire.DataHeader{Session: c.ID(), Number: number, Stamp: uint32(w.net.Now() / 1000)}).Put(b)
			f.Put(b[wire.DataHeaderBytes:], len(f.Payload))
			copy(b[wire.Overhead:], f.Payload)
			wire.Sum(b)
			w.net.Inject(clientAddr, serverAddr, b)
		}
		w.run(100*time.Microsecond, nil)
	}
	id := wire.CallID(3, 1)
	for i, f := range []wire.Frame{
		{Type: wire.Request, Flags: wire.FlagMore, Payload: []byte{1, 2, 3}},         // no room for the total
		{Type: wire.Request, Flags: wire.FlagMore, Payload: []byte{1, 0, 0, 0, 'x'}}, // not in parts at all
		{Type: wire.Request, Flags: wire.FlagMore, Payload: []byte{9, 0, 0, 0, 'x'}}, // parts of one byte
		{Type: wire.Fragment, A: 300, B: 200, Payload: []byte("x")},                  // behind the end
		{Type: wire.Fragment, A: 1<<32 - 1, B: 1<<32 - 1, Payload: []byte("x")},      //
		{Type: wire.Fragment, A: 256, B: 257 + 256, Payload: make([]byte, 258)},      // over the end
		{Type: wire.Fragment, A: 100, B: 1000, Payload: make([]byte, 300)},           // of a request whose beginning never came
		{Type: wire.Fragment, A: 512, B: 1000, Payload: nil},                         // empty
	} {
		f.Call = id
		dropped := func() uint64 { s := w.server.core.Stats(); return s.Malformed + s.Duplicates }
		before := dropped()
		say(f)
		if a := w.server.core.Audit(); a.Records != 0 || a.Held != 0 || a.Reassembly != 0 {
			t.Errorf("%d: it left %+v", i, a)
		}
		if dropped() != before+1 {
			t.Errorf("%d: it was not counted", i)
		}
	}
	say(wire.Frame{Type: wire.Request, Call: id, Payload: []byte("hello")})
	if w.executions["hello"] != 1 {
		t.Error("the request that came after was not run")
	}
}

// TestDuplicatedPackets: a packet that the network delivers twice is taken once; it makes nobody send anything again.
func TestDuplicatedPackets(t *testing.T) {
	w := newWorld(t, 1, sim.Faults{Delay: 10 * time.Microsecond, Duplicate: 1, ReorderDelay: 5 * time.Microsecond}, session.Config{})
	w.establish()
	for i := range 100 {
		w.call(i, 1, pattern(100*i, byte(i)), 0)
		w.wait(i, time.Second).Release()
	}
	if c, s := w.client.core.Stats(), w.server.core.Stats(); c.Retransmitted+s.Retransmitted != 0 || c.Duplicates < 100 || s.Duplicates < 100 || s.Requests != 100 {
		t.Errorf("sent again %d and %d, duplicates %d and %d, requests %d", c.Retransmitted, s.Retransmitted, c.Duplicates, s.Duplicates, s.Requests)
	}
	w.settle()
}
