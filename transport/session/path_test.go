package session_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// path returns how the server reaches its client.
func (w *world) path() (p transport.Path) {
	for c := range w.sessions {
		p = c.Path()
	}
	return p
}

// TestRebind: a NAT gives the client another address in the middle of calls. The session goes on there once the client has answered from it, and
// no call notices.
func TestRebind(t *testing.T) {
	for _, f := range []sim.Faults{lan, rough} {
		for seed := range uint64(20) {
			w := newWorld(t, seed, f, session.Config{})
			w.establish()
			w.serve = func(k *session.Call) { w.in(5*time.Millisecond, func() { w.echo(k) }) }
			const calls = 30
			body := func(i int) []byte { return append(fmt.Appendf(nil, "%d:", i), pattern(i*i*50, byte(i))...) }
			for i := range calls {
				w.in(time.Duration(i)*500*time.Microsecond, func() { w.call(i, 1, body(i), 0) })
			}
			w.in(7*time.Millisecond, func() { w.net.Rebind(clientAddr, movedAddr) })
			for i := range calls {
				k := w.wait(i, 5*time.Second)
				if k.Err() != nil || !bytes.Equal(k.Body(), body(i)) {
					t.Errorf("seed %d, call %d: %s", seed, i, describe(k))
				}
				k.Release()
				if n := w.executions[string(body(i))]; n != 1 {
					t.Errorf("seed %d: call %d was run %d times", seed, i, n)
				}
			}
			if n := w.server.core.Stats().Migrations; n != 1 || w.path().RemotePort != movedAddr.Port() {
				t.Errorf("seed %d: %d migrations, the client is at port %d", seed, n, w.path().RemotePort)
			}
			w.settle()
		}
	}
}

// forge is a packet of the client's session, as somebody makes it who knows its ID.
func (w *world) forge(number uint32, frames ...wire.Frame) []byte {
	b := make([]byte, 2048)
	h := wire.DataHeader{Number: number, Stamp: uint32(w.net.Now() / 1000)}
	for c := range w.sessions {
		h.Session = c.ID()
	}
	h.Put(b)
	n := wire.DataHeaderBytes
	for _, fr := range frames {
		fr.Put(b[n:], len(fr.Payload))
		n += wire.FrameHeaderBytes + copy(b[n+wire.FrameHeaderBytes:], fr.Payload)
	}
	b = b[:n+wire.ChecksumBytes]
	wire.Sum(b)
	return b
}

// TestStrangersAddress: packets of the session from other addresses than its client's do nothing. Their senders get challenges, as many as
// Config.ResetsPerSecond at most, and nothing else; whoever cannot answer them from there takes nothing over. The client does not notice.
func TestStrangersAddress(t *testing.T) {
	const limit = 5
	w := newWorldOn(t, 1, lan, session.Config{}, session.Config{ResetsPerSecond: limit}, sim.LinkOptions{})
	w.establish()
	strangers := []*sim.Link{w.net.Link(strangerAddr, sim.LinkOptions{}), w.net.Link(netip.MustParseAddrPort("198.18.0.4:7"), sim.LinkOptions{})}
	number := uint32(1000)
	for i := range 500 {
		w.in(time.Duration(i)*20*time.Microsecond, func() {
			frames := []wire.Frame{
				{Type: wire.Request, Call: wire.CallID(7, 1), A: 1, Payload: []byte("forged")}, {Type: wire.Close, A: 1},
				{Type: wire.Response, A: 1, B: 2}, {Type: wire.Ping},
			}
			number++
			w.net.Inject(strangers[i%2].Addr(), serverAddr, w.forge(number, frames[i/2%len(frames)]))
		})
	}
	for i := range 20 {
		w.call(i, 1, pattern(40_000, byte(i)), 0)
		k := w.wait(i, time.Second)
		if k.Err() != nil {
			t.Error(describe(k))
		}
		k.Release()
	}
	w.run(20*time.Millisecond, nil)
	got := 0
	for _, l := range strangers {
		var fs [64]transport.Frame
		n, err := l.Recv(fs[:])
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			var fr wire.Frame
			if _, ok := fr.Next(fs[i].Data[wire.DataHeaderBytes : len(fs[i].Data)-wire.ChecksumBytes]); !ok || fr.Type != wire.Challenge {
				t.Errorf("a stranger got a frame of type %v", fr.Type)
			}
			got++
		}
		l.Free(fs[:n])
	}
	s := w.server.core.Stats()
	if got == 0 || got > limit || s.WrongPath != 500 || s.Migrations != 0 || s.Requests != 20 || w.executions["forged"] != 0 {
		t.Errorf("%d challenges, %+v", got, s)
	}
	if s := w.client.core.Stats(); s.Lost != 0 || s.ProbeTimeouts != 0 {
		t.Errorf("the client has lost %d packets, and %d timeouts: its acknowledgements went elsewhere", s.Lost, s.ProbeTimeouts)
	}
	w.settle()
}

