package session_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// fabric is clients and one server on fast links, for what is measured in virtual time: how much arrives, how long a call takes.
type fabric struct {
	*stage
	options  sim.LinkOptions
	server   *node
	clients  []*node
	began    map[*session.Call]transport.Time
	finished func(c *session.Call, took time.Duration) // a client's call, released after it
	opened   int                                       // sessions of the server's
	closed   int                                       // sessions of clients'
	arrived  func(k *session.Call)                     // a request; nil: it is answered at once, with nothing
}

// ethernet is a link of 1,500 bytes to a packet with queues as a device's, on 10 Gbit/s.
var ethernet = sim.LinkOptions{Frames: 8192, MTU: 1472}

const tenGigabit = 10e9

func newFabric(t testing.TB, seed uint64, f sim.Faults, server session.Config, o sim.LinkOptions) *fabric {
	x := &fabric{
		stage:   &stage{t: t, net: sim.NewNetwork(seed, f)},
		options: o, began: map[*session.Call]transport.Time{},
	}
	server.Engine, server.Seed, server.Incarnation = 1, seedOf(seed), seed
	x.server = newNode(x.net.Link(serverAddr, o), server)
	x.server.core.Listen(serverAddr.Port(), session.Listener{Security: wire.Insecure})
	x.server.onEvent = func(ev session.Event) {
		switch ev.Kind {
		case session.SessionOpened:
			x.opened++
		case session.RequestArrived:
			if x.arrived != nil {
				x.arrived(ev.Call)
				return
			}
			ev.Call.Reply(x.net.Now(), session.OK, session.Executed, 0)
		}
	}
	x.enter("server", x.server)
	return x
}

// client adds an endpoint that opens sessions to the server.
func (x *fabric) client(cfg session.Config) *node {
	i := len(x.clients)
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 1, byte(i)}), 40000)
	cfg.Seed, cfg.Incarnation = seedOf(uint64(1000+i)), uint64(1000+i)
	n := newNode(x.net.Link(addr, x.options), cfg)
	n.onEvent = func(ev session.Event) {
		switch ev.Kind {
		case session.SessionClosed:
			x.closed++
		case session.CallEnded:
			k := ev.Call
			took := x.net.Now().Sub(x.began[k])
			delete(x.began, k)
			if x.finished != nil {
				x.finished(k, took)
			}
			if f, ok := k.Tag.(func(*session.Call, time.Duration)); ok {
				f(k, took)
			}
			k.Release()
		}
	}
	x.clients = append(x.clients, n)
	x.enter(addr.String(), n)
	return n
}

// session opens a session of a client and waits for it.
func (x *fabric) session(n *node) *session.Conn {
	x.t.Helper()
	c := x.dial(n)
	if !x.run(time.Minute, c.Established) {
		x.t.Fatal("no session")
	}
	return c
}

func (x *fabric) dial(n *node) *session.Conn {
	x.t.Helper()
	path, err := n.link.Resolve(x.t.Context(), netip.AddrPort{}, serverAddr)
	if err != nil {
		x.t.Fatal(err)
	}
	c, cerr := n.core.Dial(x.net.Now(), path, wire.Insecure)
	if cerr != nil {
		x.t.Fatal(cerr)
	}
	return c
}

// call starts a call; ended hears how it went, or is nil.
func (x *fabric) call(c *session.Conn, body []byte, ended func(k *session.Call, took time.Duration)) *session.Call {
	x.t.Helper()
	k, err := c.NewCall()
	if err != nil {
		x.t.Fatalf("NewCall: %v", err)
	}
	if ended != nil {
		k.Tag = ended
	}
	x.began[k] = x.net.Now()
	if err := k.StartBytes(x.net.Now(), 1, body, 0); err != nil {
		x.t.Fatalf("StartBytes: %v", err)
	}
	return k
}

// pump keeps so many calls with the same body under way in a session, for ever, and counts the bytes of those that ended.
func (x *fabric) pump(c *session.Conn, body []byte, atOnce int) (done *int64) {
	done = new(int64)
	var again func(k *session.Call, took time.Duration)
	again = func(k *session.Call, _ time.Duration) {
		if k.Err() != nil {
			x.t.Errorf("a transfer failed: %v", describe(k))
			return
		}
		*done += int64(len(body))
		x.call(c, body, again)
	}
	for range atOnce {
		x.call(c, body, again)
	}
	return done
}

// transfer makes n calls with the same body, so many at once, and returns how many that were a second.
func (x *fabric) transfer(c *session.Conn, body []byte, n, atOnce int, limit time.Duration) (calls float64) {
	x.t.Helper()
	start, left, ended := x.net.Now(), n, 0
	var next func(k *session.Call, took time.Duration)
	next = func(k *session.Call, _ time.Duration) {
		if k != nil {
			ended++
			if k.Err() != nil {
				x.t.Errorf("a transfer failed: %v", describe(k))
			}
		}
		if left > 0 {
			left--
			x.call(c, body, next)
		}
	}
	for range atOnce {
		next(nil, 0)
	}
	if !x.run(limit, func() bool { return ended == n }) {
		x.t.Fatalf("%d of %d transfers have ended within %v", ended, n, limit)
	}
	return float64(n) / x.net.Now().Sub(start).Seconds()
}
