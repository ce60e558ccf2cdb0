package session_test

import (
	"strconv"
	"testing"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// memory is a client and a server joined in memory, on one goroutine.
type memory struct {
	client, server *node
	conn           *session.Conn
	ended          *session.Call
	batch          bool // calls are counted in ends and released
	ends           int
	now            transport.Time
}

func newMemory(tb testing.TB) *memory { return newMemoryOn(tb, 512) }

func newMemoryOn(tb testing.TB, frames int) *memory {
	m := &memory{}
	a, b := sim.Pipe(sim.LinkOptions{Frames: frames, Reliable: true, Clock: func() transport.Time { return m.now }})
	*m = memory{client: newNode(a, session.Config{Seed: seedOf(1), Incarnation: 1, Sessions: 20_000}), server: newNode(b, session.Config{Engine: 1, Seed: seedOf(2), Incarnation: 2, Sessions: 20_000})}
	m.server.core.Listen(b.Addr().Port(), session.Listener{Security: wire.Insecure})
	m.server.onEvent = func(ev session.Event) { m.event(&ev) }
	m.client.onEvent = m.server.onEvent
	path, err := a.Resolve(tb.Context(), a.Addr(), b.Addr())
	if err != nil {
		tb.Fatal(err)
	}
	conn, cerr := m.client.core.Dial(transport.Now(), path, wire.Insecure)
	if cerr != nil {
		tb.Fatal(cerr)
	}
	m.conn = conn
	for range 100 {
		m.turn()
	}
	if !conn.Established() {
		tb.Fatal("no session")
	}
	return m
}

func (m *memory) turn() {
	m.now = transport.Now()
	m.client.turn(m.now)
	m.server.turn(m.now)
}

// event takes what a side has to tell: in place, because copying what was just written costs more than all else that is done with it.
func (m *memory) event(ev *session.Event) {
	switch ev.Kind {
	case session.RequestArrived:
		k := ev.Call
		k.Reply(m.now, session.OK, session.Executed, copy(k.Buffer(), k.Body()))
	case session.CallEnded:
		if m.batch {
			m.ends++
			ev.Call.Release()
		} else {
			m.ended = ev.Call
		}
	}
}

// lean is a turn as the engine has it while packets come: the link's stamp is the only clock, and what answers goes first. The clock itself
// is read once a call.
func (m *memory) lean(n *node) {
	got, err := n.link.Recv(n.rx[:])
	if got == 0 || err != nil {
		return
	}
	n.core.Fetch(n.rx[:got])
	for i := range got {
		n.core.HandlePacket(m.now, &n.rx[i])
	}
	for ev := n.core.PollEvent(); ev != nil; ev = n.core.PollEvent() {
		m.event(ev)
	}
	m.send(n, m.now)
	if n.turns += got; n.turns < 32 { // the engine's tidyPackets
		return
	}
	n.turns = 0
	n.core.HandleCompleted(n.rx[:n.link.Completed(n.rx[:])])
	n.core.FreeFrames()
	if at := n.core.NextTimeout(); at != 0 && at <= m.now {
		n.core.HandleTimeout(m.now)
	}
}

func (m *memory) send(n *node, now transport.Time) {
	for {
		fs := n.core.PollTransmit(now)
		if len(fs) == 0 {
			return
		}
		sent, err := n.link.Send(fs)
		if err != nil || sent < len(fs) {
			panic("the link is full")
		}
		n.core.Sent(sent)
		_ = n.link.Flush()
	}
}

func (m *memory) call(tb testing.TB, body []byte) {
	k, err := m.conn.NewCall()
	if err != nil {
		tb.Fatal(err)
	}
	n := copy(k.Buffer(), body)
	now := transport.Now()
	m.now = now
	k.Start(now, 1, n, now+1e9)
	m.send(m.client, now)
	for range 100 {
		m.lean(m.server)
		m.lean(m.client)
		if m.ended != nil {
			break
		}
	}
	if m.ended == nil || m.ended.Err() != nil || len(m.ended.Body()) != len(body) {
		tb.Fatal("no reply")
	}
	m.ended.Release()
	m.ended = nil
}

// BenchmarkCall is a 64-byte unary call between two sessions in memory, both sides together, without a kernel.
func BenchmarkCall(b *testing.B) {
	m := newMemory(b)
	body := make([]byte, 64)
	m.call(b, body)
	b.ReportAllocs()
	for b.Loop() {
		m.call(b, body)
	}
}

func TestCallAllocatesNothing(t *testing.T) {
	m := newMemory(t)
	body := make([]byte, 64)
	for range 1000 {
		m.call(t, body)
	}
	if n := testing.AllocsPerRun(1000, func() { m.call(t, body) }); n != 0 {
		t.Errorf("%v allocations a call, want none", n)
	}
}

// calls makes n calls at once and waits for all of them.
func (m *memory) calls(tb testing.TB, body []byte, n int) {
	m.now = transport.Now()
	for range n {
		k, err := m.conn.NewCall()
		if err != nil {
			tb.Fatal(err)
		}
		k.Start(m.now, 1, copy(k.Buffer(), body), m.now+1e9)
	}
	m.send(m.client, m.now)
	for turns := 0; m.ends < n; turns++ {
		if turns > 100 {
			tb.Fatal("no reply")
		}
		m.lean(m.server)
		m.lean(m.client)
	}
	m.ends = 0
}

// BenchmarkCalls32 is BenchmarkCall with 32 calls at once, which share packets. The time is one call's.
func BenchmarkCalls32(b *testing.B) {
	m := newMemory(b)
	m.batch = true
	body := make([]byte, 64)
	m.calls(b, body, 32)
	b.ReportAllocs()
	for b.Loop() {
		m.calls(b, body, 32)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(32*b.N), "ns/call")
}

// newMemories is newMemory with many sessions.
func newMemories(tb testing.TB, n int) (*memory, []*session.Conn) {
	m := newMemoryOn(tb, 4096) // as many as a queue of the AF_XDP link has
	m.batch = true
	conns := []*session.Conn{m.conn}
	path := m.conn.Path()
	for len(conns) < n {
		m.now = transport.Now()
		for range min(n-len(conns), 32) {
			c, err := m.client.core.Dial(m.now, path, wire.Insecure)
			if err != nil {
				tb.Fatal(err)
			}
			conns = append(conns, c)
		}
		for range 4 {
			m.turn()
		}
	}
	for _, c := range conns {
		if !c.Established() {
			tb.Fatal("a session is not open")
		}
	}
	return m, conns
}

// BenchmarkSessions sends bursts of 32 requests of a packet each, over as many of the sessions as there are, and takes the replies, of a packet
// each too. The time is one packet's.
func BenchmarkSessions(b *testing.B) {
	for _, n := range []int{1, 100, 1000, 20_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			m, conns := newMemories(b, n)
			body := make([]byte, 1100)
			next := 0
			burst := func() {
				m.now = transport.Now()
				for range 32 {
					k, err := conns[next].NewCall()
					if err != nil {
						b.Fatal(err)
					}
					next = (next + 7919) % n
					k.Start(m.now, 1, copy(k.Buffer(), body), m.now+1e9)
				}
				m.send(m.client, m.now)
				for turns := 0; m.ends < 32; turns++ {
					if turns > 100 {
						b.Fatal("no reply")
					}
					m.lean(m.server)
					m.lean(m.client)
				}
				m.ends = 0
			}
			for range max(n/32, 1) + 1 {
				burst()
			}
			b.ReportAllocs()
			before := m.client.core.Stats().Sent + m.server.core.Stats().Sent
			for b.Loop() {
				burst()
			}
			packets := m.client.core.Stats().Sent + m.server.core.Stats().Sent - before
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(packets), "ns/packet")
		})
	}
}