// TestBlackHole: a path that swallows large packets in silence is found out and gone on with in shorter ones, whatever kind of message it is
// that does not get through, and with nothing else under way. Messages on either side that have arrived are not run or read twice.
func TestBlackHole(t *testing.T) {
	const mtu = 1300
	for _, x := range []struct {
		name           string
		request, reply int
	}{{"small request", 1900, 10}, {"long request", 100_000, 10}, {"small reply", 10, 1900}, {"long reply", 10, 100_000}, {"both", 1900, 1900}} {
		for _, side := range []string{"out", "back", "both ways"} {
			for _, from := range []string{"always", "later"} {
				t.Run(x.name+"/"+side+"/"+from, func(t *testing.T) {
					w := newWorld(t, 1, lan, session.Config{})
					w.establish()
					w.serve = func(k *session.Call) {
						k.ReplyBytes(w.net.Now(), session.OK, session.Executed, pattern(x.reply, 3))
					}
					narrow := func() {
						f := lan
						f.MTU = mtu
						if side != "back" {
							w.net.SetFaults(clientAddr, serverAddr, f)
						}
						if side != "out" {
							w.net.SetFaults(serverAddr, clientAddr, f)
						}
					}
					if from == "later" {
						w.in(30*time.Microsecond, narrow)
					} else {
						narrow()
					}
					body := pattern(x.request, 1)
					for i := range 5 {
						w.call(i, 1, body, 0)
						k := w.wait(i, 3*time.Second)
						if k.Err() != nil || !bytes.Equal(k.Body(), pattern(x.reply, 3)) {
							t.Errorf("call %d: %s", i, describe(k))
						}
						k.Release()
					}
					if n := w.executions[string(body)]; n != 5 {
						t.Errorf("%d executions of 5 calls", n)
					}
					blocked := x.request > mtu && side != "back" || x.reply > mtu && side != "out"
					if n := w.client.core.Stats().PathsNarrowed + w.server.core.Stats().PathsNarrowed; blocked && n == 0 || n > 6 || n > 0 && w.conn.PacketBytes() < 1232 {
						t.Errorf("narrowed %d times", n)
					}
					w.settle()
				})
			}
		}
	}
}

// TestBlackHoleStream: messages of a stream, both ways, over a path that becomes narrow in the middle.
func TestBlackHoleStream(t *testing.T) {
	for seed := range uint64(30) {
		s := newStreams(t, seed, rough, session.Config{}, session.Config{}, sim.LinkOptions{})
		var server *party
		s.opened = func(p *party) {
			server = p
			p.send(messages(100, 1900, 100, 7000)...)
			p.reply(session.OK, nil)
		}
		p := s.open("a", 1, 0)
		p.send(messages(100, 1900, 7000, 50)...)
		p.end()
		s.in(time.Duration(seed+1)*200*time.Microsecond, func() {
			f := rough
			f.MTU = 1300
			s.net.SetAllFaults(f)
		})
		k := s.wait("a", 20*time.Second)
		if k.Err() != nil {
			t.Errorf("seed %d: %s", seed, describe(k))
		} else {
			p.wantMessages("to the client", server.out)
			server.wantMessages("to the server", p.out)
		}
		k.Release()
		s.settle()
	}
}

// TestLossIsNoBlackHole: a path that loses packets of every size keeps its MTU.
func TestLossIsNoBlackHole(t *testing.T) {
	narrowed, lost := uint64(0), uint64(0)
	for seed := range uint64(100) {
		w := newWorld(t, seed, sim.Faults{Delay: 10 * time.Microsecond, Loss: 0.1}, session.Config{})
		for i := range 60 {
			w.call(i, 1, pattern([]int{1900, 20_000, 30}[i%3], byte(i)), 0)
			w.wait(i, 10*time.Second).Release()
		}
		for _, n := range []*node{w.client, w.server} {
			narrowed += n.core.Stats().PathsNarrowed
			lost += n.core.Stats().Lost
		}
		w.settle()
	}
	if narrowed != 0 || lost < 5000 {
		t.Errorf("narrowed %d times, with %d packets lost", narrowed, lost)
	}
}

