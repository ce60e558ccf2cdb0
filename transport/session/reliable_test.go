package session_test

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// newReliableWorld is a world whose links lose nothing while a connection lasts, 20 µs apart.
func newReliableWorld(t testing.TB, seed uint64) *world {
	w := newWorldOn(t, seed, sim.Faults{Delay: 20 * time.Microsecond}, session.Config{}, session.Config{}, sim.LinkOptions{Frames: 2048, Reliable: true})
	if !w.run(time.Second, w.conn.Established) {
		t.Fatal("no session")
	}
	return w
}

// breakConnection loses what is under way, both ways, and what is sent for as long as it lasts. Each end is told that the connection has ended.
func (w *world) breakConnection(lasts time.Duration) {
	client, server := []netip.AddrPort{clientAddr}, []netip.AddrPort{serverAddr}
	w.net.Split(client, server, true)
	w.closedAt(w.client, serverAddr)
	w.closedAt(w.server, clientAddr)
	w.in(lasts, func() { w.net.Split(client, server, false) })
}

func (w *world) closedAt(n *node, peer netip.AddrPort) {
	n.core.HandlePeerClosed(&transport.Path{RemoteIP: peer.Addr().As16(), RemotePort: peer.Port()})
}

func (w *world) connectedAt(n *node, peer netip.AddrPort) {
	n.core.HandlePeerConnected(&transport.Path{RemoteIP: peer.Addr().As16(), RemotePort: peer.Port()})
}

// lose loses what is under way and what is sent meanwhile.
func (w *world) lose(lasts time.Duration) {
	client, server := []netip.AddrPort{clientAddr}, []netip.AddrPort{serverAddr}
	w.net.Split(client, server, true)
	w.run(lasts, nil)
	w.net.Split(client, server, false)
}

// slowly answers as echo does, after what the first byte of the request says, in ms.
func (w *world) slowly(k *session.Call) {
	if body := k.Body(); len(body) > 0 && body[0] > 0 {
		w.in(time.Duration(body[0])*time.Millisecond, func() { w.echo(k) })
		return
	}
	w.echo(k)
}

// Over a reliable link nothing is sent twice, nobody probes, and acknowledgements come with answers, or late.
func TestReliableSaysLittle(t *testing.T) {
	w := newReliableWorld(t, 1)
	w.serve = w.slowly
	const quick, slow = 500, 200
	for i := range quick {
		w.call(i, 1, []byte{0, byte(i)}, 0)
		w.wait(i, time.Second).Release()
	}
	c, s := w.client.core.Stats(), w.server.core.Stats()
	if c.Sent > quick+20 || s.Sent > quick+quick/32+20 {
		t.Errorf("for %d calls, one after the other, the client sent %d packets and the server %d", quick, c.Sent, s.Sent)
	}
	before := s.Sent
	for i := range slow { // 100 µs apart; each is answered 200 ms later, after every timeout
		w.call(i, 1, []byte{200, byte(i), byte(i >> 8)}, 0)
		w.run(100*time.Microsecond, nil)
	}
	w.run(150*time.Millisecond, nil)
	if acks := w.server.core.Stats().Sent - before; acks > slow/32+8 {
		t.Errorf("the server acknowledged %d requests that it works on with %d packets", slow, acks)
	}
	for i := range slow {
		w.wait(i, time.Second).Release()
	}
	w.call("paused", 1, []byte{0, 9}, 0)
	w.server.pausedUntil = w.net.Now().Add(200 * time.Millisecond) // the peer's process stands still: its host has what was sent
	w.wait("paused", time.Second).Release()
	long := pattern(1<<20, 0)
	long[0] = 60
	w.call("long", 1, long, 0)
	if k := w.wait("long", time.Second); !bytes.Equal(k.Body(), long) {
		t.Errorf("a long message: %s", describe(k))
	} else {
		k.Release()
	}
	for name, n := range map[string]*node{"client": w.client, "server": w.server} {
		if s := n.core.Stats(); s.Retransmitted+s.Duplicates != 0 || s.Probes > 4*slow || s.ProbeTimeouts > 6 {
			t.Errorf("%s: %+v", name, s)
		}
	}
	w.settle()
}

// Connections break at any moment, for a while. Each call runs once and ends with its reply, and little more is sent again than was lost.
func TestReliableConnectionBreaks(t *testing.T) {
	for seed := range uint64(100) {
		if w := newReliableWorld(t, seed); !w.breakOften(seed) {
			return
		}
	}
}

