package session_test

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

var (
	seeds   = flag.Int("seeds", 2000, "how many worlds TestChaos runs")
	oneSeed = flag.Int64("seed", -1, "run this one world of TestChaos")
)

// TestChaos runs many small worlds, each drawn from its seed: what the network does to packets, how the ends are sized, which calls are made,
// how long handlers take, who gives up when, who pauses, and whether the server crashes. In each of them
//
//   - every call ends, once;
//   - a request is run at most once, with its own bytes, and a reply carries what the handler answered;
//   - outcomes are true: what was not executed never runs, what was executed ran, what succeeded ran exactly once;
//   - at the end both endpoints hold nothing: no frame, no record, no byte of reassembly, no session.
func TestChaos(t *testing.T) {
	first, last := int64(1), int64(*seeds)
	if *oneSeed >= 0 {
		first, last = *oneSeed, *oneSeed
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			c := newChaos(t, uint64(seed))
			defer func() {
				if t.Failed() || c.failed() {
					t.Logf("again: go test ./transport/session -run TestChaos -seed %d\nfaults %+v\nlinks %+v\nclient %+v\nserver %+v",
						seed, c.faults, c.options, c.clientCfg, c.serverCfg)
				}
			}()
			c.play()
		})
	}
}

// chaos is one world of TestChaos.
type chaos struct {
	*world
	rng       *rand.Rand
	faults    sim.Faults
	clientCfg session.Config
	calls     []*chaosCall
	open      int // calls that have not ended, or were not started yet
	server    uint64
	over      bool
}

// chaosCall is a call's script, and what became of it.
type chaosCall struct {
	id      uint64
	body    []byte // its first eight bytes are the id
	reply   []byte
	code    session.Code
	takes   time.Duration // the handler
	timeout time.Duration
	cancel  time.Duration // after the start; 0: never
	holds   time.Duration // the reply, before it is released

	call  *session.Call
	ended bool
	err   *session.Error
	good  bool // it got the handler's reply
	runs  int
}

