package tap

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patience is for what comes in microseconds, on a machine that may be slow.
const patience = 20 * time.Second

var ifindexes atomic.Int32

// link stands for what has a Point: packets come from its memory.
type link struct {
	Point
	memory []byte
}

// pass lets a burst pass.
func (l *link) pass(d Direction, packets ...[]byte) {
	var descs []unix.XDPDesc
	at := uint64(0)
	for _, p := range packets {
		descs = append(descs, unix.XDPDesc{Addr: at, Len: uint32(copy(l.memory[at:], p))})
		at += uint64(len(p))
	}
	l.passDescs(d, descs...)
}

func (l *link) passDescs(d Direction, descs ...unix.XDPDesc) {
	if w := l.Watched(); w != nil {
		w.Packets(d, l.memory, descs)
		w.Attend()
	}
}

// serve starts a Server with links of an interface that nobody else has.
func serve(t testing.TB, queues int) (*Server, []*link) {
	t.Helper()
	links := make([]*link, queues)
	for i := range links {
		links[i] = &link{memory: make([]byte, 1<<20)}
	}
	return serveLinks(t, links, func(<-chan struct{}) []any { return nil }), links
}

func serveLinks(t testing.TB, links []*link, stats func(stop <-chan struct{}) []any) *Server {
	t.Helper()
	c := Config{Ifindex: 1<<24 + os.Getpid()<<4 + int(ifindexes.Add(1))&15, Stats: stats}
	for i := range links {
		c.Queues = append(c.Queues, Queue{Number: 10 + i, Name: fmt.Sprint("queue ", 10+i), Point: &links[i].Point})
	}
	s, err := Listen(c)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func dial(t testing.TB, s *Server) *Process {
	t.Helper()
	names, err := Find(s.config.Ifindex)
	must(t, err)
	if len(names) != 1 {
		t.Fatalf("found %q", names)
	}
	p, err := Dial(names[0])
	must(t, err)
	return p
}

func capture(t testing.TB, s *Server, o Options) *Capture {
	t.Helper()
	p := dial(t, s)
	c, err := p.Capture(o)
	must(t, err)
	return c
}

// next reads a packet that is there.
func next(t testing.TB, c *Capture) Packet {
	t.Helper()
	must(t, c.Look())
	var p Packet
	ok, err := c.Next(&p, math.MaxInt64)
	must(t, err)
	if !ok {
		t.Fatal("no packet")
	}
	return p
}

func nothing(t testing.TB, c *Capture) {
	t.Helper()
	must(t, c.Look())
	var p Packet
	if ok, err := c.Next(&p, math.MaxInt64); ok || err != nil {
		t.Fatalf("%+v, %v; want nothing", p, err)
	}
}

// Packets of two queues in both directions come with their bytes, lengths and directions, in the order in which they were there.
func TestCapture(t *testing.T) {
	s, links := serve(t, 2)
	if links[0].Watched() != nil {
		t.Fatal("watched by nobody")
	}
	before := time.Now().UnixNano()
	c := capture(t, s, Options{})
	if len(c.Queues) != 2 || c.Queues[1].Number != 11 || c.Queues[1].Name != "queue 11" || c.process.Pid != os.Getpid() || c.process.Uid != os.Geteuid() {
		t.Fatalf("%+v of %+v", c.Queues, c.process)
	}
	links[0].pass(In, []byte("one"), []byte("two"))
	links[1].pass(Out, []byte("three"))
	links[0].pass(Out, bytes.Repeat([]byte("four"), 1000))
	links[1].pass(In, nil)
	var last int64
	for i, want := range []Packet{
		{Queue: 0, Direction: In, Data: []byte("one")},
		{Queue: 0, Direction: In, Data: []byte("two")},
		{Queue: 1, Direction: Out, Data: []byte("three")},
		{Queue: 0, Direction: Out, Data: bytes.Repeat([]byte("four"), 1000)},
		{Queue: 1, Direction: In, Data: nil},
	} {
		got := next(t, c)
		if got.Queue != want.Queue || got.Direction != want.Direction || !bytes.Equal(got.Data, want.Data) || got.Length != len(want.Data) {
			t.Errorf("packet %d: %+v", i, got)
		}
		if got.Time < last || got.Time < before-int64(time.Millisecond) || got.Time > time.Now().UnixNano()+int64(time.Millisecond) {
			t.Errorf("packet %d at %d, after %d, begun at %d", i, got.Time, last, before)
		}
		last = got.Time
	}
	nothing(t, c)

	// A packet from after the limit is left for later.
	links[0].pass(In, []byte("late"))
	if stamp, ok, err := c.Stamp(); ok || err != nil {
		t.Errorf("%d, %v before another Look", stamp, err)
	}
	must(t, c.Look())
	stamp, ok, err := c.Stamp()
	must(t, err)
	var p Packet
	if early, err := c.Next(&p, stamp); !ok || early || err != nil {
		t.Errorf("%+v, %v from before %d", p, err, stamp)
	}
	if p := next(t, c); string(p.Data) != "late" || p.Time != stamp {
		t.Errorf("%+v", p)
	}

	// What was written before the end is read after it.
	links[0].pass(In, []byte("last"))
	c.Stop()
	links[0].pass(In, []byte("after"))
	if p := next(t, c); string(p.Data) != "last" {
		t.Errorf("%q", p.Data)
	}
	nothing(t, c)
	if links[0].Watched() != nil || links[1].Watched() != nil {
		t.Error("still watched")
	}
	must(t, c.Close())
}

// What is kept of a packet ends at the snap length, also of one of several frames.
func TestSnap(t *testing.T) {
	s, links := serve(t, 1)
	c := capture(t, s, Options{Snap: 5})
	defer c.Close()
	links[0].pass(In, []byte("1234"), []byte("12345"), []byte("123456"))
	copy(links[0].memory, "abcdefghi")
	links[0].passDescs(In, unix.XDPDesc{Len: 3, Options: unix.XDP_PKT_CONTD}, unix.XDPDesc{Addr: 3, Len: 6})
	for _, want := range []Packet{{Data: []byte("1234"), Length: 4}, {Data: []byte("12345"), Length: 5}, {Data: []byte("12345"), Length: 6}, {Data: []byte("abcde"), Length: 9}} {
		if got := next(t, c); !bytes.Equal(got.Data, want.Data) || got.Length != want.Length {
			t.Errorf("%q of %d, want %q of %d", got.Data, got.Length, want.Data, want.Length)
		}
	}
}

// A packet of several frames is one packet, though the other direction comes between them, and one that lacks a frame is none.
func TestFrames(t *testing.T) {
	s, links := serve(t, 1)
	c := capture(t, s, Options{})
	defer c.Close()
	l := links[0]
	copy(l.memory, "abcdefghi")
	more := func(at uint64, n uint32) unix.XDPDesc {
		return unix.XDPDesc{Addr: at, Len: n, Options: unix.XDP_PKT_CONTD}
	}
	l.passDescs(In, more(0, 3), more(3, 3))
	l.pass(Out, []byte("abcdefghi"))
	l.passDescs(In, unix.XDPDesc{Addr: 6, Len: 3}, unix.XDPDesc{Addr: 0, Len: 1})
	for _, want := range []string{"abcdefghi", "abcdefghi", "a"} {
		if got := next(t, c); string(got.Data) != want || got.Length != len(want) {
			t.Errorf("%+v, want %q", got, want)
		}
	}

	// The ring has no room for the second frame, and then for the third: the packet is lost, once.
	const large = 30 << 10
	c2 := capture(t, s, Options{Bytes: minRing})
	defer c2.Close()
	l.passDescs(In, unix.XDPDesc{Len: large}, more(0, large), more(0, large), unix.XDPDesc{Len: 1})
	if got := next(t, c2); got.Length != large {
		t.Errorf("%d bytes", got.Length)
	}
	nothing(t, c2)
	l.passDescs(In, unix.XDPDesc{Len: 2})
	if got := next(t, c2); got.Length != 2 || c2.Dropped(0) != 1 {
		t.Errorf("%d bytes, %d dropped", got.Length, c2.Dropped(0))
	}
}

// A full ring loses what comes then, counts it, and goes on when there is room.
func TestFull(t *testing.T) {
	s, links := serve(t, 1)
	c := capture(t, s, Options{Bytes: 1})
	defer c.Close()
	packet := make([]byte, 1008) // 1,024 with its header
	for i := range 100 {
		packet[0] = byte(i)
		links[0].pass(In, packet)
	}
	if got := c.Dropped(0); got != 36 {
		t.Errorf("%d dropped of 100, in a ring for 64", got)
	}
	for i := range 10 {
		if p := next(t, c); p.Data[0] != byte(i) {
			t.Fatalf("packet %d: %d", i, p.Data[0])
		}
	}
	packet[0] = 200
	links[0].pass(In, packet)
	for i := 10; i < 64; i++ {
		if p := next(t, c); p.Data[0] != byte(i) {
			t.Fatalf("packet %d: %d", i, p.Data[0])
		}
	}
	if p := next(t, c); p.Data[0] != 200 || c.Dropped(0) != 36 {
		t.Errorf("%d, %d dropped", p.Data[0], c.Dropped(0))
	}
}

// Two captures of the same process see the same packets, and the end of one is not the other's.
func TestTwoCaptures(t *testing.T) {
	s, links := serve(t, 1)
	first, second := capture(t, s, Options{}), capture(t, s, Options{Snap: 1})
	links[0].pass(In, []byte("both"))
	if a, b := next(t, first), next(t, second); string(a.Data) != "both" || string(b.Data) != "b" {
		t.Errorf("%q and %q", a.Data, b.Data)
	}
	first.Stop()
	must(t, first.Close())
	links[0].pass(In, []byte("one"))
	if b := next(t, second); b.Length != 3 {
		t.Errorf("%+v", b)
	}
	must(t, second.Close())
}

// A Server that closes ends its captures, which can still read what was written.
func TestServerCloses(t *testing.T) {
	s, links := serve(t, 1)
	c := capture(t, s, Options{})
	defer c.Close()
	if c.Ended() {
		t.Error("ended before the end")
	}
	links[0].pass(In, []byte("last"))
	must(t, s.Close())
	if !c.Ended() || links[0].Watched() != nil {
		t.Errorf("ended: %v, watched: %v", c.Ended(), links[0].Watched())
	}
	if p := next(t, c); string(p.Data) != "last" {
		t.Errorf("%q", p.Data)
	}
	if names, err := Find(s.config.Ifindex); len(names) > 0 || err != nil {
		t.Errorf("still there: %q, %v", names, err)
	}
	must(t, s.Close())
}

// Statistics come in their parts, asked for again and again, and what only the queue's owner can do, the owner does.
func TestStats(t *testing.T) {
	l, asked, woken := &link{}, 0, make(chan struct{}, 1)
	s := serveLinks(t, []*link{l}, func(stop <-chan struct{}) []any {
		asked++
		told := 0
		if !l.Do(func() { told = asked }, func() { woken <- struct{}{} }, patience, stop) {
			return nil
		}
		return []any{"first", told}
	})
	p := dial(t, s)
	defer p.Close()
	for i := 1; i <= 3; i++ {
		go func() {
			<-woken
			l.passDescs(In)
			l.passDescs(In) // does it once
		}()
		parts, err := p.Stats()
		must(t, err)
		var told int
		if len(parts) != 2 || string(parts[0]) != `"first"` || json.Unmarshal(parts[1], &told) != nil || told != i {
			t.Errorf("%s", parts)
		}
		if l.Watched() != nil {
			t.Error("still watched")
		}
	}
	// An owner that does not come is not waited for longer than asked for, nor beyond the end.
	if l.Do(func() {}, func() {}, time.Millisecond, nil) {
		t.Error("done by nobody")
	}
	stop := make(chan struct{})
	close(stop)
	if l.Do(func() {}, func() {}, time.Hour, stop) {
		t.Error("done by nobody")
	}
}

// Those who ask for what is not there get an answer that says so.
func TestRefusals(t *testing.T) {
	s, _ := serve(t, 5)
	for _, c := range []struct {
		q    request
		says string
	}{
		{request{Version: 99, Op: opStats}, "release"},
		{request{Version: version, Op: "dance"}, `"dance"`},
		{request{Version: version, Op: opCapture, Bytes: 1 << 60}, "256 MiB"},
	} {
		p := dial(t, s)
		if _, _, err := p.ask(c.q); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c.q, err)
		}
		must(t, p.Close())
	}
}

// Another user may connect, for anybody may, but gets nothing, and takes nobody's place.
func TestOtherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become somebody else: run the tests as root to include this one")
	}
	s, links := serve(t, 1)
	names, err := Find(s.config.Ifindex)
	must(t, err)
	done, over := make(chan error), make(chan struct{})
	defer close(over)
	go func() {
		runtime.LockOSThread() // and never unlocked, so that the thread ends
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 {
			done <- nil
			return
		}
		for range 2 * maxConns {
			p, err := Dial(names[0])
			if err == nil {
				defer p.Close() // all at once, at the end
				_, err = p.Capture(Options{})
			}
			if err == nil || !strings.Contains(err.Error(), "only root and user 0") {
				done <- fmt.Errorf("another user: %w", err)
				return
			}
		}
		for range 2 * maxConns {
			if p, err := Dial(names[0]); err == nil { // and never asks
				defer p.Close()
			}
		}
		done <- nil
		<-over
	}()
	must(t, <-done)
	if links[0].Watched() != nil {
		t.Error("watched by another user")
	}
	must(t, capture(t, s, Options{}).Close())
}
