package session_test

import (
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// busyStream is a stream in the middle of a conversation: both parties have much more to say.
func (s *streams) busyStream(tag any, timeout time.Duration) (client, server *party) {
	s.t.Helper()
	s.opened = func(p *party) {
		server = p
		p.send(messages(10_000, 100, 5000)...)
	}
	client = s.open(tag, 1, timeout)
	client.send(messages(10_000, 100, 5000)...)
	if !s.run(time.Second, func() bool { return server != nil && len(server.in) > 20 && len(client.in) > 20 }) {
		s.t.Fatal("the stream does not run")
	}
	return client, server
}

// TestStreamSessionFails: whatever ends the session ends its streams, at both ends, with an outcome that holds.
func TestStreamSessionFails(t *testing.T) {
	for _, x := range []struct {
		name string
		do   func(s *streams)
		code session.Code
	}{
		{"the client closes it", func(s *streams) { s.conn.Close(s.net.Now(), session.Canceled, "enough") }, session.Canceled},
		{"the server closes it", func(s *streams) {
			for c := range s.sessions {
				c.Close(s.net.Now(), session.ResourceExhausted, "enough")
			}
		}, session.ResourceExhausted},
		{"the server crashes", func(s *streams) { s.crash(s.server) }, session.Unavailable},
		{"the network is cut", func(s *streams) {
			s.net.Partition(clientAddr, serverAddr, true)
			s.net.Partition(serverAddr, clientAddr, true)
		}, session.Unavailable},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := newStreams(t, 1, lan, session.Config{}, session.Config{IdleTimeout: 2 * time.Second}, sim.LinkOptions{})
			_, server := s.busyStream("a", 0)
			x.do(s)
			k := s.wait("a", time.Second)
			if err := k.Err(); err == nil || err.Code != x.code || err.Outcome != session.MaybeExecuted {
				t.Error(describe(k))
			}
			k.Release()
			if s.server != nil && !s.run(5*time.Second, func() bool { return server.gone }) {
				t.Error("the server's handler does not hear of it")
			}
			s.net.Partition(clientAddr, serverAddr, false)
			s.net.Partition(serverAddr, clientAddr, false)
			s.settle()
		})
	}
}

// TestStreamDeadline: a stream ends at its deadline, however busy it is, and the server hears of it.
func TestStreamDeadline(t *testing.T) {
	for _, f := range []sim.Faults{lan, rough} {
		s := newStreams(t, 1, f, session.Config{}, session.Config{}, sim.LinkOptions{})
		start := s.net.Now()
		_, server := s.busyStream("a", 20*time.Millisecond)
		k := s.wait("a", time.Second)
		if err := k.Err(); err == nil || err.Code != session.DeadlineExceeded || err.Outcome != session.MaybeExecuted {
			t.Error(describe(k))
		}
		if d := s.net.Now().Sub(start); d < 20*time.Millisecond || d > 21*time.Millisecond {
			t.Errorf("it ended after %v", d)
		}
		k.Release()
		if !s.run(time.Second, func() bool { return server.gone }) {
			t.Error("the server does not hear of it")
		}
		s.settle()
	}
}

// TestStreamOutcomes: a stream that was never opened at the server says so.
func TestStreamOutcomes(t *testing.T) {
	s := newStreams(t, 1, lan, session.Config{}, session.Config{CallsPerSession: 1}, sim.LinkOptions{})
	s.establish()
	s.opened = func(*party) {}
	s.open("open", 1, 30*time.Millisecond)
	s.open("waits", 2, 10*time.Millisecond)
	s.open("past", 3, -1)
	cancelled := s.open("cancelled", 4, 0)
	cancelled.call.Cancel(s.net.Now())
	for _, x := range []struct {
		tag     string
		code    session.Code
		outcome session.Outcome
	}{
		{"past", session.DeadlineExceeded, session.NotExecuted}, {"cancelled", session.Canceled, session.NotExecuted},
		{"waits", session.DeadlineExceeded, session.NotExecuted}, {"open", session.DeadlineExceeded, session.MaybeExecuted},
	} {
		k := s.wait(x.tag, time.Second)
		if err := k.Err(); err == nil || err.Code != x.code || err.Outcome != x.outcome {
			t.Errorf("%s: %s", x.tag, describe(k))
		}
		k.Release()
	}
	for method, want := range map[string]int{"stream 1": 1, "stream 2": 0, "stream 3": 0, "stream 4": 0} {
		if s.executions[method] != want {
			t.Errorf("%s was opened %d times, want %d", method, s.executions[method], want)
		}
	}
	s.settle()
}

// TestStreamBudget: messages for which the reader's end has no memory come again until it has, in order, and those of others too.
func TestStreamBudget(t *testing.T) {
	for _, f := range []sim.Faults{lan, rough} {
		for seed := range uint64(10) {
			cfg := session.Config{Reassembly: 100_000, StreamWindow: 16}
			s := newStreams(t, seed, f, cfg, cfg, sim.LinkOptions{})
			s.opened = func(p *party) { p.reply(session.OK, nil) }
			want := messages(40, 30_000, 45_000, 100)
			var ends []*party
			var servers = map[uint32]*party{}
			s.opened = func(p *party) {
				servers[p.call.Method()] = p
				p.reply(session.OK, nil)
			}
			for i := range 3 {
				p := s.open(i, uint32(i), 0)
				p.send(want...)
				p.end()
				ends = append(ends, p)
			}
			for i := range ends {
				k := s.wait(i, time.Minute)
				if k.Err() != nil {
					t.Errorf("seed %d, stream %d: %s", seed, i, describe(k))
				} else {
					servers[uint32(i)].wantMessages("to the server", want)
				}
				k.Release()
			}
			if s.server.core.Stats().ReassemblyRefused == 0 {
				t.Error("nothing was refused: the test shows nothing")
			}
			s.settle()
		}
	}
}