func newChaos(t *testing.T, seed uint64) *chaos {
	r := rand.New(rand.NewPCG(seed, 0xc4a05))
	c := &chaos{rng: r, server: seed + 1}
	c.faults = sim.Faults{Delay: c.upTo(200 * time.Microsecond), Jitter: c.upTo(100 * time.Microsecond)}
	if c.chance(0.8) {
		c.faults.Loss = r.Float64() * 0.3 * r.Float64()
	}
	if c.chance(0.2) {
		c.faults.Loss = 0.3
	}
	if c.chance(0.5) {
		c.faults.Duplicate = r.Float64() * 0.2
	}
	if c.chance(0.5) {
		c.faults.Reorder, c.faults.ReorderDelay = r.Float64()*0.3, c.upTo(5*time.Millisecond)
	}
	if c.chance(0.5) {
		c.faults.Corrupt = r.Float64() * 0.1
	}
	if c.chance(0.3) {
		c.faults.Spike, c.faults.SpikeDelay = r.Float64()*0.02, c.upTo(60*time.Millisecond)
	}
	config := func() session.Config {
		return session.Config{
			Calls:           pick(r, 0, 0, 12, 40),
			CallsPerSession: pick(r, 0, 1, 4, 16),
			MaxMessage:      pick(r, uint32(0), 1<<20, 20000),
			Reassembly:      pick(r, int64(0), 0, 300000, 60000),
			Window:          pick(r, 0, 4, 32),
			AckDelay:        pick(r, 0, 0, 2*time.Millisecond),
			LazyAckDelay:    pick(r, 0, 0, time.Millisecond),
			MinPTO:          pick(r, 0, 200*time.Microsecond, 5*time.Millisecond),
		}
	}
	c.clientCfg = config()
	size := pick(r, 600, 1500, 2048)
	o := sim.LinkOptions{
		Frames: pick(r, 64, 512, 512), FrameBytes: 2048, MTU: size, Burst: pick(r, 4, 64), CompleteAfter: pick(r, 0, 0, 30*time.Microsecond, time.Millisecond),
	}
	c.world = newWorldOn(t, seed, c.faults, c.clientCfg, config(), o)
	c.client.onEvent = c.clientEvent
	c.serve = c.handle
	c.script()
	return c
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func (c *chaos) chance(p float64) bool { return c.rng.Float64() < p }

func (c *chaos) upTo(d time.Duration) time.Duration { return time.Duration(c.rng.Int64N(int64(d)) + 1) }

// script draws the calls and the accidents.
func (c *chaos) script() {
	span := c.upTo(150 * time.Millisecond)
	for id := range uint64(10 + c.rng.IntN(50)) {
		k := &chaosCall{id: id, body: c.message(), reply: c.message(), takes: 0}
		binary.LittleEndian.PutUint64(k.body, id)
		if c.chance(0.3) {
			k.takes = c.upTo(60 * time.Millisecond)
		}
		if c.chance(0.1) {
			k.code = session.InvalidArgument
		}
		if c.chance(0.5) {
			k.timeout = c.upTo(100 * time.Millisecond)
		}
		if c.chance(0.15) {
			k.cancel = c.upTo(30 * time.Millisecond)
		}
		if c.chance(0.2) {
			k.holds = c.upTo(20 * time.Millisecond)
		}
		c.calls = append(c.calls, k)
		c.open++
		c.in(c.upTo(span), func() { c.start(k) })
	}
	if c.chance(0.25) {
		c.in(c.upTo(span), func() { c.pause(c.client) })
	}
	if c.chance(0.25) {
		c.in(c.upTo(span), func() { c.pause(c.world.server) })
	}
	if c.chance(0.25) {
		c.in(c.upTo(span), func() {
			c.crash(c.world.server)
			c.server += 1000000
			c.in(c.upTo(100*time.Millisecond), c.restart)
		})
	}
	if c.chance(0.15) {
		from, to := clientAddr, serverAddr
		if c.chance(0.5) {
			from, to = to, from
		}
		c.in(c.upTo(span), func() {
			c.net.Partition(from, to, true)
			c.in(c.upTo(400*time.Millisecond), func() { c.net.Partition(from, to, false) })
		})
	}
}

func (c *chaos) message() []byte {
	n := 8 + c.rng.IntN(500)
	switch {
	case c.chance(0.2):
		n = 8 + c.rng.IntN(30000)
	case c.chance(0.05):
		n = 8 + c.rng.IntN(200000)
	}
	return pattern(n, byte(c.rng.Uint32()))
}

func (c *chaos) pause(n *node) {
	if n != nil {
		n.pausedUntil = c.net.Now().Add(c.upTo(400 * time.Millisecond))
	}
}

func (c *chaos) restart() {
	c.startServer(c.server)
}

// start makes a call, in place or from a slice.
func (c *chaos) start(k *chaosCall) {
	now := c.net.Now()
	if c.client.pausedUntil > now {
		c.at(c.client.pausedUntil, func() { c.start(k) })
		return
	}
	call, err := c.conn.NewCall()
	if err != nil {
		c.finish(k, err)
		return
	}
	k.call, call.Tag = call, k
	if c.chance(0.02) {
		call.Discard()
		c.finish(k, &session.Error{Outcome: session.NotExecuted})
		return
	}
	var deadline transport.Time
	if k.timeout != 0 {
		deadline = now.Add(k.timeout)
	}
	if len(k.body) <= len(call.Buffer()) && c.chance(0.5) {
		call.Start(now, 7, copy(call.Buffer(), k.body), deadline)
	} else if err := call.StartBytes(now, 7, k.body, deadline); err != nil {
		call.Discard()
		c.finish(k, err)
		return
	}
	if k.cancel != 0 {
		c.in(k.cancel, func() {
			if !k.ended {
				k.call.Cancel(c.net.Now())
			}
		})
	}
}

func (c *chaos) finish(k *chaosCall, err *session.Error) {
	if k.ended {
		c.t.Errorf("call %d ended twice", k.id)
	}
	k.ended, k.err = true, err
	c.open--
}

func (c *chaos) clientEvent(ev session.Event) {
	switch ev.Kind {
	case session.CallEnded:
		k := ev.Call.Tag.(*chaosCall)
		c.finish(k, ev.Call.Err())
		if k.err == nil {
			c.answered(k)
		}
		if k.holds == 0 {
			ev.Call.Release()
		} else {
			c.in(k.holds, ev.Call.Release)
		}
	case session.SessionClosed:
		c.closed = ev.Err
		if !c.over {
			c.in(c.upTo(5*time.Millisecond), c.redial)
		}
	}
}

// redial opens the next session, and gives up on it when it takes too long.
func (c *chaos) redial() {
	if c.over {
		return
	}
	c.dial()
	conn := c.conn
	c.in(300*time.Millisecond, func() {
		if !conn.Established() {
			conn.Close(c.net.Now(), session.Unavailable, "no answer")
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
		if call.Code() != k.code || !bytes.Equal(call.Body(), k.reply) {
			c.t.Errorf("call %d: code %d and %d bytes, want %d and %d other bytes", k.id, call.Code(), len(call.Body()), k.code, len(k.reply))
		}
	}
}

// handle is the server's handler.
func (c *chaos) handle(call *session.Call) {
	body := call.Body()
	if len(body) < 8 || binary.LittleEndian.Uint64(body) >= uint64(len(c.calls)) {
		c.t.Errorf("a request of %d bytes that nobody made", len(body))
		return
	}
	k := c.calls[binary.LittleEndian.Uint64(body)]
	if !bytes.Equal(body, k.body) || call.Method() != 7 {
		c.t.Errorf("request %d arrived with other bytes or method %d", k.id, call.Method())
	}
	k.runs++
	if k.takes == 0 {
		c.reply(call, k)
		return
	}
	node := c.world.server
	c.in(k.takes, func() {
		if node == c.world.server {
			c.reply(call, k)
		}
	})
}

func (c *chaos) reply(call *session.Call, k *chaosCall) {
	if buffer := call.Buffer(); len(k.reply) <= len(buffer) && c.chance(0.5) {
		call.Reply(c.net.Now(), k.code, session.Executed, copy(buffer, k.reply))
		return
	}
	call.ReplyBytes(c.net.Now(), k.code, session.Executed, k.reply)
}

// play runs the world to its end and judges it.
func (c *chaos) play() {
	if !c.run(2*time.Minute, func() bool { return c.open == 0 }) {
		for _, k := range c.calls {
			if !k.ended {
				c.t.Errorf("call %d (%d bytes, reply %d, timeout %v, runs %d) never ended: %s", k.id, len(k.body), len(k.reply), k.timeout, k.runs, c.state(k))
			}
		}
		return
	}
	c.over = true
	c.settle()
	for _, k := range c.calls {
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
}

func (c *chaos) failed() bool { return c.t.Failed() }

func (c *chaos) state(k *chaosCall) string {
	if k.call == nil {
		return "not started"
	}
	return fmt.Sprintf("session established %v, closed %v; client %+v, server %+v", c.conn.Established(), c.closed, c.client.core.Stats(), c.world.server.core.Stats())
}
