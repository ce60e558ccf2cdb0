package session_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// stranger is somebody who speaks the protocol byte by byte.
type stranger struct {
	w    *world
	addr netip.AddrPort
	link *sim.Link
	got  []wire.Handshake
	in   int // bytes received from the server
	out  int // and sent
}

func (w *world) stranger(addr string) *stranger {
	a := netip.MustParseAddrPort(addr)
	return &stranger{w: w, addr: a, link: w.net.Link(a, sim.LinkOptions{})}
}

func hello(source uint64) *wire.Handshake {
	return &wire.Handshake{Kind: wire.Hello, Calls: 10, Source: source, Incarnation: source, Echo: source, MaxMessage: 1 << 20, MaxPacket: 1500}
}

// says sends a handshake packet and returns what came back within d.
func (s *stranger) says(h *wire.Handshake, d time.Duration) []wire.Handshake {
	b := make([]byte, 2048)
	n := h.Put(b)
	s.out += n
	s.w.net.Inject(s.addr, serverAddr, b[:n])
	s.w.run(d, nil)
	return s.listen()
}

func (s *stranger) listen() []wire.Handshake {
	s.got = nil
	var fs [16]transport.Frame
	for {
		n, _ := s.link.Recv(fs[:])
		if n == 0 {
			return s.got
		}
		for i := range n {
			s.in += len(fs[i].Data)
			var h wire.Handshake
			if h.Parse(append([]byte(nil), fs[i].Data...)) {
				s.got = append(s.got, h)
			}
		}
		s.link.Free(fs[:n])
	}
}

// kinds names the kinds of packets.
func kinds(hs []wire.Handshake) string {
	var b strings.Builder
	for _, h := range hs {
		b.WriteString([...]string{"", "data", "hello", "accept", "retry", "refuse", "reset"}[h.Kind] + " ")
	}
	return strings.TrimSpace(b.String())
}

var ms10 = sim.Faults{Delay: 10 * time.Millisecond}

func TestHandshakeTakesOneRoundTrip(t *testing.T) {
	w := newWorld(t, 1, ms10, session.Config{HelloTimeout: time.Second})
	start := w.net.Now()
	w.call("early", 1, []byte("said before there is a session"), 0)
	w.run(time.Second, w.conn.Established)
	if d := w.net.Now().Sub(start); d < 20*time.Millisecond || d > 21*time.Millisecond {
		t.Errorf("established after %v, want one round trip of 20 ms", d)
	}
	w.wait("early", time.Second).Release()
	if d := w.net.Now().Sub(start); d > 41*time.Millisecond {
		t.Errorf("answered after %v, want two round trips", d)
	}
	if w.conn.RTT() < 20*time.Millisecond {
		t.Errorf("the handshake gave no round-trip time: %v", w.conn.RTT())
	}
	w.settle()
}

func TestHelloLost(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.net.Partition(clientAddr, serverAddr, true)
	w.in(25*time.Millisecond, func() { w.net.Partition(clientAddr, serverAddr, false) })
	start := w.net.Now()
	w.run(time.Second, w.conn.Established) // at 0, 10 and 30 ms
	if d := w.net.Now().Sub(start); d < 30*time.Millisecond || d > 31*time.Millisecond {
		t.Errorf("established after %v, want 30 ms", d)
	}
	if n := w.server.core.Stats().SessionsAccepted; n != 1 {
		t.Errorf("%d sessions", n)
	}
	w.settle()
}

func TestAcceptLost(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.net.Partition(serverAddr, clientAddr, true)
	w.in(5*time.Millisecond, func() { w.net.Partition(serverAddr, clientAddr, false) })
	w.establish()
	if n := w.server.core.Stats().SessionsAccepted; n != 1 {
		t.Errorf("%d sessions for one client", n)
	}
	w.settle()
}

func TestDialNowhere(t *testing.T) {
	w := newWorldOn(t, 1, lan, session.Config{}, session.Config{}, sim.LinkOptions{Unreachable: true})
	w.crash(w.server)
	w.call("a", 1, []byte("x"), 0)
	k := w.wait("a", time.Second)
	if err := k.Err(); err == nil || err.Code != session.Unavailable || err.Outcome != session.NotExecuted || w.closed == nil {
		t.Errorf("%s; closed: %v", describe(k), w.closed)
	}
	k.Release()
	w.settle()
}

func TestRefused(t *testing.T) {
	for _, x := range []struct {
		name   string
		before func(w *world)
		code   session.Code
		reason string
	}{
		{"nobody listens", func(w *world) { w.server.core.Unlisten(serverAddr.Port()) }, session.Unavailable, "nobody listens"},
		{"security differs", func(w *world) { w.server.core.Listen(serverAddr.Port(), session.Listener{Security: wire.TLS}) }, session.Unauthenticated, "security"},
		{"draining", func(w *world) { w.server.core.Listen(serverAddr.Port(), session.Listener{Draining: true}) }, session.Unavailable, "shutting down"},
		{"too many sessions", func(w *world) { w.stranger("198.18.0.9:1").says(hello(1), 0) }, session.ResourceExhausted, "too many sessions"},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorldOn(t, 1, lan, session.Config{}, session.Config{Sessions: 1}, sim.LinkOptions{})
			x.before(w)
			w.call("a", 1, []byte("x"), 0)
			k := w.wait("a", 900*time.Millisecond)
			if err := k.Err(); err == nil || err.Code != x.code || err.Outcome != session.NotExecuted || !strings.Contains(err.Reason, x.reason) {
				t.Error(describe(k))
			}
			k.Release()
			if w.closed == nil {
				t.Error("the session is not closed")
			}
			w.settle()
		})
	}
}

