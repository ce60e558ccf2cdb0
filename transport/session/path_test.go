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
