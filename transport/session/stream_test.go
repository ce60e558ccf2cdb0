package session_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

var rough = sim.Faults{
	Delay: 30 * time.Microsecond, Jitter: 20 * time.Microsecond, Reorder: 0.2, ReorderDelay: 500 * time.Microsecond,
	Loss: 0.1, Duplicate: 0.05, Corrupt: 0.02,
}

// TestStreamMessages: what goes in at one end comes out at the other, in order and whole, in every shape of stream, over a good network and
// over a bad one. The client ends, the server answers with a status and a last message, and the stream is over.
func TestStreamMessages(t *testing.T) {
	for _, net := range []struct {
		name   string
		faults sim.Faults
	}{{"good", lan}, {"bad", rough}} {
		for _, x := range []struct {
			name           string
			client, server [][]byte
			answer         int
		}{
			{"nothing", nil, nil, 0},
			{"empty messages", messages(5, 0), messages(5, 0), 0},
			{"small, client to server", messages(100, 8, 300, 1), nil, 10},
			{"small, server to client", nil, messages(100, 8, 300, 1), 10},
			{"long, client to server", messages(40, 5000, 100_000), nil, 0},
			{"long, server to client", nil, messages(40, 5000, 100_000), 30_000},
			{"all, both ways", messages(150, 0, 8, 3000, 64, 40_000, 1500), messages(130, 1500, 9, 2, 20_000, 0), 5000},
		} {
			t.Run(net.name+"/"+x.name, func(t *testing.T) {
				for seed := range uint64(5) {
					s := newStreams(t, seed, net.faults, session.Config{}, session.Config{}, sim.LinkOptions{})
					var server *party
					s.opened = func(p *party) {
						server = p
						p.send(x.server...)
						p.reply(session.InvalidArgument, pattern(x.answer, 5))
					}
					p := s.open("a", 9, 0)
					p.send(x.client...)
					p.end()
					k := s.wait("a", time.Minute)
					if k.Err() != nil || k.Code() != session.InvalidArgument || !bytes.Equal(k.Body(), pattern(x.answer, 5)) || !k.Drained() {
						t.Errorf("%s, drained %v", describe(k), k.Drained())
					}
					p.wantMessages("to the client", x.server)
					server.wantMessages("to the server", x.client)
					k.Release()
					s.settle()
				}
			})
		}
	}
}

// TestStreamPingPong: each message waits for the other's.
func TestStreamPingPong(t *testing.T) {
	for _, f := range []sim.Faults{lan, rough} {
		s := newStreams(t, 1, f, session.Config{}, session.Config{}, sim.LinkOptions{})
		s.opened = func(p *party) {
			p.onRead = func(b []byte) { p.out = append(p.out, b) }
			p.reply(session.OK, nil)
		}
		const rounds = 300
		p := s.open("a", 1, 0)
		p.onRead = func([]byte) {
			if len(p.out) < rounds {
				p.out = append(p.out, pattern(len(p.out)*37%4000, byte(len(p.out))))
			} else {
				p.ending = true
			}
		}
		p.send(nil)
		k := s.wait("a", time.Minute)
		if k.Err() != nil {
			t.Error(describe(k))
		}
		p.wantMessages("echoes", p.out)
		if len(p.in) != rounds {
			t.Errorf("%d rounds", len(p.in))
		}
		k.Release()
		s.settle()
	}
}

// TestStreamHalfClosed: a client that has ended sends no more, and hears what the server goes on to say.
func TestStreamHalfClosed(t *testing.T) {
	s := newStreams(t, 1, lan, session.Config{}, session.Config{}, sim.LinkOptions{})
	var server *party
	s.opened = func(p *party) { server = p }
	p := s.open("a", 1, 0)
	p.send(messages(3, 10)...)
	p.end()
	s.run(time.Second, func() bool { return server != nil && server.call.Drained() })
	server.wantMessages("to the server", p.out)
	if err := p.call.Send(nil); err == nil || err.Code != session.FailedPrecondition {
		t.Errorf("Send after CloseSend: %v", err)
	}
	if err := p.call.CloseSend(); err == nil || err.Code != session.FailedPrecondition {
		t.Errorf("CloseSend after CloseSend: %v", err)
	}
	for i := range 100 {
		s.in(time.Duration(i)*10*time.Millisecond, func() { server.send(pattern(500, byte(i))) })
	}
	s.in(2*time.Second, func() { server.reply(session.OK, []byte("bye")) })
	k := s.wait("a", time.Minute)
	p.wantMessages("to the client", server.out)
	if len(p.in) != 100 || string(k.Body()) != "bye" {
		t.Errorf("%d messages; %s", len(p.in), describe(k))
	}
	k.Release()
	s.settle()
}

