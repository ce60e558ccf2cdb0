package session_test

import (
	"bytes"
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// chaos is a world that goes by a plan. In each of them
//
//   - every call ends, once, and by its deadline if it has one;
//   - a request is run at most once, with its own bytes, and a reply carries what the handler answered;
//   - outcomes are true: what was not executed never runs, what was executed ran, what succeeded ran exactly once;
//   - after every step the frames are accounted for, what the ends hold is within their limits, and who waits will be woken;
//   - at the end both endpoints hold nothing: no frame, no record, no byte of reassembly, no session.
type chaos struct {
	*world
	plan   *plan
	calls  []*chaosCall                 // the plan's
	tracer *tracer                      // or nil
	served map[*session.Call]*streamEnd // at the server
	open   int                          // calls that have not ended, or were not started yet
	starts uint64                       // of either end
	jumped bool                         // a clock did: when a deadline passes is not the same to all any more
	over   bool
}

// newChaos builds the world of a plan; network is the seed of all that happens to packets.
func newChaos(t testing.TB, p *plan, network uint64, tr *tracer) *chaos {
	c := &chaos{world: emptyWorld(t, network, sim.Faults{}), plan: p, tracer: tr, starts: network << 8, served: map[*session.Call]*streamEnd{}}
	for _, client := range []netip.AddrPort{clientAddr, movedAddr} {
		c.net.SetFaults(client, serverAddr, p.faults[0])
		c.net.SetFaults(serverAddr, client, p.faults[1])
	}
	c.serverCfg = p.configs[1]
	c.serve = c.handle
	c.watchInvariants()
	always := c.each
	c.each = func() {
		always()
		c.checkDeadlines()
	}
	if tr != nil {
		tr.listen(c.net, map[netip.AddrPort]string{clientAddr: "client", serverAddr: "server", movedAddr: "client (moved)"})
	}
	c.startEnd(0)
	c.startEnd(1)
	c.dial()
	for _, id := range slices.Sorted(maps.Keys(p.calls)) { // in an order that is the same each time
		k := p.calls[id]
		c.calls = append(c.calls, k)
		c.open++
		c.in(k.at, func() { c.start(k) })
	}
	for _, a := range p.accidents {
		c.in(a.at, func() {
			if !c.over {
				c.note("%s", a.text)
				a.do(c)
			}
		})
	}
	return c
}

// startEnd brings an end up, for the first time or after a crash.
func (c *chaos) startEnd(end int) {
	c.starts++
	c.options = c.plan.links[end]
	if end == 0 {
		c.startClient(c.starts, c.plan.configs[0])
		c.client.onEvent = c.clientEvent
	} else {
		clear(c.served)
		c.startServer(c.starts)
		c.server.onEvent = c.serverEvent
	}
	c.nodeOf(end).ahead = c.plan.ahead[end]
}

// nodeOf is the client or the server; one that crashed is dead.
func (c *chaos) nodeOf(end int) *node { return c.nodes[end] }

func (c *chaos) note(format string, args ...any) {
	if c.tracer != nil {
		c.tracer.note(format, args...)
	}
}

// start makes a call, in place or from a slice.
func (c *chaos) start(k *chaosCall) {
	if until := c.client.pausedUntil; until > c.net.Now() {
		c.at(until, func() { c.start(k) })
		return
	}
	if c.client.dead {
		c.finish(k, &session.Error{Outcome: session.NotExecuted, Reason: "the client is down"})
		return
	}
	now := c.clock(c.client)
	call, err := c.conn.NewCall()
	if err != nil {
		c.finish(k, err)
		return
	}
	if k.discarded {
		call.Discard()
		c.finish(k, &session.Error{Outcome: session.NotExecuted, Reason: "discarded"})
		return
	}
	k.call, call.Tag = call, k
	if k.timeout != 0 {
		k.deadline, k.expires = now.Add(k.timeout), c.net.Now().Add(k.timeout)
	}
	if k.streams {
		c.startStream(k, call)
	} else if len(k.body) <= len(call.Buffer()) && !k.copied[0] {
		call.Start(now, chaosMethod, copy(call.Buffer(), k.body), k.deadline)
	} else if err := call.StartBytes(now, chaosMethod, k.body, k.deadline); err != nil {
		call.Discard()
		c.finish(k, err)
		return
	}
	if k.cancel != 0 {
		c.in(k.cancel, func() {
			if !k.ended {
				call.Cancel(c.clock(c.client))
			}
		})
	}
}

const chaosMethod = 7

// mostQueueing is more than the network holds a packet up, which a server cannot tell from distance when it happens to a session's first
// packets. Pauses are longer.
const mostQueueing = 250 * time.Millisecond

func (c *chaos) finish(k *chaosCall, err *session.Error) {
	if k.ended {
		c.t.Errorf("call %d ended twice", k.id)
	}
	k.ended, k.err = true, err
	c.open--
	c.note("call %d ended: %v", k.id, err)
}

func (c *chaos) clientEvent(ev session.Event) {
	if c.streamEvent(ev) {
		return
	}
	node := c.client
	switch ev.Kind {
	case session.CallEnded:
		k, call := ev.Call.Tag.(*chaosCall), ev.Call
		c.finish(k, call.Err())
		if k.end != nil {
			k.end.read() // what came with the end
		}
		if k.err == nil {
			c.answered(k)
		}
		c.judge(k)
		if k.holds == 0 {
			call.Release()
			return
		}
		c.in(k.holds, func() {
			if !node.dead {
				call.Release()
			}
		})
	case session.SessionClosed:
		c.closed = ev.Err
		c.note("the client's session closed: %v", ev.Err)
		c.in(c.plan.redial, func() { c.redial(node) })
	}
}

// redial opens the next session of a client, and gives up on it when it takes too long.
func (c *chaos) redial(n *node) {
	if c.over || n.dead {
		return
	}
	if until := n.pausedUntil; until > c.net.Now() {
		c.at(until, func() { c.redial(n) })
		return
	}
	c.dial()
	conn := c.conn
	c.in(300*time.Millisecond, func() {
		if !n.dead && !conn.Established() {
			conn.Close(c.clock(n), session.Unavailable, "no answer")
		}
	})
}

// answered looks at a reply of the server's.
func (c *chaos) answered(k *chaosCall) {
	switch call := k.call; {
	case call.Refused():
		k.err = &session.Error{Code: call.Code(), Outcome: session.NotExecuted, Reason: "refused: " + string(call.Body())}
	case call.Code() == session.ResourceExhausted:
		k.err = &session.Error{Code: call.Code(), Outcome: session.Executed, Reason: string(call.Body())}
	default:
		k.good = true
		if k.streams {
			if call.Code() != k.code || k.end.got != len(k.end.in) {
				c.t.Errorf("call %d: code %d and %d messages, want %d and %d", k.id, call.Code(), k.end.got, k.code, len(k.end.in))
			}
		} else if call.Code() != k.code || !bytes.Equal(call.Body(), k.want) {
			c.t.Errorf("call %d: code %d and %d bytes, want %d and %d other bytes", k.id, call.Code(), len(call.Body()), k.code, len(k.want))
		}
	}
}

func (c *chaos) serverEvent(ev session.Event) {
	if !c.streamEvent(ev) {
		c.world.serverEvent(ev)
	}
}

// handle is the server's handler.
func (c *chaos) handle(call *session.Call) {
	body := call.Body()
	var k *chaosCall
	if call.Streams() {
		k = c.plan.calls[int(call.Method())-streamMethod]
	} else if len(body) >= idBytes {
		k = c.plan.calls[int(binary.LittleEndian.Uint64(body))]
	}
	if k == nil || k.streams != call.Streams() {
		c.t.Errorf("a request of %d bytes that nobody made", len(body))
		return
	}
	if !k.streams && (!bytes.Equal(body, k.body) || call.Method() != chaosMethod) {
		c.t.Errorf("request %d arrived with other bytes or method %d", k.id, call.Method())
	}
	if k.expires != 0 && !c.jumped && c.net.Now().Sub(k.expires) > mostQueueing {
		c.t.Errorf("call %d is run %v after its deadline", k.id, c.net.Now().Sub(k.expires))
	}
	k.runs++
	c.note("call %d is run", k.id)
	c.judge(k)
	if k.streams {
		c.handleStream(call, k)
		return
	}
	if k.takes == 0 {
		c.reply(c.server, call, k)
		return
	}
	server := c.server
	c.in(k.takes, func() { c.reply(server, call, k) })
}

func (c *chaos) reply(server *node, call *session.Call, k *chaosCall) {
	if server.dead {
		return
	}
	if until := server.pausedUntil; until > c.net.Now() {
		c.at(until, func() { c.reply(server, call, k) })
		return
	}
	now := c.clock(server)
	if buffer := call.Buffer(); len(k.want) <= len(buffer) && !k.copied[1] {
		call.Reply(now, k.code, session.Executed, copy(buffer, k.want))
	} else {
		call.ReplyBytes(now, k.code, session.Executed, k.want)
	}
}

// judge compares what is known of a call with what its caller heard.
func (c *chaos) judge(k *chaosCall) {
	switch {
	case k.runs > 1:
		c.t.Errorf("call %d was run %d times", k.id, k.runs)
	case k.good && k.runs != 1:
		c.t.Errorf("call %d was answered and never run", k.id)
	case k.err != nil && k.err.Outcome == session.NotExecuted && k.runs != 0:
		c.t.Errorf("call %d was run, and its caller heard that it was not: %v", k.id, k.err)
	case k.err != nil && k.err.Outcome == session.Executed && k.runs != 1:
		c.t.Errorf("call %d was not run, and its caller heard that it was: %v", k.id, k.err)
	}
}

// checkDeadlines: no call goes on for longer than a timer's grain after its deadline, or after its client could see that it has passed.
func (c *chaos) checkDeadlines() {
	if c.client.dead || c.client.pausedUntil > c.net.Now() {
		return
	}
	now, clock := c.net.Now(), c.clock(c.client)
	for _, k := range c.calls {
		switch {
		case k.deadline == 0 || k.ended || k.deadline > clock:
		case k.lateSince == 0:
			k.lateSince = now
		case now.Sub(k.lateSince) > time.Millisecond:
			c.t.Errorf("call %d goes on %v after its deadline", k.id, clock.Sub(k.deadline))
		}
	}
}

// play runs the world to its end and judges it.
func (c *chaos) play() {
	if !c.run(2*time.Minute, func() bool { return c.open == 0 }) {
		for _, k := range c.calls {
			if !k.ended {
				c.t.Errorf("call %d never ended: run %d times, session established %v", k.id, k.runs, c.conn.Established())
			}
		}
		return
	}
	c.over = true
	c.settle()
	for _, k := range c.calls {
		c.judge(k)
	}
}
