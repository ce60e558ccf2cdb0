package session_test

import (
	"slices"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// stage is nodes in a simulated network, in virtual time.
type stage struct {
	t      testing.TB
	net    *sim.Network
	nodes  []*node
	alarms []alarm // by time
	wakes  int     // how often time moved on
	each   func()  // after every step, or nil
}

// alarm is something that a test does later.
type alarm struct {
	at transport.Time
	do func()
}

// enter puts n on the stage, in the place of a dead node of its name.
func (s *stage) enter(name string, n *node) {
	n.name = name
	for i, old := range s.nodes {
		if old.name == name {
			s.nodes[i] = n
			return
		}
	}
	s.nodes = append(s.nodes, n)
}

// kill ends a node as a crash would: nobody is told.
func (s *stage) kill(n *node) {
	if err := n.link.Close(); err != nil {
		s.t.Fatal(err)
	}
	n.dead = true
}

// clock is what n's own clock shows.
func (s *stage) clock(n *node) transport.Time { return s.net.Now().Add(n.ahead) }

// in does something after d.
func (s *stage) in(d time.Duration, do func()) { s.at(s.net.Now().Add(d), do) }

func (s *stage) at(at transport.Time, do func()) {
	i := len(s.alarms)
	for i > 0 && s.alarms[i-1].at > at {
		i--
	}
	s.alarms = slices.Insert(s.alarms, i, alarm{at, do})
}

// turns runs all nodes until they are quiet.
func (s *stage) turns() {
	now := s.net.Now()
	for len(s.alarms) > 0 && s.alarms[0].at <= now {
		do := s.alarms[0].do
		s.alarms = s.alarms[1:]
		do()
	}
	for range 1000 {
		moved := false
		for _, n := range s.nodes {
			moved = n.turn(now) || moved
		}
		if !moved {
			if s.each != nil {
				s.each()
			}
			return
		}
	}
	s.t.Fatalf("at %d the ends do not come to rest", now)
}

// advance moves time to whatever comes next, and not beyond end.
func (s *stage) advance(end transport.Time) {
	next := end
	sooner := func(at transport.Time) {
		if at != 0 {
			next = min(next, at)
		}
	}
	if at, ok := s.net.Next(); ok {
		sooner(at)
	}
	for _, n := range s.nodes {
		sooner(n.next())
	}
	if len(s.alarms) > 0 {
		sooner(s.alarms[0].at)
	}
	s.wakes++
	s.net.Advance(max(next, s.net.Now()+1))
}

// run lets things happen until done says so, or for as long as limit; it returns whether done did. A nil done never does.
func (s *stage) run(limit time.Duration, done func() bool) bool {
	end := s.net.Now().Add(limit)
	for {
		s.turns()
		if done != nil && done() {
			return true
		}
		if s.net.Now() >= end {
			return false
		}
		s.advance(end)
	}
}
