package session_test

import (
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
)

// node is an endpoint on a simulated link, driven as an engine would.
type node struct {
	name        string
	cfg         session.Config // as given, without the defaults
	link        transport.Link
	core        *session.Endpoint
	onEvent     func(session.Event)
	ahead       time.Duration // of its clock, before the network's; it only grows
	rx          [64]transport.Frame
	turns       int
	events      [8]transport.Event
	pausedUntil transport.Time // by the network's clock: it does nothing before
	dead        bool
}

func newNode(link transport.Link, cfg session.Config) *node {
	return &node{link: link, cfg: cfg, core: session.New(link, cfg)}
}

// turn does what one turn of an engine does, at a time of the network's; it returns whether packets moved.
func (n *node) turn(now transport.Time) bool {
	if n.dead || now < n.pausedUntil {
		return false
	}
	n.pausedUntil = 0
	now = now.Add(n.ahead)
	got, err := n.link.Recv(n.rx[:])
	if err != nil {
		panic(err)
	}
	for i := range got {
		n.rx[i].Stamp += transport.Time(n.ahead)
		if _, ours := n.core.HandlePacket(now, &n.rx[i]); !ours {
			n.link.Free(n.rx[i : i+1])
		}
	}
	if fs := n.core.PollFetch(); len(fs) > 0 {
		n.link.(transport.Fetcher).Fetch(fs)
	}
	read := 0
	if n.link.Caps().FetchLeast > 0 {
		var fs [4]transport.Fetch
		read = n.link.(transport.Fetcher).Fetched(fs[:])
		n.core.HandleFetched(now, fs[:read])
	}
	done := n.link.Completed(n.rx[:])
	n.core.HandleCompleted(n.rx[:done])
	for _, ev := range n.events[:n.link.Events(n.events[:])] {
		switch ev.Kind {
		case transport.Unreachable:
			n.core.HandleUnreachable(now, &ev.Path, ev.Err)
		case transport.MTUChanged:
			n.core.HandleMTU(&ev.Path)
		}
	}
	if at := n.core.NextTimeout(); at != 0 && at <= now {
		n.core.HandleTimeout(now)
	}
	for {
		ev := n.core.PollEvent()
		if ev == nil {
			break
		}
		n.onEvent(*ev)
	}
	sent := false
	for range 16 {
		fs := n.core.PollTransmit(now)
		if len(fs) == 0 {
			break
		}
		k, err := n.link.Send(fs[:min(len(fs), n.link.Caps().Burst)])
		n.core.Sent(k)
		if err != nil {
			n.core.Unsendable()
		} else if k == 0 {
			break
		}
		sent = true
	}
	n.core.FreeFrames()
	if err := n.link.Flush(); err != nil {
		panic(err)
	}
	return got > 0 || done > 0 || read > 0 || sent
}

// next is when n wants to be run again, by the network's clock; 0 for never.
func (n *node) next() transport.Time {
	if n.dead {
		return 0
	}
	at := n.core.NextTimeout()
	if at != 0 {
		at = max(at-transport.Time(n.ahead), 1)
	}
	if n.pausedUntil != 0 {
		return max(at, n.pausedUntil)
	}
	return at
}

// home fails the test unless n has no session any more and everything came home.
func (n *node) home(t testing.TB, name string) {
	t.Helper()
	n.core.FreeFrames()
	if a := n.core.Audit(); a != (session.Audit{}) {
		t.Errorf("%s: left behind: %+v", name, a)
	}
	if c := n.link.Counts(); c.Borrowed != 0 || c.InFlight != 0 {
		t.Errorf("%s: frames left: %+v", name, c)
	}
	if out, in := n.core.Outstanding(), n.core.Answering(); out != 0 || in != 0 || n.core.Sessions() != 0 {
		t.Errorf("%s: %d calls, %d requests, %d sessions left", name, out, in, n.core.Sessions())
	}
}
