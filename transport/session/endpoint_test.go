package session_test

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// TestManySessions: many sessions of one endpoint share its link; some close in the middle of everything, the others do not notice.
func TestManySessions(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	path := w.conn.Path()
	conns := []*session.Conn{w.conn}
	for range 29 {
		c, err := w.client.core.Dial(w.net.Now(), path, wire.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	type tag struct{ conn, call int }
	want := 0
	for i, c := range conns {
		for j := range 5 {
			k, err := c.NewCall()
			if err != nil {
				t.Fatal(err)
			}
			k.Tag = tag{i, j}
			if err := k.StartBytes(w.net.Now(), 1, pattern(5000*j, byte(i)), 0); err != nil {
				t.Fatal(err)
			}
			want++
		}
	}
	for i := 0; i < len(conns); i += 3 {
		w.in(time.Duration(20+i*10)*time.Microsecond, func() { conns[i].Close(w.net.Now(), session.Canceled, "enough") })
	}
	if !w.run(time.Second, func() bool { return len(w.ended) == want }) {
		t.Fatalf("%d of %d calls have ended", len(w.ended), want)
	}
	for x, k := range w.ended {
		x := x.(tag)
		if closed := x.conn%3 == 0; k.Err() != nil && (!closed || k.Err().Code != session.Canceled) {
			t.Errorf("call %v: %s", x, describe(k))
		} else if k.Err() == nil && !bytes.Equal(k.Body(), pattern(5000*x.call, byte(x.conn))) {
			t.Errorf("call %v: wrong bytes", x)
		}
		k.Release()
		delete(w.ended, x)
	}
	n := 0
	w.client.core.Conns(func(c *session.Conn) {
		n++
		c.Close(w.net.Now(), session.OK, "")
	})
	if n != 20 || w.client.core.Sessions() != 0 || w.client.core.Busy() && w.client.core.Outstanding() > 0 {
		t.Errorf("%d sessions were open, %d are", n, w.client.core.Sessions())
	}
	w.settle()
}

// TestSessionLimit: Dial beyond Config.Sessions says so, and works again when one has closed.
func TestSessionLimit(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{Sessions: 1})
	path := w.conn.Path()
	if _, err := w.client.core.Dial(w.net.Now(), path, wire.Insecure); err != session.ErrTooManySessions {
		t.Errorf("the second: %v", err)
	}
	w.settle()
	w.dial()
	w.establish()
	w.settle()
}

func TestDialRefusesWhatCannotWork(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	path := w.conn.Path()
	if _, err := w.client.core.Dial(w.net.Now(), path, wire.TLS); err == nil || err.Code != session.FailedPrecondition {
		t.Errorf("a security that is not there: %v", err)
	}
	path.MTU = 500
	if _, err := w.client.core.Dial(w.net.Now(), path, wire.Insecure); err == nil || err.Code != session.FailedPrecondition {
		t.Errorf("an MTU of 500: %v", err)
	}
	w.settle()
}

// TestUnsendable: packets that the link refuses count as lost on the way, and their frames come home.
func TestUnsendable(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	n := 0
	refuse := func(*transport.Frame) error {
		if n++; n%3 == 0 {
			return errors.New("no")
		}
		return nil
	}
	w.client.link.(*watched).refuse, w.server.link.(*watched).refuse = refuse, refuse
	for i := range 20 {
		w.call(i, 1, pattern(1000*i, byte(i)), 0)
	}
	for i := range 20 {
		k := w.wait(i, time.Second)
		if k.Err() != nil || len(k.Body()) != 1000*i {
			t.Errorf("call %d: %s", i, describe(k))
		}
		k.Release()
	}
	if w.client.core.Stats().Unsendable == 0 || w.server.core.Stats().Unsendable == 0 {
		t.Error("nothing was refused: the test shows nothing")
	}
	w.settle()
}

// TestUnequalPackets: the ends differ in the largest packet. A request built in place for a large one, before that is known, goes in parts.
func TestUnequalPackets(t *testing.T) {
	w := newWorldOn(t, 1, lan, session.Config{}, session.Config{}, sim.LinkOptions{MTU: 1000})
	w.crash(w.client)
	w.options.MTU = 2048
	w.startClient(9, session.Config{})
	w.dial()
	k, err := w.conn.NewCall()
	if err != nil {
		t.Fatal(err)
	}
	k.Tag = "a"
	body := pattern(1900, 1)
	k.Start(w.net.Now(), 1, copy(k.Buffer(), body), 0)
	w.wait("a", time.Second)
	if k.Err() != nil || !bytes.Equal(k.Body(), body) || w.conn.SmallMessage() != 1000-wire.Overhead-wire.TagBytes {
		t.Errorf("%s; small messages have %d bytes", describe(k), w.conn.SmallMessage())
	}
	k.Release()
	w.settle()
}

// TestIdleSessionsSleep counts how often an idle pair wants to be woken, and one that waits for a slow handler.
func TestIdleSessionsSleep(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	w.call("a", 1, []byte("x"), 0)
	w.wait("a", time.Second).Release()
	w.run(time.Second, nil)
	w.wakes = 0
	w.run(time.Minute, nil)
	if w.wakes > 100 {
		t.Errorf("woken %d times in an idle minute", w.wakes)
	}
	idle := w.wakes
	w.serve = func(k *session.Call) { w.in(10*time.Second, func() { w.echo(k) }) }
	w.call("b", 1, []byte("y"), 0)
	w.wakes = 0
	w.wait("b", time.Minute).Release()
	if w.wakes > 4000 {
		t.Errorf("woken %d times in 10 s of waiting for a reply", w.wakes)
	}
	t.Logf("woken %d times in an idle minute, %d times in 10 s of waiting", idle, w.wakes)
	w.settle()
}

// TestMisdirected: a packet of another endpoint of the process stays the caller's, who hears whose it is.
func TestMisdirected(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	hd := wire.DataHeader{Session: 7 << 52}
	b := make([]byte, wire.DataHeaderBytes+wire.ChecksumBytes)
	hd.Put(b)
	wire.Sum(b)
	for _, p := range [][]byte{b, func() []byte {
		b := make([]byte, 256)
		h := wire.Handshake{Kind: wire.Accept, Session: 7 << 52}
		return b[:h.Put(b)]
	}()} {
		w.net.Inject(serverAddr, clientAddr, p)
		w.net.Advance(w.net.Now().Add(time.Millisecond))
		var fs [4]transport.Frame
		n, _ := w.client.link.Recv(fs[:])
		found := false
		for i := range n {
			owner, ours := w.client.core.HandlePacket(w.net.Now(), &fs[i])
			if !ours {
				found = true
				w.client.link.Free(fs[i : i+1])
				if owner != 7 {
					t.Errorf("owner %d, want 7", owner)
				}
			}
		}
		if !found {
			t.Error("it was taken")
		}
	}
	w.settle()
}

// TestResetsAreFew: packets of unknown sessions are answered so many times a second, and garbage never is.
func TestResetsAreFew(t *testing.T) {
	w := newWorldOn(t, 1, lan, session.Config{}, session.Config{ResetsPerSecond: 10}, sim.LinkOptions{})
	w.establish()
	s := w.stranger("198.18.0.9:1")
	hd := wire.DataHeader{Session: 1<<52 | 5<<32 | 77}
	b := make([]byte, wire.DataHeaderBytes+wire.ChecksumBytes)
	hd.Put(b)
	for range 50 {
		w.net.Inject(s.addr, serverAddr, b) // without a checksum
	}
	w.run(time.Millisecond, nil)
	if got := s.listen(); len(got) != 0 {
		t.Errorf("garbage was answered: %s", kinds(got))
	}
	wire.Sum(b)
	for second := range 3 {
		for range 50 {
			w.net.Inject(s.addr, serverAddr, b)
		}
		w.run(time.Second, nil)
		got := s.listen()
		if len(got) != 10 || got[0].Kind != wire.Reset || got[0].Source != hd.Session {
			t.Errorf("second %d: %d answers", second, len(got))
		}
	}
	w.settle()
}

// TestWrongPath: sound packets of a session that come from another address than its peer's are counted and change nothing.
func TestWrongPath(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	w.run(time.Millisecond, nil)
	b := make([]byte, wire.Overhead+wire.ChecksumBytes)
	(&wire.Frame{Type: wire.Close, A: uint32(session.Unavailable)}).Put(b[wire.DataHeaderBytes:], 0)
	for c := range w.sessions {
		(&wire.DataHeader{Session: c.ID(), Number: 50}).Put(b)
	}
	wire.Sum(b)
	for _, from := range []string{"198.18.0.1:40001", "198.18.0.9:40000"} {
		w.net.Inject(netip.MustParseAddrPort(from), serverAddr, b)
	}
	w.run(time.Millisecond, nil)
	if n := w.server.core.Stats().WrongPath; n != 2 || len(w.sessions) != 1 {
		t.Errorf("%d were counted, %d sessions are left", n, len(w.sessions))
	}
	w.net.Inject(clientAddr, serverAddr, b)
	w.run(time.Millisecond, nil)
	if len(w.sessions) != 0 {
		t.Error("the same packet from the right address does nothing: the test shows nothing")
	}
}

// TestPacketsOfOtherEndpoints: a packet is told to be another endpoint's by its session ID, a Reset by being of no session here; and one of an
// endpoint that the process does not have is answered with a Reset, for it is of a predecessor's client.
func TestPacketsOfOtherEndpoints(t *testing.T) {
	const now = transport.Time(time.Hour)
	link := sim.NewNetwork(1, sim.Faults{}).Link(serverAddr, sim.LinkOptions{})
	e := session.New(link, session.Config{Engine: 3, Seed: seedOf(1), Incarnation: 1})
	receive := func(put func(b []byte) int) (transport.Frame, uint16, bool) {
		var f transport.Frame
		link.Alloc(&f)
		f.Data = f.Data[:put(f.Data)]
		owner, ours := e.HandlePacket(now, &f)
		return f, owner, ours
	}
	data := func(b []byte) int {
		(&wire.DataHeader{Session: 7<<52 | 1}).Put(b)
		wire.Sum(b[:wire.DataHeaderBytes+wire.ChecksumBytes])
		return wire.DataHeaderBytes + wire.ChecksumBytes
	}
	f, owner, ours := receive(data)
	if owner != 7 || ours {
		t.Errorf("a packet of endpoint 7 is said to be of %d, ours %v", owner, ours)
	}
	e.HandleStray(now, &f)
	fs := e.PollTransmit(now)
	var h wire.Handshake
	if len(fs) != 1 || !h.Parse(fs[0].Data) || h.Kind != wire.Reset || h.Source != 7<<52|1 {
		t.Errorf("%d packets answer it", len(fs))
	}
	if _, owner, ours := receive(func(b []byte) int { return (&wire.Handshake{Kind: wire.Reset, Source: 5}).Put(b) }); owner != 3 || ours {
		t.Errorf("a Reset of an unknown session is said to be of %d, ours %v", owner, ours)
	}
}

// TestPathShrinks: when the link says that a path carries less, sessions go on with shorter packets, also with what was built or on its way
// before; less than a session works with is not believed.
func TestPathShrinks(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	path := w.conn.Path()
	for _, small := range []uint16{0, 100, path.MTU} {
		path.MTU = small
		w.client.core.HandleMTU(&path)
		if got := w.conn.PacketBytes(); got != 2048 {
			t.Fatalf("at %d bytes the session sends packets of %d", small, got)
		}
	}
	body := pattern(1900, 3)
	built, err := w.conn.NewCall()
	if err != nil {
		t.Fatal(err)
	}
	built.Tag = "built"
	n := copy(built.Buffer(), body)
	w.call("sent", 1, body, 0)
	w.turns()
	w.call("waiting", 1, body, 0)
	path.MTU = 1200
	w.client.core.HandleMTU(&path)
	built.Start(w.net.Now(), 1, n, 0)
	for _, tag := range []string{"built", "sent", "waiting"} {
		k := w.wait(tag, time.Second)
		if k.Err() != nil || !bytes.Equal(k.Body(), body) {
			t.Errorf("%s: %s", tag, describe(k))
		}
		k.Release()
	}
	if got := w.conn.PacketBytes(); got != 1200 {
		t.Errorf("the session sends packets of %d bytes", got)
	}
	w.settle()
}

// TestFailureIsNeverOK: whatever status a peer gives as it ends a session, the calls in it have failed.
func TestFailureIsNeverOK(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	w.serve = func(*session.Call) {}
	w.call("a", 1, []byte("x"), 0)
	w.run(time.Millisecond, nil)
	w.server.core.Conns(func(c *session.Conn) { c.Close(w.net.Now(), session.OK, "") })
	k := w.wait("a", 10*time.Millisecond)
	if k.Err() == nil || k.Err().Code != session.Unavailable {
		t.Error(describe(k))
	}
	k.Release()
}
