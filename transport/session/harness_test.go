package session_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
	"github.com/fastrpc/fastrpc/transport/wire"
)

var (
	clientAddr   = netip.MustParseAddrPort("198.18.0.1:40000")
	serverAddr   = netip.MustParseAddrPort("198.18.0.2:9000")
	strangerAddr = netip.MustParseAddrPort("198.18.0.3:7")
)

// world is a client and a server in a simulated network, in virtual time.
type world struct {
	*stage
	options   sim.LinkOptions // of the links to come
	client    *node
	server    *node // nil after a crash
	serverCfg session.Config
	conn      *session.Conn
	ended     map[any]*session.Call // the calls that ended and are not released, by Tag
	closed    error                 // why the client's session closed

	serve      func(k *session.Call) // answers a request; default: echo
	executions map[string]int        // by request body, over all incarnations of the server
	sessions   map[*session.Conn]bool
	gone       int // requests whose caller gave up
}

func newWorld(t testing.TB, seed uint64, f sim.Faults, cfg session.Config) *world {
	return newWorldOn(t, seed, f, cfg, cfg, sim.LinkOptions{})
}

// newWorldOn is newWorld with ends that differ, on links of a certain make.
func newWorldOn(t testing.TB, seed uint64, f sim.Faults, client, server session.Config, o sim.LinkOptions) *world {
	w := emptyWorld(t, seed, f)
	w.options = o
	w.startClient(seed, client)
	w.serverCfg = server
	w.startServer(seed + 1)
	w.dial()
	return w
}

// emptyWorld has a network and nobody in it.
func emptyWorld(t testing.TB, seed uint64, f sim.Faults) *world {
	s := &stage{t: t, net: sim.NewNetwork(seed, f)}
	return &world{stage: s, ended: map[any]*session.Call{}, executions: map[string]int{}, sessions: map[*session.Conn]bool{}}
}

func (w *world) startClient(seed uint64, cfg session.Config) {
	cfg.Seed, cfg.Incarnation = seedOf(seed), seed*2+1
	w.client = newNode(watch(w.t, w.net.Link(clientAddr, w.options)), cfg)
	w.client.onEvent = w.clientEvent
	w.enter("client", w.client)
}

func (w *world) startServer(incarnation uint64) {
	cfg := w.serverCfg
	cfg.Engine, cfg.Seed, cfg.Incarnation = 1, seedOf(incarnation), incarnation
	w.server = newNode(watch(w.t, w.net.Link(serverAddr, w.options)), cfg)
	w.server.core.Listen(serverAddr.Port(), session.Listener{Security: wire.Insecure})
	w.server.onEvent = w.serverEvent
	w.enter("server", w.server)
}

// crash ends a node as a kill would: nobody is told.
func (w *world) crash(n *node) {
	w.kill(n)
	if n == w.server {
		w.server = nil
		clear(w.sessions)
	}
}

func (w *world) dial() {
	path, err := w.client.link.Resolve(w.t.Context(), clientAddr, serverAddr)
	if err != nil {
		w.t.Fatal(err)
	}
	conn, cerr := w.client.core.Dial(w.clock(w.client), path, wire.Insecure)
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
	k.ReplyBytes(w.clock(w.server), session.OK, session.Executed, append([]byte(nil), k.Body()...))
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
		deadline = w.clock(w.client).Add(timeout)
	}
	if err := k.StartBytes(w.clock(w.client), method, body, deadline); err != nil {
		w.t.Fatalf("StartBytes: %v", err)
	}
	return k
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
	w.conn.Close(w.clock(w.client), session.OK, "done")
	w.run(5*time.Minute, func() bool {
		return w.client.core.Sessions() == 0 && (w.server == nil || w.server.core.Sessions() == 0 && w.server.core.Answering() == 0) && len(w.alarms) == 0
	})
	w.run(2*time.Second, nil) // completions, and pauses
	w.client.home(w.t, "client")
	if w.server != nil {
		w.server.home(w.t, "server")
	}
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