// TestStreamEarlyReply: a server that has heard enough ends the stream while the client sends. All that it sent before arrives.
func TestStreamEarlyReply(t *testing.T) {
	for _, f := range []sim.Faults{lan, rough} {
		for seed := range uint64(20) {
			s := newStreams(t, seed, f, session.Config{}, session.Config{}, sim.LinkOptions{})
			var server *party
			s.opened = func(p *party) {
				server = p
				p.onRead = func([]byte) {
					if len(p.in) == 10 {
						p.early = true
						p.out = append(p.out, messages(20, 100, 9000)...)
						p.replies, p.code = true, session.FailedPrecondition
					}
				}
			}
			p := s.open("a", 1, 0)
			p.send(messages(500, 100, 2000)...)
			k := s.wait("a", time.Minute)
			if k.Err() != nil || k.Code() != session.FailedPrecondition {
				t.Error(describe(k))
			}
			p.wantMessages("to the client", server.out)
			if err := k.Send(nil); err == nil || err.Code != session.FailedPrecondition {
				t.Errorf("Send after the end: %v", err)
			}
			k.Release()
			s.settle()
		}
	}
}

// TestStreamCancelled: a client that gives up while both sides write is heard by the server, though the network loses the word at first.
func TestStreamCancelled(t *testing.T) {
	for _, cut := range []time.Duration{0, 300 * time.Microsecond, 100 * time.Millisecond} {
		s := newStreams(t, 1, lan, session.Config{}, session.Config{}, sim.LinkOptions{})
		s.establish()
		var server *party
		s.opened = func(p *party) {
			server = p
			p.send(messages(1000, 100, 5000)...)
		}
		p := s.open("a", 1, 0)
		p.send(messages(1000, 100, 5000)...)
		s.run(2*time.Millisecond, nil)
		if cut > 0 {
			s.net.Partition(clientAddr, serverAddr, true)
			s.in(cut, func() { s.net.Partition(clientAddr, serverAddr, false) })
		}
		p.call.Cancel(s.net.Now())
		k := s.wait("a", time.Millisecond)
		if err := k.Err(); err == nil || err.Code != session.Canceled || err.Outcome != session.MaybeExecuted {
			t.Error(describe(k))
		}
		k.Release()
		if !s.run(cut+200*time.Millisecond, func() bool { return server.gone }) {
			t.Errorf("cut off for %v: the server does not hear of it", cut)
		}
		s.settle()
	}
}

// TestStreamReaderStops: a reader that does nothing stops its own writer, who hears of it, and nobody else. What waits for him is bounded by the
// window. When he goes on, so does the stream.
func TestStreamReaderStops(t *testing.T) {
	const window = 8
	for _, size := range []int{100, 6000} {
		for _, side := range []string{"client", "server"} {
			for _, f := range []sim.Faults{lan, rough} {
				t.Run(fmt.Sprintf("%s/%d/loss=%v", side, size, f.Loss), func(t *testing.T) {
					cfg := session.Config{StreamWindow: window}
					s := newStreams(t, 1, f, cfg, cfg, sim.LinkOptions{})
					var stuck, busy *party
					s.opened = func(p *party) {
						if p.call.Method() == 1 {
							stuck = p
							p.stopped = side == "client"
						} else {
							busy = p
						}
					}
					a, b := s.open("a", 1, 0), s.open("b", 2, 0)
					if !s.run(time.Second, func() bool { return stuck != nil && busy != nil }) {
						t.Fatal("the streams are not open")
					}
					writer, reader := a, stuck
					if side == "server" {
						writer, reader = stuck, a
						reader.stopped = true
					}
					writer.send(messages(5*window, size)...)
					s.run(2*time.Second, nil)
					if writer.sent != window || writer.refused == 0 {
						t.Errorf("%d messages were taken, want %d; refused %d times", writer.sent, window, writer.refused)
					}
					for name, n := range map[string]*node{"client": s.client, "server": s.server} {
						if a := n.core.Audit(); a.Reassembly > window*int64(size) || a.InHeld > window*5 {
							t.Errorf("%s: %+v", name, a)
						}
					}
					b.send(messages(200, size)...) // the others go on
					busy.send(messages(200, size)...)
					b.end()
					busy.reply(session.OK, nil)
					for i := range 20 {
						s.call(i, 1, pattern(size, byte(i)), 0)
						if k := s.wait(i, 2*time.Second); k.Err() != nil || len(k.Body()) != size {
							t.Error(describe(k))
						} else {
							k.Release()
						}
					}
					s.wait("b", 10*time.Second).Release()
					b.wantMessages("beside it, to the client", busy.out)
					busy.wantMessages("beside it, to the server", b.out)
					if writer.sent != window {
						t.Errorf("%d messages were taken by now", writer.sent)
					}
					reader.stopped = false
					reader.turn()
					a.end()
					stuck.reply(session.OK, nil)
					s.wait("a", 10*time.Second).Release()
					reader.wantMessages("when it goes on", writer.out)
					if writer.writable == 0 {
						t.Error("the writer was not told that he may go on")
					}
					s.settle()
				})
			}
		}
	}
}