// breakOften makes calls while connections break; it returns whether all was as it is to be.
func (w *world) breakOften(seed uint64) bool {
	t, rng := w.t, rand.New(rand.NewPCG(seed, 7))
	w.serve = w.slowly
	const calls, breaks = 60, 6
	bodies := map[int][]byte{}
	for i := range calls {
		size := 3 + rng.IntN(200)
		if rng.IntN(5) == 0 {
			size = 3 + rng.IntN(200_000)
		}
		body := pattern(size, byte(i))
		body[0], body[1], body[2] = byte(max(0, rng.IntN(60)-30)), byte(i), byte(size)
		bodies[i] = body
		w.in(time.Duration(rng.IntN(100_000))*time.Microsecond, func() { w.call(i, 1, body, 0) })
	}
	for range breaks {
		w.in(time.Duration(rng.IntN(120_000))*time.Microsecond, func() {
			lasts := 30*time.Microsecond + time.Duration(rng.IntN(5000))*time.Microsecond
			w.breakConnection(lasts)
			if rng.IntN(2) == 0 { // else the server learns of the new one by the first packet
				w.in(lasts, func() { w.connectedAt(w.server, clientAddr) })
			}
		})
	}
	for i := range calls {
		if !w.run(3*time.Second, func() bool { return w.ended[i] != nil }) {
			t.Fatalf("seed %d: call %d of %d bytes has not ended", seed, i, len(bodies[i]))
		}
		if k := w.ended[i]; k.Err() != nil || !bytes.Equal(k.Body(), bodies[i]) {
			t.Errorf("seed %d: call %d: %s", seed, i, describe(k))
		}
		if n := w.executions[string(bodies[i])]; n != 1 {
			t.Errorf("seed %d: call %d ran %d times", seed, i, n)
		}
	}
	if now := w.net.Now(); now > transport.Time(2*time.Second) {
		t.Errorf("seed %d: the calls took %v", seed, time.Duration(now))
	}
	w.settle()
	return !t.Failed()
}

// A client asks at once over the next connection what has arrived; it does not wait for a timeout.
func TestReliableGoesOnAtOnce(t *testing.T) {
	w := newReliableWorld(t, 3)
	w.run(50*time.Millisecond, nil)
	w.call("lost", 1, []byte{0, 1}, 0)
	w.turns() // it is under way
	w.breakConnection(25 * time.Microsecond)
	// The ping that the end brings about is lost as well; with the connection that lasts, it ends too.
	w.in(26*time.Microsecond, func() { w.closedAt(w.client, serverAddr) })
	began := w.net.Now()
	w.wait("lost", time.Second).Release()
	if took := w.net.Now().Sub(began); took > 100*time.Millisecond {
		t.Errorf("a call of which the request was lost took %v", took)
	}

	w.run(50*time.Millisecond, nil)
	w.call("next", 1, []byte{0, 2}, 0)
	w.turns()
	w.lose(25 * time.Microsecond)
	w.closedAt(w.server, clientAddr)
	w.closedAt(w.client, serverAddr) // now it can go on
	began = w.net.Now()
	w.wait("next", time.Second).Release()
	if took := w.net.Now().Sub(began); took > 130*time.Microsecond { // three ways, and a fourth back
		t.Errorf("a call of which the request was lost ended %v after the client had learnt of it", took)
	}

	w.serve = w.slowly
	w.run(50*time.Millisecond, nil)
	w.call("reply", 1, []byte{1, 3}, 0)
	before := w.server.core.Stats().Sent
	w.run(time.Second, func() bool { return w.server.core.Stats().Sent > before }) // the reply is under way
	w.lose(25 * time.Microsecond)
	w.closedAt(w.server, clientAddr)
	w.closedAt(w.client, serverAddr)
	began = w.net.Now()
	w.wait("reply", time.Second).Release()
	if took := w.net.Now().Sub(began); took > 200*time.Microsecond {
		t.Errorf("a call of which the reply was lost ended %v after the client had learnt of it", took)
	}
	w.settle()
}

// A server whose client has lost its connection sends nothing before the client is back, and everything then.
func TestReliableServerWaits(t *testing.T) {
	w := newReliableWorld(t, 4)
	w.serve = w.slowly
	w.call("slow", 1, []byte{30, 1}, 0)
	w.run(time.Millisecond, nil)
	before := w.server.core.Stats().Sent
	w.closedAt(w.server, clientAddr)
	w.client.pausedUntil = w.net.Now().Add(200 * time.Millisecond)
	w.run(100*time.Millisecond, nil)
	if sent := w.server.core.Stats().Sent - before; sent != 0 {
		t.Errorf("the server sent %d packets into no connection", sent)
	}
	w.connectedAt(w.server, clientAddr)
	w.run(time.Millisecond, nil)
	if sent := w.server.core.Stats().Sent - before; sent == 0 {
		t.Error("the server does not go on over the next connection")
	}
	w.wait("slow", time.Second).Release()
	w.settle()
}

// A peer that closes every connection at once is not asked at once each time.
func TestReliablePeerThatHangsUp(t *testing.T) {
	w := newReliableWorld(t, 5)
	w.serve = w.slowly
	w.run(50*time.Millisecond, nil)
	w.call("slow", 1, []byte{200}, 0)
	w.turns()
	before := w.client.core.Stats().Sent
	w.net.Split([]netip.AddrPort{clientAddr}, []netip.AddrPort{serverAddr}, true)
	for range 100 {
		w.closedAt(w.client, serverAddr)
		w.run(200*time.Microsecond, nil)
	}
	if sent := w.client.core.Stats().Sent - before; sent == 0 || sent > 4 {
		t.Errorf("the client sent %d packets in 20 ms, over 100 connections", sent)
	}
	w.net.Split([]netip.AddrPort{clientAddr}, []netip.AddrPort{serverAddr}, false)
	w.wait("slow", time.Second).Release()
	w.settle()
}
