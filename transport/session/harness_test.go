package session_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// node is an endpoint on a simulated link, driven as an engine would.
type node struct {
	link        transport.Link
	core        *session.Endpoint
	onEvent     func(session.Event)
	rx          [64]transport.Frame
	turns       int
	events      [8]transport.Event
	pausedUntil transport.Time // it does nothing before
	dead        bool
}

func newNode(link transport.Link, cfg session.Config) *node {
	return &node{link: link, core: session.New(link, cfg)}
}

// turn does what one turn of an engine does; it returns whether packets moved.
func (n *node) turn(now transport.Time) bool {
	if n.dead || now < n.pausedUntil {
		return false
	}
	n.pausedUntil = 0
	got, err := n.link.Recv(n.rx[:])
	if err != nil {
		panic(err)
	}
	for i := range got {
		if _, ours := n.core.HandlePacket(now, &n.rx[i]); !ours {
			n.link.Free(n.rx[i : i+1])
		}
	}
	done := n.link.Completed(n.rx[:])
	n.core.HandleCompleted(n.rx[:done])
	for _, ev := range n.events[:n.link.Events(n.events[:])] {
		if ev.Kind == transport.Unreachable {
			n.core.HandleUnreachable(now, &ev.Path, ev.Err)
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
	return got > 0 || done > 0 || sent
}

var (
	clientAddr   = netip.MustParseAddrPort("198.18.0.1:40000")
	serverAddr   = netip.MustParseAddrPort("198.18.0.2:9000")
	strangerAddr = netip.MustParseAddrPort("198.18.0.3:7")
)

// world is a client and a server in a simulated network, in virtual time.
type world struct {
	t         testing.TB
	net       *sim.Network
	options   sim.LinkOptions
	client    *node
	server    *node // nil after a crash
	serverCfg session.Config
	conn      *session.Conn
	ended     map[any]*session.Call // the calls that ended and are not released, by Tag
	closed    error                 // why the client's session closed
	alarms    []alarm               // by time
	wakes     int                   // how often time moved on

	serve      func(k *session.Call) // answers a request; default: echo
	executions map[string]int        // by request body, over all incarnations of the server
	sessions   map[*session.Conn]bool
	gone       int // requests whose caller gave up
}

// alarm is something that a test does later.
type alarm struct {
	at transport.Time
	do func()
}

func newWorld(t testing.TB, seed uint64, f sim.Faults, cfg session.Config) *world {
	return newWorldOn(t, seed, f, cfg, cfg, sim.LinkOptions{})
}

// newWorldOn is newWorld with ends that differ, on links of a certain make.
func newWorldOn(t testing.TB, seed uint64, f sim.Faults, client, server session.Config, o sim.LinkOptions) *world {
	w := &world{t: t, net: sim.NewNetwork(seed, f), options: o, ended: map[any]*session.Call{}, executions: map[string]int{}, sessions: map[*session.Conn]bool{}}
	w.startClient(seed, client)
	w.serverCfg = server
	w.startServer(seed + 1)
	w.dial()
	return w
}

func (w *world) startClient(seed uint64, cfg session.Config) {
	cfg.Seed, cfg.Incarnation = seedOf(seed), seed*2+1
	w.client = newNode(watch(w.t, w.net.Link(clientAddr, w.options)), cfg)
	w.client.onEvent = w.clientEvent
}

func (w *world) startServer(incarnation uint64) {
	cfg := w.serverCfg
	cfg.Engine, cfg.Seed, cfg.Incarnation = 1, seedOf(incarnation), incarnation
	w.server = newNode(watch(w.t, w.net.Link(serverAddr, w.options)), cfg)
	w.server.core.Listen(serverAddr.Port(), session.Listener{Security: wire.Insecure})
	w.server.onEvent = w.serverEvent
}

// crash ends a node as a kill would: nobody is told.
func (w *world) crash(n *node) {
	if err := n.link.Close(); err != nil {
		w.t.Fatal(err)
	}
	n.dead = true
	if n == w.server {
		w.server = nil
		clear(w.sessions)
	}
}

// in does something after d.
func (w *world) in(d time.Duration, do func()) { w.at(w.net.Now().Add(d), do) }

func (w *world) at(at transport.Time, do func()) {
	i := len(w.alarms)
	for i > 0 && w.alarms[i-1].at > at {
		i--
	}
	w.alarms = slices.Insert(w.alarms, i, alarm{at, do})
}

func (w *world) dial() {
	path, err := w.client.link.Resolve(w.t.Context(), clientAddr, serverAddr)
	if err != nil {
		w.t.Fatal(err)
	}
	conn, cerr := w.client.core.Dial(w.net.Now(), path, wire.Insecure)
	if cerr != nil {
		w.t.Fatal(cerr)
	}
	w.conn, w.closed = conn, nil
}

func (w *world) clientEvent(ev session.Event) {
	switch ev.Kind {
	case session.CallEnded:
		if _, dup := w.ended[ev.Call.Tag]; dup {
			w.t.Errorf("call %v ended twice", ev.Call.Tag)
		}
		w.ended[ev.Call.Tag] = ev.Call
	case session.SessionClosed:
		if ev.Conn == w.conn {
			w.closed = ev.Err
		}
	}
}

func (w *world) serverEvent(ev session.Event) {
	switch ev.Kind {
	case session.RequestArrived:
		w.executions[string(ev.Call.Body())]++
		if w.serve != nil {
			w.serve(ev.Call)
			return
		}
		w.echo(ev.Call)
	case session.SessionOpened:
		w.sessions[ev.Conn] = true
	case session.SessionClosed:
		delete(w.sessions, ev.Conn)
	case session.RequestGone:
		w.gone++
	}
}

func (w *world) echo(k *session.Call) {
	k.ReplyBytes(w.net.Now(), session.OK, session.Executed, append([]byte(nil), k.Body()...))
}

// call starts a call that is known by tag.
func (w *world) call(tag any, method uint32, body []byte, timeout time.Duration) *session.Call {
	k, err := w.conn.NewCall()
	if err != nil {
		w.t.Fatalf("NewCall: %v", err)
	}
	k.Tag = tag
	var deadline transport.Time
	if timeout != 0 {
		deadline = w.net.Now().Add(timeout)
	}
	if err := k.StartBytes(w.net.Now(), method, body, deadline); err != nil {
		w.t.Fatalf("StartBytes: %v", err)
	}
	return k
}

// turns runs both ends until they are quiet.
func (w *world) turns() {
	now := w.net.Now()
	for len(w.alarms) > 0 && w.alarms[0].at <= now {
		do := w.alarms[0].do
		w.alarms = w.alarms[1:]
		do()
	}
	for range 1000 {
		moved := w.client.turn(now)
		if w.server != nil && w.server.turn(now) {
			moved = true
		}
		if !moved {
			return
		}
	}
	w.t.Fatalf("at %d the ends do not come to rest", now)
}

// advance moves time to whatever comes next, and not beyond end.
func (w *world) advance(end transport.Time) {
	next := end
	sooner := func(at transport.Time) {
		if at != 0 {
			next = min(next, at)
		}
	}
	if at, ok := w.net.Next(); ok {
		sooner(at)
	}
	sooner(w.client.next())
	if w.server != nil {
		sooner(w.server.next())
	}
	if len(w.alarms) > 0 {
		sooner(w.alarms[0].at)
	}
	w.wakes++
	w.net.Advance(max(next, w.net.Now()+1))
}

// run lets things happen until done says so, or for as long as limit; it returns whether done did. A nil done never does.
func (w *world) run(limit time.Duration, done func() bool) bool {
	end := w.net.Now().Add(limit)
	for {
		w.turns()
		if done != nil && done() {
			return true
		}
		if w.net.Now() >= end {
			return false
		}
		w.advance(end)
	}
}

// wait runs until the call known by tag has ended.
func (w *world) wait(tag any, limit time.Duration) *session.Call {
	w.t.Helper()
	if !w.run(limit, func() bool { return w.ended[tag] != nil }) {
		w.t.Fatalf("call %v has not ended within %v of virtual time", tag, limit)
	}
	k := w.ended[tag]
	delete(w.ended, tag)
	return k
}

// settle closes the client's session and runs until both ends have forgotten everything. It fails the test unless all that was taken came home:
// frames, call records, reassembly.
func (w *world) settle() {
	w.t.Helper()
	for tag, k := range w.ended {
		k.Release()
		delete(w.ended, tag)
	}
	w.conn.Close(w.net.Now(), session.OK, "done")
	w.run(5*time.Minute, func() bool {
		return w.client.core.Sessions() == 0 && (w.server == nil || w.server.core.Sessions() == 0 && w.server.core.Answering() == 0) && len(w.alarms) == 0
	})
	w.run(2*time.Second, nil) // completions, and pauses
	w.client.home(w.t, "client")
	if w.server != nil {
		w.server.home(w.t, "server")
	}
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

// next is when n wants to be run again, 0 for never.
func (n *node) next() transport.Time {
	if n.dead {
		return 0
	}
	at := n.core.NextTimeout()
	if n.pausedUntil != 0 {
		return max(at, n.pausedUntil)
	}
	return at
}

func seedOf(n uint64) (s [32]byte) {
	binary.LittleEndian.PutUint64(s[:], n)
	return s
}

func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)*7 + byte(i>>8)*13 + seed
	}
	return b
}

func describe(k *session.Call) string {
	if err := k.Err(); err != nil {
		return fmt.Sprintf("code %d, outcome %v: %v", k.Code(), err.Outcome, err)
	}
	return fmt.Sprintf("code %d, %d bytes", k.Code(), len(k.Body()))
}
