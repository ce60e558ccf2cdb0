package session_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// watchful finds a dead server within 100 ms.
var watchful = session.Config{
	Heartbeat: 10 * time.Millisecond,
	Phi:       session.PhiConfig{AcceptablePause: 30 * time.Millisecond, MinStdDev: 5 * time.Millisecond},
}

// hold makes the server never answer.
func (w *world) hold() { w.serve = func(*session.Call) {} }

// detect waits for the one call that is outstanding to fail, and returns how long that took.
func (w *world) detect(tag any) time.Duration {
	w.t.Helper()
	began := w.net.Now()
	k := w.wait(tag, time.Minute)
	if err := k.Err(); err == nil || err.Code != session.Unavailable || err.Outcome != session.MaybeExecuted {
		w.t.Errorf("the call ended with %s", describe(k))
	}
	k.Release()
	return w.net.Now().Sub(began)
}

// TestDetection: with a call outstanding, a server that is dead or cut off is found out in time, at the first heartbeats, when fixed misses
// decide, as well as after many, when phi does.
func TestDetection(t *testing.T) {
	for _, c := range []struct {
		name  string
		cfg   session.Config
		below time.Duration
	}{{"default", session.Config{}, 500 * time.Millisecond}, {"by setting", watchful, 100 * time.Millisecond}} {
		for _, warm := range []time.Duration{0, time.Millisecond, 120 * time.Millisecond, 5 * time.Second} {
			for _, end := range []struct {
				name string
				do   func(w *world)
			}{
				{"crash", func(w *world) { w.crash(w.server) }},
				{"partition", func(w *world) {
					w.net.Partition(clientAddr, serverAddr, true)
					w.net.Partition(serverAddr, clientAddr, true)
				}},
				{"its packets lost", func(w *world) { w.net.Partition(serverAddr, clientAddr, true) }},
				{"ours lost", func(w *world) { w.net.Partition(clientAddr, serverAddr, true) }},
			} {
				worst := time.Duration(0)
				for seed := range uint64(10) {
					w := newWorld(t, seed, sim.Faults{Delay: 20 * time.Microsecond, Jitter: 50 * time.Microsecond, JitterShape: sim.Pareto}, c.cfg)
					w.hold()
					w.establish()
					w.call("a", 1, []byte("x"), 0)
					w.run(warm+time.Duration(seed)*warm/100, nil)
					end.do(w)
					worst = max(worst, w.detect("a"))
				}
				if worst >= c.below {
					t.Errorf("%s, %s after %v: found out after %v, want less than %v", c.name, end.name, warm, worst, c.below)
				}
				if end.name == "crash" {
					t.Logf("%s: crash after %v of calls: found out after %v at most", c.name, warm, worst)
				}
			}
		}
	}
}

// TestPhiGrows: the suspicion can be read, is small while the server answers, and grows with its silence until it ends the session.
func TestPhiGrows(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.hold()
	w.establish()
	if phi := w.conn.Phi(w.net.Now()); phi != 0 {
		t.Errorf("phi is %v while nothing is outstanding", phi)
	}
	w.call("a", 1, nil, 0)
	for range 50 {
		w.run(53*time.Millisecond, nil)
		if phi := w.conn.Phi(w.net.Now()); phi > 0.1 {
			t.Errorf("phi is %v while the server answers", phi)
		}
	}
	w.crash(w.server)
	before, grown := 0.0, 0
	for w.ended["a"] == nil {
		w.run(5*time.Millisecond, nil)
		phi := w.conn.Phi(w.net.Now())
		if w.ended["a"] == nil && phi < before {
			t.Errorf("phi falls from %v to %v", before, phi)
		}
		if phi > before {
			grown++
		}
		before = max(before, phi)
	}
	if grown < 10 || before < 4 {
		t.Errorf("phi has grown %d times, to %v", grown, before)
	}
}