// TestRefusedLimits: a Hello that offers too little to work with.
func TestRefusedLimits(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	s := w.stranger("198.18.0.9:1")
	for i, change := range []func(h *wire.Handshake){
		func(h *wire.Handshake) { h.MaxPacket = 500 },
		func(h *wire.Handshake) { h.Calls = 0 },
		func(h *wire.Handshake) { h.Source = 0 },
	} {
		h := hello(uint64(i + 1))
		change(h)
		if got := s.says(h, time.Millisecond); kinds(got) != "refuse" || session.Code(got[0].Code) != session.InvalidArgument {
			t.Errorf("%d: %s", i, kinds(got))
		}
	}
	w.settle()
}

// TestRetry: above half of HalfOpen a client has to show that it receives, at the cost of one more round trip.
func TestRetry(t *testing.T) {
	w := newWorldOn(t, 1, ms10, session.Config{HelloTimeout: time.Second}, session.Config{HalfOpen: 4}, sim.LinkOptions{})
	w.conn.Close(w.net.Now(), session.OK, "")
	s := w.stranger("198.18.0.9:1")
	if got := kinds(s.says(hello(1), 30*time.Millisecond)) + kinds(s.says(hello(2), 30*time.Millisecond)); got != "acceptaccept" {
		t.Fatal(got)
	}
	w.dial()
	start := w.net.Now()
	w.run(time.Second, w.conn.Established)
	if d := w.net.Now().Sub(start); d < 40*time.Millisecond || d > 41*time.Millisecond {
		t.Errorf("established after %v, want two round trips of 20 ms", d)
	}
	if n := w.server.core.Stats().Retries; n != 1 {
		t.Errorf("%d retries", n)
	}
	w.settle()
}

// TestToken: a token is good for its address, port and session ID, and for five seconds.
func TestToken(t *testing.T) {
	w := newWorldOn(t, 1, lan, session.Config{}, session.Config{HalfOpen: 4}, sim.LinkOptions{})
	w.conn.Close(w.net.Now(), session.OK, "")
	filler, s := w.stranger("198.18.0.8:1"), w.stranger("198.18.0.9:1")
	sessions := uint64(100)
	fill := func() { // brings the half-open sessions to half of what is allowed
		for w.server.core.Audit().HalfOpen < 2 {
			sessions++
			filler.says(hello(sessions), time.Millisecond)
		}
	}
	with := func(h *wire.Handshake, token []byte) *wire.Handshake { h.Payload = token; return h }
	fill()
	got := s.says(hello(1), time.Millisecond)
	if kinds(got) != "retry" || len(got[0].Payload) != 20 || got[0].Echo != 1 || got[0].Session != 1 {
		t.Fatalf("%s: %+v", kinds(got), got)
	}
	token := append([]byte(nil), got[0].Payload...)
	if n := w.server.core.Sessions(); n != 2 {
		t.Errorf("a retry left %d sessions, want 2", n)
	}
	for name, answer := range map[string][]wire.Handshake{
		"another session":  s.says(with(hello(2), token), time.Millisecond),
		"another address":  w.stranger("198.18.0.7:1").says(with(hello(1), token), time.Millisecond),
		"another port":     w.stranger("198.18.0.9:2").says(with(hello(1), token), time.Millisecond),
		"a changed token":  s.says(with(hello(1), append([]byte{token[0], token[1], token[2], token[3], token[4] ^ 1}, token[5:]...)), time.Millisecond),
		"a shorter token":  s.says(with(hello(1), token[:19]), time.Millisecond),
		"a later second":   s.says(with(hello(1), append([]byte{token[0] + 1}, token[1:]...)), time.Millisecond),
		"no token but one": s.says(with(hello(1), make([]byte, 20)), time.Millisecond),
	} {
		if kinds(answer) != "retry" {
			t.Errorf("%s: %q", name, kinds(answer))
		}
	}
	if got := s.says(with(hello(1), token), time.Millisecond); kinds(got) != "accept" {
		t.Errorf("the right token: %q", kinds(got))
	}
	if got := s.says(with(hello(1), token), time.Millisecond); kinds(got) != "accept" || w.server.core.Sessions() != 3 {
		t.Errorf("said twice: %q and %d sessions, want the same one", kinds(got), w.server.core.Sessions())
	}
	w.run(7*time.Second, nil)
	fill()
	if got := s.says(with(hello(1), token), time.Millisecond); kinds(got) != "retry" {
		t.Errorf("seven seconds later: %q", kinds(got))
	}
}

