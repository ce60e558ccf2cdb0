package session_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// manySessions is what DESIGN promises of one engine.
const manySessions = 20_000

// heapBytes is what is in use after a collection.
func heapBytes() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestTwentyThousandSessions: they open, one after the other without tokens and all at once with them, each carries calls, takes 4 KiB at most at either end while idle, and lives on.
func TestTwentyThousandSessions(t *testing.T) {
	for _, c := range []struct {
		name     string
		halfOpen int
		atOnce   int // Hellos
		idle     time.Duration
	}{{"one after the other", 2*manySessions + 2, 256, time.Hour}, {"all at once", 0, manySessions, time.Minute}} {
		limits := session.Config{Sessions: manySessions, HalfOpen: c.halfOpen}
		if testing.Short() {
			c.idle = 25 * time.Second
		}
		x := newFabric(t, 1, sim.Faults{Delay: 20 * time.Microsecond}, limits, sim.LinkOptions{Frames: 4096})
		n := x.client(limits)
		x.run(time.Millisecond, nil)
		empty := heapBytes()
		began := time.Now()
		conns := make([]*session.Conn, manySessions)
		for i := range conns {
			conns[i] = x.dial(n)
			if (i+1)%c.atOnce == 0 {
				x.run(time.Millisecond, func() bool { return conns[i].Established() })
			}
		}
		if !x.run(10*time.Second, func() bool { return x.opened == manySessions }) {
			t.Fatalf("%s: %d sessions opened; client %+v; server %+v", c.name, x.opened, n.core.Stats(), x.server.core.Stats())
		}
		opening := time.Since(began)
		answered := 0
		for range 3 {
			for _, c := range conns {
				x.call(c, []byte("12345678"), func(k *session.Call, _ time.Duration) {
					if answered++; k.Err() != nil {
						t.Fatal(describe(k))
					}
				})
				if x.clients[0].core.Outstanding() == 512 {
					x.run(time.Second, func() bool { return n.core.Outstanding() == 0 })
				}
			}
			x.run(time.Second, func() bool { return n.core.Outstanding() == 0 })
		}
		if answered != 3*manySessions {
			t.Fatalf("%s: %d calls were answered", c.name, answered)
		}
		x.run(time.Second, nil)
		both := heapBytes()
		tokens := x.server.core.Stats().Retries
		before := x.net.Counters().Sent
		idling := time.Now()
		x.run(c.idle, nil)
		t.Logf("%s: %v to open them, %.2f µs each; %d tokens; %v idle in %v, %d packets", c.name, opening, float64(opening.Microseconds())/manySessions,
			tokens, c.idle, time.Since(idling), x.net.Counters().Sent-before)
		if a, b := n.core.Sessions(), x.server.core.Sessions(); a != manySessions || b != manySessions || x.closed != 0 {
			t.Errorf("%s: after %v of idling there are %d and %d sessions, %d closed", c.name, c.idle, a, b, x.closed)
		}
		if (tokens > 0) != (c.halfOpen == 0) {
			t.Errorf("%s: %d tokens", c.name, tokens)
		}
		idle := heapBytes()
		x.nodes[1] = x.server // the client's end goes
		x.clients[0], n, conns = nil, nil, nil
		x.net.Trace(nil)
		server := heapBytes() - empty
		t.Logf("%s: %d bytes a session at both ends when it has had calls, %d after idling; %d of them without the client's endpoint", c.name,
			(both-empty)/manySessions, (idle-empty)/manySessions, server/manySessions)
		runtime.KeepAlive(x)
		if client := max(both, idle) - empty - server; max(client, server)/manySessions > 4096 {
			t.Errorf("%s: %d bytes a session at the client, %d at the server", c.name, client/manySessions, server/manySessions)
		}
	}
}
