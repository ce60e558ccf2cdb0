package session_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// FuzzHandshake lets somebody hostile loose on a client that is dialling and a server that listens: he sees their packets, forges any address,
// and sends Hellos, answers and bytes of his own. Nothing panics, what is half open stays within its limit, the client's call ends, and when it
// is over an honest client is served.
func FuzzHandshake(f *testing.F) {
	r := rand.New(rand.NewPCG(2, 1))
	for range 50 {
		f.Add(script(r))
	}
	f.Fuzz(func(t *testing.T, in []byte) { meddle(t, in) })
}

// TestHostileHandshakes is as many random scripts as fit into a test run.
func TestHostileHandshakes(t *testing.T) {
	for seed := range uint64(500) {
		meddle(t, script(rand.New(rand.NewPCG(seed, 10))))
		if t.Failed() {
			t.Fatalf("the script of seed %d", seed)
		}
	}
}

func meddle(t *testing.T, in []byte) {
	w := newWorldOn(t, 1, sim.Faults{Delay: time.Millisecond}, hostileConfig, hostileConfig, sim.LinkOptions{Frames: 64})
	h := &hostile{world: w, in: in}
	w.call("dialled", 1, []byte("x"), 3*time.Second)
	w.run(time.Microsecond, nil) // the Hello is under way
	for range 200 {
		if len(h.in) == 0 {
			break
		}
		h.handshakeAct()
		w.run(time.Duration(h.byte())*2*time.Microsecond, nil)
		h.check()
	}
	w.wait("dialled", 4*time.Second).Release()
	if n := w.executions["x"]; n > 1 {
		t.Errorf("the request was run %d times", n)
	}
	if w.conn.Established() && w.closed != nil {
		t.Errorf("established, and closed with %v", w.closed)
	}
	w.conn.Close(w.net.Now(), session.OK, "")
	w.run(5*time.Second, nil) // what is half open goes
	w.server.core.Conns(func(c *session.Conn) { c.Close(w.net.Now(), session.OK, "") })
	w.dial()
	w.call("honest", 1, []byte("y"), time.Second)
	if k := w.wait("honest", 2*time.Second); k.Err() != nil {
		t.Errorf("an honest client afterwards: %s", describe(k))
	} else {
		k.Release()
	}
	w.settle()
}

// strangersOf are addresses from which nobody answers.
func strangersOf(i byte) netip.AddrPort {
	return netip.MustParseAddrPort(fmt.Sprintf("198.18.1.%d:%d", 1+i%4, 1000+int(i)))
}

func (h *hostile) handshakeAct() {
	switch op := h.byte(); op % 4 {
	case 0:
		h.act() // whatever else he does
	case 1: // an answer to the client, from the server's address; mostly with the right numbers
		p := h.offer()
		p.Kind = wire.Kind(2 + h.byte()%5)
		if h.byte()%4 != 0 {
			p.Session = h.conn.ID()
		}
		var hello wire.Handshake
		for _, b := range h.client.link.(*watched).recent {
			if h.byte()%4 != 0 && hello.Parse(b) && hello.Kind == wire.Hello {
				p.Echo = hello.Echo
			}
		}
		h.net.Inject(serverAddr, clientAddr, put(p))
	case 2: // a Hello to the server, from anywhere
		p := h.offer()
		p.Kind = wire.Hello
		h.net.Inject(strangersOf(h.byte()), serverAddr, put(p))
	case 3: // one in the client's name
		p := h.offer()
		p.Kind, p.Source = wire.Hello, h.conn.ID()
		h.net.Inject(clientAddr, serverAddr, put(p))
	}
}

// offer is a handshake packet with fields that are likely to hurt.
func (h *hostile) offer() wire.Handshake {
	return wire.Handshake{
		Security: wire.Security(h.byte() % 3 / 2), Calls: h.of(1, 10, 10, 10, 0, 1<<32-1), Session: uint64(h.of(0, 1)), Source: uint64(h.of(1, 2, 0)) << (h.byte() % 33),
		Incarnation: uint64(h.of(2, 3, 4)), Echo: uint64(h.byte()), MaxMessage: h.of(1000, 1<<20, 1<<20, 0, 1<<32-1), MaxPacket: uint16(h.of(1500, 1500, 579, 580, 0, 65535)),
		IdleSeconds: uint16(h.of(60, 0, 1, 65535)), Code: h.of(0, 8, 14, 1<<32-1), AckDelay: h.of(200, 0, 1<<32-1), StreamWindow: uint16(h.of(32, 0, 1, 65535)),
		Payload: h.bytes(int(h.of(0, 0, 20, 300) % 1025)),
	}
}

// bytes takes n bytes of the script, and zeros behind its end.
func (h *hostile) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = h.byte()
	}
	return b
}

func put(p wire.Handshake) []byte {
	b := make([]byte, 2048)
	return b[:p.Put(b)]
}