// TestNoAmplification: before a client has shown that it receives at its address, it is not sent three times what came from there, whatever it
// says and however long one waits.
func TestNoAmplification(t *testing.T) {
	for _, x := range []struct {
		name string
		cfg  session.Config
		with func(w *world)
		want string
	}{
		{"accept", session.Config{}, nil, "accept"},
		{"retry", session.Config{HalfOpen: 1}, nil, "retry"},
		{"refuse", session.Config{}, func(w *world) { w.server.core.Listen(serverAddr.Port(), session.Listener{Security: wire.TLS}) }, "refuse"},
	} {
		w := newWorldOn(t, 1, lan, session.Config{}, x.cfg, sim.LinkOptions{})
		w.conn.Close(w.net.Now(), session.OK, "")
		if x.with != nil {
			x.with(w)
		}
		s := w.stranger("198.18.0.9:1")
		if got := kinds(s.says(hello(1), 10*time.Second)); got != x.want {
			t.Errorf("%s: the answer is %q", x.name, got)
		}
		if s.in > 3*s.out {
			t.Errorf("%s: %d bytes for %d", x.name, s.in, s.out)
		}
		if n := w.server.core.Audit().Peers; n != 0 {
			t.Errorf("%s: %d peers are kept", x.name, n)
		}
	}
}

// TestHalfOpenSessionsExpire: nobody hears of a session whose client never showed itself, and its place is free after a second.
func TestHalfOpenSessionsExpire(t *testing.T) {
	w := newWorldOn(t, 1, lan, session.Config{}, session.Config{Sessions: 3}, sim.LinkOptions{})
	w.establish()
	inner := w.server.onEvent
	w.server.onEvent = func(ev session.Event) {
		t.Errorf("event %d of a session that was never opened", ev.Kind)
		inner(ev)
	}
	s := w.stranger("198.18.0.9:1")
	for i := range uint64(2) {
		if got := kinds(s.says(hello(i+1), time.Millisecond)); got != "accept" {
			t.Error(got)
		}
	}
	if got := kinds(s.says(hello(3), time.Millisecond)); got != "refuse" {
		t.Error(got)
	}
	w.run(1100*time.Millisecond, nil)
	if n := w.server.core.Sessions(); n != 1 {
		t.Errorf("%d sessions, want the client's", n)
	}
	if got := kinds(s.says(hello(4), time.Millisecond)); got != "accept" {
		t.Error(got)
	}
	w.server.onEvent = inner
	w.settle()
}

// TestFloodOfHellos: thousands of addresses say valid Hellos and nothing more, while an established session goes on as if nothing were.
func TestFloodOfHellos(t *testing.T) {
	w := newWorldOn(t, 1, lan, session.Config{}, session.Config{HalfOpen: 64}, sim.LinkOptions{})
	w.establish()
	var b [512]byte
	sessions, peers, answered := 0, 0, 0
	for i := range 20000 {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 19, byte(i >> 8), byte(i)}), 1000)
		n := hello(uint64(i + 1)).Put(b[:])
		w.net.Inject(addr, serverAddr, b[:n])
		if i%20 == 0 {
			w.call(i, 1, pattern(100, byte(i)), 5*time.Millisecond)
		}
		w.run(100*time.Microsecond, nil)
		a := w.server.core.Audit()
		sessions, peers = max(sessions, w.server.core.Sessions()), max(peers, a.Peers)
		for tag, k := range w.ended {
			if k.Err() != nil {
				t.Fatalf("call %v: %s", tag, describe(k))
			}
			answered++
			k.Release()
			delete(w.ended, tag)
		}
	}
	if answered < 999 {
		t.Errorf("%d calls answered of 1000", answered)
	}
	if sessions > 1+64 || peers > 1+64 {
		t.Errorf("%d sessions and %d peers at once, want at most 65", sessions, peers)
	}
	if s := w.server.core.Stats(); s.Retries < 19000 {
		t.Errorf("%d Hellos were asked for a token", s.Retries)
	}
	w.run(2*time.Second, nil)
	if n := w.server.core.Sessions(); n != 1 {
		t.Errorf("%d sessions are left", n)
	}
	w.settle()
}

// TestHelloBeforeListen: a client that dials while a server is being set up is not refused: it gets in once the server listens.
func TestHelloBeforeListen(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.crash(w.server)
	cfg := w.serverCfg
	cfg.Engine, cfg.Seed, cfg.Incarnation = 1, seedOf(9), 9
	w.server = newNode(w.net.Link(serverAddr, w.options), cfg)
	w.server.onEvent = w.serverEvent
	w.enter("server", w.server)
	w.dial()
	w.run(100*time.Millisecond, nil)
	if w.conn.Established() || w.closed != nil {
		t.Fatalf("established %v, closed %v", w.conn.Established(), w.closed)
	}
	w.server.core.Listen(serverAddr.Port(), session.Listener{Security: wire.Insecure})
	if !w.run(time.Second, w.conn.Established) {
		t.Errorf("closed %v", w.closed)
	}
	w.server.core.Unlisten(serverAddr.Port())
	w.dial()
	w.run(time.Second, func() bool { return w.closed != nil })
	if w.closed == nil {
		t.Error("a server that has stopped listening does not refuse")
	}
}