// TestQuietDay: a call that takes all day, over a network with a heavy tail of delays, to a server that stands still for 100 ms now and then, as
// its client does: a container's CPU quota makes such pauses. Nobody is suspected; and a server that dies in the evening is found out as soon as
// ever.
func TestQuietDay(t *testing.T) {
	day := 24 * time.Hour
	if testing.Short() {
		day = time.Hour
	}
	for _, c := range []struct {
		name   string
		day    time.Duration
		jitter time.Duration
		every  time.Duration // a pause, on average
	}{
		{"quiet", day, time.Millisecond, 10 * time.Second},
		{"busy", day / 24, 4 * time.Millisecond, 500 * time.Millisecond},
	} {
		day := c.day
		faults := sim.Faults{Delay: 50 * time.Microsecond, Jitter: c.jitter, JitterShape: sim.Pareto, Loss: 0.001}
		w := newWorldOn(t, 1, faults, session.Config{}, session.Config{}, sim.LinkOptions{Frames: 64})
		w.establish()
		w.hold()
		w.call("slow", 1, nil, 0)
		r := rand.New(rand.NewPCG(1, 2))
		pauses := 0
		var pause func()
		pause = func() {
			n := []*node{w.client, w.server}[r.IntN(2)]
			if w.server == nil {
				return
			}
			n.pausedUntil = max(n.pausedUntil, w.net.Now().Add(100*time.Millisecond))
			pauses++
			w.in(time.Duration(r.ExpFloat64()*float64(c.every)), pause)
		}
		pause()
		began := time.Now()
		if w.run(day, func() bool { return w.ended["slow"] != nil }) {
			t.Fatalf("%s: false alarm after %v: %s", c.name, w.net.Now().Sub(0), describe(w.ended["slow"]))
		}
		if s := w.client.core.Stats().PeersSilent; s != 0 || !w.conn.Established() {
			t.Errorf("%s: %d false alarms", c.name, s)
		}
		summary := fmt.Sprintf("%v, %d pauses, %d packets in %v", day, pauses, w.net.Counters().Sent, time.Since(began))
		w.crash(w.server)
		found := w.detect("slow")
		t.Logf("%s: %s; then the server's death was found out after %v", c.name, summary, found)
		if found >= 500*time.Millisecond {
			t.Errorf("%s: death was found out after %v", c.name, found)
		}
	}
}

// TestServerSuspectsNobody: a server keeps clients that are idle or silent with a request, until the idle timeout takes back what they hold.
func TestServerSuspectsNobody(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{IdleTimeout: 10 * time.Second})
	w.hold()
	w.establish()
	w.call("a", 1, nil, 0)
	w.run(time.Second, nil)
	w.crash(w.client)
	w.run(8*time.Second, nil)
	if n, s := w.server.core.Sessions(), w.server.core.Stats().PeersSilent; n != 1 || s != 0 {
		t.Errorf("after 8 s of silence there are %d sessions, %d suspected", n, s)
	}
	w.run(3*time.Second, nil)
	if n := w.server.core.Sessions(); n != 0 || w.gone != 1 {
		t.Errorf("after the idle timeout there are %d sessions; %d requests are gone", n, w.gone)
	}
	if a := w.server.core.Audit(); a.Hosts != 0 || a.Timers != 0 {
		t.Errorf("left behind: %+v", a)
	}
}

// TestServerForgot: a client hears of it at once when its server does not know the session any more.
func TestServerForgot(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.hold()
	w.establish()
	w.call("a", 1, nil, 0)
	w.run(time.Second, nil)
	w.crash(w.server)
	w.startServer(99)
	k := w.wait("a", 100*time.Millisecond)
	if err := k.Err(); err == nil || err.Outcome != session.MaybeExecuted {
		t.Error(describe(k))
	}
	k.Release()
}

// TestPausedServerDropsExpired: requests that wait while their server stands still are refused when it goes on, if their time has passed, and
// not run.
func TestPausedServerDropsExpired(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	for i := range 20 { // what the way takes is known
		w.call(i, 1, nil, time.Second)
		w.wait(i, time.Second).Release()
	}
	ran := len(w.executions) + w.executions[""]
	w.server.pausedUntil = w.net.Now().Add(200 * time.Millisecond)
	for i := range 10 {
		w.call(100+i, 1, []byte{byte(i)}, 20*time.Millisecond)
	}
	for i := range 10 {
		k := w.wait(100+i, time.Second)
		if k.Code() != session.DeadlineExceeded {
			t.Errorf("call %d: %s", i, describe(k))
		}
		k.Release()
	}
	w.run(time.Second, nil)
	if now := len(w.executions) + w.executions[""]; now != ran {
		t.Errorf("%d expired requests were run", now-ran)
	}
	if s := w.server.core.Stats(); s.Expired == 0 {
		t.Error("none is counted as expired")
	}
	w.settle()
}
