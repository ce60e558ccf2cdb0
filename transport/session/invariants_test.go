package session_test

import (
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// distant is later than any timer of an endpoint that waits for something: the longest is between two Hellos.
const distant = time.Second

// auditEvery is how many steps there are between two thorough looks: each goes through all frames and call records.
const auditEvery = 16

// mostSteps is a hundred times what the longest of these worlds needs.
const mostSteps = 1e6

// watchInvariants checks after every step what holds at all times, whatever happens.
func (s *stage) watchInvariants() {
	steps := 0
	s.each = func() {
		if steps++; steps > mostSteps {
			s.t.Fatalf("after %d steps it is %v, and there is no end", steps, time.Duration(s.net.Now()))
		}
		for _, n := range s.nodes {
			if n.dead {
				continue
			}
			n.checkFrames(s.t)
			n.checkTimers(s.t, s.clock(n))
			if steps%auditEvery == 0 {
				n.checkMemory(s.t)
			}
		}
	}
}

// checkFrames: every frame is somewhere, and only there.
func (n *node) checkFrames(t testing.TB) {
	c := n.link.Counts()
	if sum := c.Free + c.Receive + c.Borrowed + c.InFlight; sum != n.link.Caps().Frames || min(c.Free, c.Receive, c.Borrowed, c.InFlight) < 0 {
		t.Errorf("%s: %d frames are accounted for, of %d: %+v", n.name, sum, n.link.Caps().Frames, c)
	}
}

// checkTimers: who waits for something will be woken, soon.
func (n *node) checkTimers(t testing.TB, now transport.Time) {
	at := n.core.NextTimeout()
	if out := n.core.Outstanding(); out > 0 && (at == 0 || at.Sub(now) > distant) {
		t.Errorf("%s: a timer was lost: %d calls are outstanding, and the next timeout is %d, now %d", n.name, out, at, now)
	}
	if open := n.core.Sessions(); open > 0 && at == 0 && !n.core.Unsent() {
		t.Errorf("%s: a timer was lost: %d sessions are open, and there is no next timeout", n.name, open)
	}
}

// checkMemory: what an endpoint holds stays within its limits, and its books agree with the link's.
func (n *node) checkMemory(t testing.TB) {
	a, c := n.core.Audit(), n.link.Counts()
	over := func(what string, held, limit int64) {
		if held < 0 || limit > 0 && held > limit {
			t.Errorf("%s: %s: %d, the limit is %d; %+v", n.name, what, held, limit, a)
		}
	}
	over("call records", int64(a.Records), int64(n.core.CallLimit()))
	over("frames held", int64(a.Held), int64(n.link.Caps().Frames))
	over("bytes of reassembly", a.Reassembly, n.cfg.Reassembly)
	over("sessions", int64(n.core.Sessions()), int64(n.cfg.Sessions))
	over("half-open sessions", int64(a.HalfOpen), int64(n.cfg.HalfOpen))
	over("timers", int64(a.Timers), int64(2*max(n.core.Sessions(), 1)+a.Hosts+1))
	over("bytes granted", a.Credit, n.cfg.Credit)
	if !n.core.Unsent() && a.Flying != c.InFlight {
		t.Errorf("%s: the endpoint counts %d frames in flight, the link %d", n.name, a.Flying, c.InFlight)
	}
}
