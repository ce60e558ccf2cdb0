package session_test

import (
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// TestLostTail: with a least probe timeout of 200 µs the last packet of a message, which nothing follows, is missed and sent again within
// a millisecond: of a small request, of a long one, and the reply.
func TestLostTail(t *testing.T) {
	for _, c := range []struct {
		name  string
		size  int
		loses func(r *wire.Frame, size int) bool
	}{
		{"small request", 100, func(f *wire.Frame, _ int) bool { return f.Type == wire.Request }},
		{"small reply", 100, func(f *wire.Frame, _ int) bool { return f.Type == wire.Reply }},
		{"tail of a long request", 100_000, func(f *wire.Frame, size int) bool {
			return f.Type == wire.Fragment && int(f.A)+len(f.Payload) == size
		}},
	} {
		fast := session.Config{MinPTO: 200 * time.Microsecond}
		x := newFabric(t, 1, tenGigabits(0), fast, ethernet)
		n := x.client(fast)
		conn := x.session(n)
		x.transfer(conn, pattern(100, 1), 50, 1, time.Second)
		plain := time.Second / time.Duration(x.transfer(conn, pattern(c.size, 1), 1, 1, time.Second))
		lost := 0
		for _, node := range x.nodes {
			node.link = &losing{Link: node.link, lose: func(fr *wire.Frame) bool {
				if lost == 0 && c.loses(fr, c.size) {
					lost++
					return true
				}
				return false
			}}
		}
		took := time.Second / time.Duration(x.transfer(conn, pattern(c.size, 1), 1, 1, time.Second))
		t.Logf("%s: %v with all packets, %v with the last one lost", c.name, plain, took)
		if lost != 1 || took-plain > time.Millisecond || took-plain < 100*time.Microsecond {
			t.Errorf("%s: %d lost, %v more", c.name, lost, took-plain)
		}
	}
}

// losing is a link that loses packets by what is in them.
type losing struct {
	transport.Link
	lose func(fr *wire.Frame) bool
}

func (l *losing) Recv(fs []transport.Frame) (int, error) {
	n, err := l.Link.Recv(fs)
	kept := 0
	for i := range n {
		f := fs[i]
		gone := false
		if wire.KindOf(f.Data) == wire.Data {
			var fr wire.Frame
			for rest := f.Data[wire.DataHeaderBytes : len(f.Data)-wire.ChecksumBytes]; len(rest) > 0; {
				rest, _ = fr.Next(rest)
				gone = gone || l.lose(&fr)
			}
		}
		if gone {
			l.Free([]transport.Frame{f})
			continue
		}
		fs[kept] = f
		kept++
	}
	return kept, err
}

// TestReorderingIsLearned: on a path that delivers some packets dozens of places late, they count as lost at first; their acknowledgements
// show that they were not, and after a while nothing is sent twice any more, nor is the window smaller than over an orderly path.
func TestReorderingIsLearned(t *testing.T) {
	body := pattern(8<<20, 1)
	orderly := newFabric(t, 1, tenGigabits(0), session.Config{}, ethernet)
	want := orderly.transfer(orderly.session(orderly.client(session.Config{})), body, 4, 1, time.Second)

	faults := tenGigabits(0)
	faults.Reorder, faults.ReorderDelay = 0.01, 30*time.Microsecond // 24 packets
	x := newFabric(t, 1, faults, session.Config{}, ethernet)
	n := x.client(session.Config{})
	c := x.session(n)
	goodput := x.transfer(c, body, 4, 1, time.Second)
	early := n.core.Stats()
	late := x.transfer(c, body, 4, 1, time.Second)
	s := n.core.Stats()
	t.Logf("first: %d lost, %d of them only late, goodput %.3f; then %d lost, %d only late, goodput %.3f of an orderly path's; threshold %d packets",
		early.Lost, early.Spurious, goodput/want, s.Lost-early.Lost, s.Spurious-early.Spurious, late/want, c.PacketThreshold())
	if early.Spurious == 0 || early.Spurious != early.Lost {
		t.Errorf("%d packets lost, of which %d are known to have come", early.Lost, early.Spurious)
	}
	if c.PacketThreshold() < 10 || s.Spurious-early.Spurious > early.Spurious/2 {
		t.Errorf("the threshold is %d packets, and %d more were only late", c.PacketThreshold(), s.Spurious-early.Spurious)
	}
	if late < 0.97*want {
		t.Errorf("goodput %.3f of that over an orderly path", late/want)
	}
}

// TestWindowComesBack: an ack path that stands still for a while looks like a dead one; when it turns out that nothing was lost, the window is
// what it was.
func TestWindowComesBack(t *testing.T) {
	x := newFabric(t, 1, tenGigabits(0), session.Config{}, ethernet)
	n := x.client(session.Config{})
	c := x.session(n)
	x.pump(c, pattern(1<<20, 1), 2)
	x.run(20*time.Millisecond, nil)
	before := c.Window()
	x.server.pausedUntil = x.net.Now().Add(8 * time.Millisecond) // packets wait in its queue
	x.run(7*time.Millisecond, nil)
	if c.Window() > before/2 || n.core.Stats().ProbeTimeouts < 2 {
		t.Errorf("a window of %d, and %d after %d probe timeouts", before, c.Window(), n.core.Stats().ProbeTimeouts)
	}
	at := x.net.Now() // a millisecond of the pause is left
	if !x.run(1080*time.Microsecond, func() bool { return c.Window() >= before*9/10 }) {
		t.Errorf("a window of %d before the pause, %d after it", before, c.Window())
	}
	t.Logf("a window of %d is back after %v, %d late packets", before, x.net.Now().Sub(at), n.core.Stats().Spurious)
	if n.core.Stats().Spurious == 0 {
		t.Error("no packet is known to have come late")
	}
}
