package session_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// TestScenarios plays the scripts in testdata; testdata/README.md says how to read them. With -rewrite it writes what happened into them.
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if !strings.HasSuffix(path, ".txt") || strings.HasSuffix(path, "goodput.txt") { // a table of TestGoodputTable
			return
		}
		s := newScene(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t = t
			return s.paragraph(t, d)
		})
		if !s.ended {
			t.Error("the script does not end with the command 'end'")
		}
	})
}

// scene is what a script plays in: any number of clients and servers.
type scene struct {
	*stage
	actors  map[string]*actor
	calls   map[string]*scriptCall
	common  sim.Faults                       // what the network does to packets
	faults  map[[2]netip.AddrPort]sim.Faults // and on certain ways
	out     strings.Builder
	began   transport.Time // of the command that runs
	ended   bool
	nothing bool // is said about events any more
}

// actor is a node with what outlives its crashes.
type actor struct {
	*node
	name   string
	addr   netip.AddrPort
	client bool
	cfg    session.Config
	link   sim.LinkOptions
	takes  time.Duration
	starts uint64
	conns  map[string]*session.Conn // by the name of the server
	loses  []loss
}

// loss is packets that the network is to lose: the next n to somebody that carry a certain frame.
type loss struct {
	to    string
	frame wire.FrameType
	n     int
}

// scriptCall is a call, or one of many with the same beginning of their names.
type scriptCall struct {
	name       string
	client     string
	quiet      bool // counted, not told
	size       int
	call       *session.Call
	ended      bool
	result     string
	executions int
}

func newScene(t *testing.T) *scene {
	s := &scene{
		stage:  &stage{t: t},
		actors: map[string]*actor{}, calls: map[string]*scriptCall{},
		common: sim.Faults{Delay: 20 * time.Microsecond}, faults: map[[2]netip.AddrPort]sim.Faults{},
	}
	s.net = sim.NewNetwork(1, s.common)
	s.watchInvariants()
	return s
}

// paragraph runs the commands of a paragraph, one a line, and returns what happened.
func (s *scene) paragraph(t *testing.T, d *datadriven.TestData) string {
	s.out.Reset()
	lines := append([]string{d.FullCmd()}, strings.Split(d.Input, "\n")...)
	for _, line := range lines {
		name, args, err := datadriven.ParseLine(line)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		if name == "" || strings.HasPrefix(name, "#") {
			continue
		}
		do, ok := commands[name]
		if !ok {
			d.Fatalf(t, "no command %q", name)
		}
		s.began = s.net.Now()
		do(s, &arguments{TestData: datadriven.TestData{Pos: d.Pos, Cmd: name, CmdArgs: args}, t: t})
	}
	if s.out.Len() == 0 {
		return "(nothing)\n"
	}
	return s.out.String()
}

// say tells of an event. Its time is a bound, so that a script holds when a timer changes a little.
func (s *scene) say(format string, args ...any) {
	if !s.nothing {
		fmt.Fprintf(&s.out, "%7s  %s\n", bound(s.net.Now().Sub(s.began)), fmt.Sprintf(format, args...))
	}
}

// bounds are what times are rounded up to.
var bounds = []struct {
	d    time.Duration
	name string
}{
	{time.Millisecond, "<1ms"}, {5 * time.Millisecond, "<5ms"}, {20 * time.Millisecond, "<20ms"}, {100 * time.Millisecond, "<100ms"},
	{500 * time.Millisecond, "<500ms"}, {2 * time.Second, "<2s"}, {10 * time.Second, "<10s"}, {time.Minute, "<1m"}, {10 * time.Minute, "<10m"},
}

func bound(d time.Duration) string {
	for _, b := range bounds {
		if d < b.d {
			return b.name
		}
	}
	return "later"
}

// start brings an actor up, for the first time or after a crash.
func (s *scene) start(a *actor) {
	a.starts++
	cfg := a.cfg
	cfg.Seed, cfg.Incarnation = seedOf(uint64(a.addr.Port())<<8+a.starts), a.starts
	a.conns = map[string]*session.Conn{}
	a.node = newNode(&lossy{watch(s.t, s.net.Link(a.addr, a.link)), s, a}, cfg)
	s.enter(a.name, a.node)
	a.node.onEvent = func(ev session.Event) { s.event(a, ev) }
	if !a.client {
		a.core.Listen(a.addr.Port(), session.Listener{Security: wire.Insecure})
	}
}

// lossy is a link of which the network loses certain packets.
type lossy struct {
	*watched
	s *scene
	a *actor
}

func (l *lossy) Send(fs []transport.Frame) (int, error) {
	for i := range fs {
		if l.unlucky(&fs[i]) {
			to := fs[i].Path.Remote()
			l.s.net.SetFaults(l.a.addr, to, sim.Faults{Loss: 1})
			n, err := l.watched.Send(fs[i : i+1])
			l.s.net.SetFaults(l.a.addr, to, l.s.faultsOf(l.a.addr, to))
			if n == 0 || err != nil {
				return i, err
			}
		} else if n, err := l.watched.Send(fs[i : i+1]); n == 0 || err != nil {
			return i, err
		}
	}
	return len(fs), nil
}