// TestMove: the owner of a client moves its session to another path, here to one where packets are shorter. What is under way goes on, and the
// server is watched there too.
func TestMove(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	w.serve = func(k *session.Call) { w.in(2*time.Millisecond, func() { w.echo(k) }) }
	for i := range 20 {
		w.call(i, 1, append([]byte{byte(i)}, pattern(i*2000, 1)...), 0)
	}
	w.run(100*time.Microsecond, nil)
	w.net.Rebind(clientAddr, movedAddr)
	path := w.conn.Path()
	path.LocalPort, path.MTU = movedAddr.Port(), 1000
	w.conn.Move(w.net.Now(), path)
	if w.conn.PacketBytes() != 1000 || w.conn.Path() != path {
		t.Errorf("packets of %d bytes to %v", w.conn.PacketBytes(), w.conn.Path())
	}
	for i := range 20 {
		k := w.wait(i, time.Second)
		if k.Err() != nil || len(k.Body()) != 1+i*2000 {
			t.Errorf("call %d: %s", i, describe(k))
		}
		k.Release()
	}
	for body, n := range w.executions {
		if n != 1 {
			t.Errorf("a request of %d bytes was run %d times", len(body), n)
		}
	}
	if n := w.server.core.Stats().Migrations; n != 1 {
		t.Errorf("%d migrations", n)
	}
	w.settle()
}

// TestMoveAndSilence: a peer that dies right after the move is noticed.
func TestMoveAndSilence(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	w.serve = func(*session.Call) {}
	w.call("a", 1, []byte("x"), 0)
	w.run(time.Millisecond, nil)
	path := w.conn.Path()
	path.MTU = 1000
	w.conn.Move(w.net.Now(), path)
	w.crash(w.server)
	k := w.wait("a", 2*time.Second)
	if err := k.Err(); err == nil || err.Code != session.Unavailable || err.Outcome != session.MaybeExecuted {
		t.Error(describe(k))
	}
	k.Release()
	w.settle()
}

// TestMoveTo: the server's host has moved, and the client's owner knows where to.
func TestMoveTo(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	there := netip.MustParseAddrPort("198.18.0.7:9000")
	w.call("a", 1, pattern(50_000, 1), 0)
	w.run(50*time.Microsecond, nil)
	w.net.Rebind(serverAddr, there)
	path := w.conn.Path()
	path.RemoteIP = there.Addr().As16()
	w.conn.Move(w.net.Now(), path)
	k := w.wait("a", time.Second)
	if k.Err() != nil || len(k.Body()) != 50_000 {
		t.Error(describe(k))
	}
	k.Release()
	w.settle()
}

// TestNarrowAfterArrival: a message has arrived in one packet, its acknowledgement is lost, and the path becomes narrower: it is sent again in
// parts, which the receiver lets come, and the call goes on for as long as its handler takes.
func TestNarrowAfterArrival(t *testing.T) {
	for _, streams := range []bool{false, true} {
		s := newStreams(t, 1, lan, session.Config{}, session.Config{}, sim.LinkOptions{})
		s.establish()
		var server *party
		s.opened = func(p *party) { server = p }
		s.serve = func(k *session.Call) { s.in(8*time.Second, func() { s.echo(k) }) }
		body := pattern(1900, 1)
		cut := func(on bool) { s.net.Partition(serverAddr, clientAddr, on) }
		if streams {
			p := s.open("a", 1, 0)
			s.run(50*time.Millisecond, nil)
			cut(true)
			p.send(body)
		} else {
			cut(true)
			s.call("a", 1, body, 0)
		}
		s.run(200*time.Microsecond, nil)
		path := s.conn.Path()
		path.MTU = 1000
		s.client.core.HandleMTU(&path)
		s.in(20*time.Millisecond, func() { cut(false) })
		if streams {
			s.run(8*time.Second, nil)
			server.wantMessages("to the server", [][]byte{body})
			server.early = true
			server.reply(session.OK, nil)
		}
		k := s.wait("a", 9*time.Second)
		if k.Err() != nil {
			t.Errorf("streams %v: %s", streams, describe(k))
		}
		if n := s.executions[string(body)]; n != 1 && !streams {
			t.Errorf("it was run %d times", n)
		}
		k.Release()
		s.settle()
	}
}

// TestStrangerAndAcknowledgement: what is due to be acknowledged is so to the client, though a stranger has been asked in between.
func TestStrangerAndAcknowledgement(t *testing.T) {
	cfg := session.Config{AckDelay: 5 * time.Millisecond}
	w := newWorld(t, 1, lan, cfg)
	w.establish()
	w.serve = func(k *session.Call) { w.in(30*time.Millisecond, func() { w.echo(k) }) }
	w.call("a", 1, []byte("x"), 0)
	w.in(time.Millisecond, func() { w.net.Inject(strangerAddr, serverAddr, w.forge(1000, wire.Frame{Type: wire.Ping})) })
	w.wait("a", time.Second).Release()
	if s := w.server.core.Stats(); s.WrongPath != 1 {
		t.Errorf("%d packets from elsewhere", s.WrongPath)
	}
	if s := w.client.core.Stats(); s.ProbeTimeouts != 0 || s.Lost != 0 {
		t.Errorf("%d timeouts, %d packets lost", s.ProbeTimeouts, s.Lost)
	}
	w.settle()
}