// TestStreamBeforeSession: a stream may be begun before there is a session, or a slot; its writer hears when he may send.
func TestStreamBeforeSession(t *testing.T) {
	s := newStreams(t, 1, lan, session.Config{}, session.Config{CallsPerSession: 1}, sim.LinkOptions{})
	servers := 0
	s.opened = func(p *party) {
		servers++
		p.reply(session.OK, nil)
	}
	first, second := s.open("first", 1, 0), s.open("second", 1, 0)
	for _, p := range []*party{first, second} {
		p.send(messages(50, 100)...)
		p.end()
		if p.sent != 0 || p.refused == 0 {
			t.Errorf("%d messages were taken, %d refused", p.sent, p.refused)
		}
	}
	s.wait("first", time.Second).Release()
	s.wait("second", time.Second).Release()
	if first.sent != 50 || second.sent != 50 || servers != 2 {
		t.Errorf("%d and %d messages went, to %d streams", first.sent, second.sent, servers)
	}
	s.settle()
}

// TestStreamReadLate: what has come before the end can be read after it, and given back.
func TestStreamReadLate(t *testing.T) {
	s := newStreams(t, 1, lan, session.Config{}, session.Config{}, sim.LinkOptions{})
	want := messages(20, 10, 4000)
	s.opened = func(p *party) {
		p.early = true
		p.send(want...)
		p.reply(session.OK, nil)
	}
	p := s.open("a", 1, 0)
	p.stopped = true
	k := s.wait("a", time.Second)
	p.keeps = true
	p.read()
	p.wantMessages("after the end", want)
	for i, m := range p.kept {
		if !bytes.Equal(m.Body(), want[i]) {
			t.Errorf("message %d changed while it was kept", i)
		}
	}
	p.giveBack()
	k.Release()
	s.settle()
}

// TestStreamTrailerOvertakes: the reply arrives, and is acknowledged, before messages that were sent ahead of it. They are sent again.
func TestStreamTrailerOvertakes(t *testing.T) {
	s := newStreams(t, 1, lan, session.Config{}, session.Config{}, sim.LinkOptions{})
	s.establish()
	var server *party
	s.opened = func(p *party) { server = p }
	p := s.open("a", 1, 0)
	s.run(time.Millisecond, nil)
	link := s.server.link.(*watched)
	link.refuse = func(f *transport.Frame) error { // the messages, until long after the client has acknowledged the reply
		if len(f.Data) > 1000 {
			return errors.New("no")
		}
		return nil
	}
	server.send(messages(3, 1000)...)
	s.run(time.Microsecond, nil)
	server.early = true
	server.reply(session.OK, nil)
	s.in(100*time.Millisecond, func() { link.refuse = nil })
	k := s.wait("a", 200*time.Millisecond)
	if k.Err() != nil {
		t.Error(describe(k))
	}
	p.wantMessages("to the client", server.out)
	k.Release()
	s.settle()
}