// TestStreamBudgetNeverFreed: a reader who keeps all the memory ends the stream of who wants to send him more, and no other.
func TestStreamBudgetNeverFreed(t *testing.T) {
	cfg := session.Config{Reassembly: 300_000}
	s := newStreams(t, 1, lan, session.Config{}, cfg, sim.LinkOptions{})
	s.opened = func(p *party) { p.keeps = true }
	p := s.open("a", 1, 0)
	p.send(messages(30, 20_000)...)
	s.run(time.Second, nil)
	s.call("u", 1, []byte("x"), 0)
	s.wait("u", time.Second).Release()
	k := s.wait("a", 10*time.Second)
	if err := k.Err(); err == nil || err.Code != session.ResourceExhausted || err.Outcome != session.MaybeExecuted {
		t.Error(describe(k))
	}
	k.Release()
	if !s.conn.Established() {
		t.Errorf("the session is closed: %v", s.closed)
	}
	if !s.run(time.Second, func() bool { return s.gone == 1 }) {
		t.Error("the server does not hear of it")
	}
	s.settle()
}

// TestStreamGivenUp: the server gives a stream up in which half of a message never comes. A client that was only held up hears of it.
func TestStreamGivenUp(t *testing.T) {
	s := newStreams(t, 1, lan, session.Config{}, session.Config{}, sim.LinkOptions{})
	s.establish()
	s.opened = func(*party) {}
	p := s.open("a", 1, 0)
	p.send(pattern(10<<20, 1))
	s.run(300*time.Microsecond, nil)
	if s.server.core.Audit().Reassembly == 0 {
		t.Fatal("no part of the message has come")
	}
	s.client.pausedUntil = s.net.Now().Add(7 * time.Second)
	if !s.run(6500*time.Millisecond, func() bool { return s.gone == 1 }) {
		t.Error("the server waits for ever")
	}
	if a := s.server.core.Audit(); a.Reassembly != 0 || a.Credit != 0 {
		t.Errorf("the server keeps the memory: %+v", a)
	}
	k := s.wait("a", 10*time.Second)
	if err := k.Err(); err == nil || err.Outcome != session.MaybeExecuted {
		t.Error(describe(k))
	}
	k.Release()
	s.settle()
}

// TestStreamAbandoned: a server ends a stream whose client does not take all of a long message: its memory is not read any more, and the client
// hears why. Words that no server says mean that it has given the stream up.
func TestStreamAbandoned(t *testing.T) {
	for said, heard := range map[session.Code]session.Error{
		session.Unavailable:      {Code: session.Unavailable, Outcome: session.Executed, Reason: "the server is shutting down"},
		session.DeadlineExceeded: {Code: session.DeadlineExceeded, Outcome: session.MaybeExecuted, Reason: "the deadline passed before a reply came"},
		session.OK:               {Code: session.Unavailable, Outcome: session.MaybeExecuted, Reason: "the server has given up the call: it stood still for too long"},
		session.Internal:         {Code: session.Unavailable, Outcome: session.MaybeExecuted, Reason: "the server has given up the call: it stood still for too long"},
	} {
		s := newStreams(t, 1, lan, session.Config{Reassembly: 150_000}, session.Config{}, sim.LinkOptions{})
		var server *party
		body := [][]byte{pattern(100_000, 1), pattern(100_000, 2)}
		s.opened = func(p *party) {
			server = p
			p.send(body...)
		}
		p := s.open("a", 1, 0)
		p.keeps = true
		if !s.run(time.Second, func() bool { return len(p.in) == 1 && s.client.core.Stats().ReassemblyRefused > 0 }) {
			t.Fatal("the client takes more than it has room for, or nothing")
		}
		server.call.Abandon(said)
		clear(body[1]) // nobody reads it
		k := s.wait("a", time.Second)
		if err := k.Err(); err == nil || *err != heard {
			t.Errorf("the server says %v: %s", said, describe(k))
		}
		if !s.run(time.Second, func() bool { return server.gone }) {
			t.Error("the handler does not hear of it")
		}
		p.giveBack()
		k.Release()
		s.settle()
	}
}

// TestStreamEndsWithinMessage: the client gives up in the middle of a long message to it. Its memory is free at once, whenever the call is
// released, and nothing looks for its rest.
func TestStreamEndsWithinMessage(t *testing.T) {
	s := newStreams(t, 1, lan, session.Config{}, session.Config{}, sim.LinkOptions{})
	s.establish()
	s.opened = func(p *party) { p.send(pattern(10<<20, 1)) }
	p := s.open("a", 1, 0)
	s.run(time.Second, func() bool { return s.client.core.Audit().Reassembly != 0 })
	p.call.Cancel(s.net.Now())
	k := s.wait("a", time.Second)
	if a := s.client.core.Audit(); a.Reassembly != 0 || a.Credit != 0 {
		t.Errorf("it keeps the memory: %+v", a)
	}
	s.run(20*time.Second, nil)
	k.Release()
	s.settle()
}