// unlucky tells whether a packet carries a frame that a command lose names.
func (l *lossy) unlucky(f *transport.Frame) bool {
	to := l.s.nameOf(f.Path.Remote())
	for i := range l.a.loses {
		if x := &l.a.loses[i]; x.n > 0 && x.to == to && carries(f.Data, x.frame) {
			if x.n--; x.n == 0 {
				l.s.say("a packet from %s to %s with a %v is lost, the last that was to be", l.a.name, to, x.frame)
			}
			return true
		}
	}
	return false
}

func carries(b []byte, t wire.FrameType) bool {
	b, ok := wire.Verify(b)
	if !ok || wire.KindOf(b) != wire.Data {
		return false
	}
	var fr wire.Frame
	for b = b[wire.DataHeaderBytes:]; len(b) > 0; {
		if b, ok = fr.Next(b); !ok || fr.Type == t {
			return ok
		}
	}
	return false
}

// faultsOf is what the network does to packets from one address to another.
func (s *scene) faultsOf(from, to netip.AddrPort) sim.Faults {
	if f, ok := s.faults[[2]netip.AddrPort{from, to}]; ok {
		return f
	}
	return s.common
}

func (s *scene) nameOf(a netip.AddrPort) string {
	for name, x := range s.actors {
		if x.addr == a {
			return name
		}
	}
	return a.String()
}

// event tells what an endpoint has to tell.
func (s *scene) event(a *actor, ev session.Event) {
	var peer string
	if ev.Conn != nil {
		path := ev.Conn.Path()
		peer = s.nameOf(path.Remote())
	}
	switch ev.Kind {
	case session.SessionOpened:
		s.say("%s: the session with %s is open", a.name, peer)
	case session.SessionClosed:
		s.say("%s: the session with %s is closed: %v", a.name, peer, ev.Err)
		if a.conns[peer] == ev.Conn {
			delete(a.conns, peer)
		}
	case session.RequestArrived:
		s.request(a, ev.Call)
	case session.RequestGone:
		if c := s.callOf(ev.Call.Body()); c != nil && !c.quiet {
			s.say("%s: nobody waits for the answer to %s any more", a.name, c.name)
		}
	case session.CallEnded:
		s.callEnded(a, ev.Call.Tag.(*scriptCall))
	}
}

// request is a server's handler: it answers with what it got.
func (s *scene) request(a *actor, k *session.Call) {
	c := s.callOf(k.Body())
	if c == nil || !bytes.Equal(k.Body(), c.body()) {
		s.t.Errorf("%s: a request arrived with bytes that nobody sent", a.name)
		return
	}
	c.executions++
	if !c.quiet {
		s.say("%s: runs %s", a.name, c.name)
	}
	if c.executions > 1 {
		s.t.Errorf("%s: %s was run %d times", a.name, c.name, c.executions)
	}
	s.answer(a.node, a.takes, k, slices.Clone(k.Body()))
}

func (s *scene) answer(n *node, after time.Duration, k *session.Call, reply []byte) {
	do := func() {
		if n.dead {
			return
		}
		if n.pausedUntil > s.net.Now() {
			s.answer(n, n.pausedUntil.Sub(s.net.Now()), k, reply)
			return
		}
		k.ReplyBytes(s.clock(n), session.OK, session.Executed, reply)
	}
	if after == 0 {
		do()
	} else {
		s.in(after, do)
	}
}

// callOf finds the call that a request names in its first bytes.
func (s *scene) callOf(body []byte) *scriptCall {
	name, _, _ := bytes.Cut(body, []byte{0})
	return s.calls[string(name)]
}

// body is a call's request, and its reply.
func (c *scriptCall) body() []byte {
	b := append([]byte(c.name), 0)
	return append(b, pattern(max(c.size-len(b), 0), c.name[0])...)
}

// callEnded notes how a call ended, and whether that can be true.
func (s *scene) callEnded(a *actor, c *scriptCall) {
	k := c.call
	c.ended = true
	ran := c.executions > 0
	switch err := k.Err(); {
	case err != nil:
		c.result = fmt.Sprintf("%s, %s: %v", codeName(err.Code), outcomeName(err.Outcome), err)
		if err.Outcome == session.NotExecuted && ran || err.Outcome == session.Executed && !ran {
			s.t.Errorf("%s ended: %s, and it ran %d times", c.name, c.result, c.executions)
		}
	case k.Refused():
		c.result = fmt.Sprintf("refused, %s, not executed: %s", codeName(k.Code()), k.Body())
		if ran {
			s.t.Errorf("%s ended: %s, and it ran", c.name, c.result)
		}
	default:
		c.result = codeName(k.Code())
		if k.Code() != session.OK || !ran || !bytes.Equal(k.Body(), c.body()) {
			s.t.Errorf("%s was answered with %s, %d bytes, of %d, and it ran %d times", c.name, c.result, len(k.Body()), c.size, c.executions)
		}
	}
	if !c.quiet {
		s.say("%s: %s ended: %s", a.name, c.name, c.result)
	}
	k.Release()
}

func codeName(c session.Code) string {
	names := map[session.Code]string{session.OK: "OK", session.Canceled: "Canceled", session.DeadlineExceeded: "DeadlineExceeded",
		session.ResourceExhausted: "ResourceExhausted", session.FailedPrecondition: "FailedPrecondition", session.Unavailable: "Unavailable"}
	if name, ok := names[c]; ok {
		return name
	}
	return fmt.Sprintf("code %d", c)
}

func outcomeName(o session.Outcome) string {
	if o == session.MaybeExecuted {
		return "perhaps executed"
	}
	return o.String()
}
