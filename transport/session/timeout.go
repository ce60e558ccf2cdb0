package session

import (
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// handleIdle sees to a session of which nothing was heard for long. It has a timer of its own, which stays where it is while there is traffic
// and then looks again.
func (c *Conn) handleIdle(now transport.Time) {
	if c.client {
		if c.keepAliveAt() <= now {
			c.pingAt = now
			c.wantPing = true
			c.enqueue()
		}
		c.e.wheel.arm(&c.idle, c.keepAliveAt())
		return
	}
	if now.Sub(c.heardAt) >= c.lifetime() {
		c.fail(now, pick(c.halfOpen, errHalfOpen, errIdle))
		return
	}
	c.e.wheel.arm(&c.idle, c.heardAt.Add(c.lifetime()))
}

// rest takes a session's timer out of the wheel when nothing of it will be due. Where sessions are few it stays, and finds nothing to do when it
// fires: that costs less than to move it with every call; where they are many, each would be fetched from memory for it.
func (c *Conn) rest() {
	if c.e.open > fewSessions && c.timer.linked && c.sent.timed == 0 && c.outstanding == 0 && c.ackAt == 0 && c.lossAt == 0 && c.paceAt == 0 && len(c.longs) == 0 {
		c.callsAt = 0
		c.e.wheel.remove(&c.timer)
	}
}

// fewSessions have their place in the processor's caches.
const fewSessions = 64

// handleTimeout does what is due in a session and arms its timer for what is next. Everything that can become due soon stands here.
func (c *Conn) handleTimeout(now transport.Time) {
	if c.state == connecting {
		c.helloTimeout(now)
		c.callTimeouts(now)
	}
	if c.state == established {
		c.due(now)
	}
	if c.state == closed {
		return
	}
	if at := c.nextTimeout(); at != 0 {
		c.e.wheel.arm(&c.timer, max(at, now+1))
	}
}

func (c *Conn) due(now transport.Time) {
	if c.ackAt != 0 && c.ackAt <= now {
		c.ackNow = true
		c.enqueue()
		c.ackAt = 0
	}
	if c.paceAt != 0 && c.paceAt <= now {
		c.paceAt = 0
		c.enqueue()
	}
	if c.lossAt != 0 && c.lossAt <= now {
		c.detectLost(now)
	}
	if at := c.ptoAt(); at != 0 && at <= now {
		if now.Sub(c.ackedAt) >= stallTimeout && now.Sub(c.heardAt) < stallTimeout/2 {
			c.fail(now, errNoAcks) // it is alive
			return
		}
		c.probeTimeout(now)
	}
	c.callTimeouts(now)
}

// ptoAt is when the probe timeout strikes, 0 for never. At a server it does so for what nobody asks for: grants, and messages of streams. A
// client asks for the replies that it misses.
func (c *Conn) ptoAt() transport.Time {
	if c.sent.timed == 0 || c.away {
		return 0
	}
	return c.elicitAt.Add(c.ptoDelay())
}

// ptoDelay is the probe timeout, doubled each time that it struck in vain, up to the heartbeat's interval. A reliable link may lead further than
// that: there it is no less than the timeout itself.
func (c *Conn) ptoDelay() time.Duration {
	pto, limit := c.rtt.pto(c), c.e.cfg.Heartbeat
	if c.e.caps.Reliable {
		limit = max(limit, pto)
	}
	return min(pto<<c.ptoCount, limit)
}

// soon notes that a call is due at a time.
func (c *Conn) soon(at transport.Time) {
	if c.callsAt == 0 || at < c.callsAt {
		c.callsAt = at
		c.e.wheel.arm(&c.timer, at)
	}
}

// callTimeouts sees to the calls that are due, and finds out when the next one is. It looks at all of them, which is seldom: callsAt only
// moves to an earlier time when a call comes that is due before all others.
func (c *Conn) callTimeouts(now transport.Time) {
	if c.callsAt == 0 || c.callsAt > now {
		return
	}
	c.callsAt = 0
	for k := c.waiting.head; k != nil; { // first: the end of another call must not send one whose time is over
		next := k.next
		if k.deadline != 0 && k.deadline <= now {
			c.expire(k)
		} else if k.deadline != 0 {
			c.soon(k.deadline)
		}
		k = next
	}
	for i := range c.slots {
		if k := c.slots[i].call; k != nil {
			if at := k.handleTimeout(now); at != 0 {
				c.soon(at)
			}
		}
	}
}

// handleTimeout does what is due of a call, and returns when it will be due again; 0 for never.
func (k *Call) handleTimeout(now transport.Time) (at transport.Time) {
	c := k.conn
	if at = k.out.stalledAt(now); at != 0 && at <= now {
		k.unwanted()
		return 0
	}
	if st := k.stream; st != nil && st.oldest != st.begun { // the others may have to wait for the oldest
		t := st.outgoing(st.oldest).stalledAt(now)
		if t != 0 && t <= now {
			k.unwanted()
			return 0
		}
		if t != 0 && (at == 0 || t < at) {
			at = t
		}
	}
	if k.role != clientCall {
		return at
	}
	if k.deadline != 0 && k.deadline <= now {
		c.expire(k)
		return 0
	}
	if k.acked && k.probeAt == 0 {
		k.probeAt = now.Add(c.probeInterval(0))
	} else if k.acked && k.probeAt <= now {
		k.probes = min(k.probes+1, 200)
		k.probeAt = now.Add(c.probeInterval(k.probes))
		c.hint(wire.Probe, k.id)
	}
	if k.acked && (at == 0 || k.probeAt < at) {
		at = k.probeAt
	}
	if k.deadline != 0 && (at == 0 || k.deadline < at) {
		at = k.deadline
	}
	return at
}

// stalledAt is when a long message is given up whose receiver takes nothing of it; 0 for never.
func (o *outMessage) stalledAt(now transport.Time) transport.Time {
	if o.long == nil {
		return 0
	}
	if o.long.since == 0 {
		o.long.since = now
	}
	return max(o.long.since, o.call.conn.longAt).Add(stallTimeout) // while others of the session move, it waits for its turn
}

// unwanted ends a call whose long message the peer does not take.
func (k *Call) unwanted() {
	c := k.conn
	c.e.stats.Stalled++
	if k.role == clientCall {
		err := errNoReader
		if l := k.out.long; l != nil {
			err = pick(l.next < k.out.total, errNoCredit, errNotTaken)
		}
		c.sendCancel(k)
		c.endCall(k, err.Code, err)
	} else {
		c.abandon(k)
	}
}

func (c *Conn) expire(k *Call) {
	err := errDeadline
	if !k.out.sentOnce {
		err = errDeadlineUnsent
	}
	c.sendCancel(k)
	c.endCall(k, DeadlineExceeded, err)
}

// keepAliveAt is when an idle client's session is to be used, so that the server, and what lies between, does not forget it.
func (c *Conn) keepAliveAt() transport.Time {
	return max(c.heardAt, c.pingAt).Add(c.keepAlive)
}

// lifetime is how long a server keeps a session that it does not hear from.
func (c *Conn) lifetime() time.Duration {
	if c.halfOpen {
		return halfOpenLifetime
	}
	return c.e.cfg.IdleTimeout
}

// nextTimeout is when something becomes due, 0 for never.
func (c *Conn) nextTimeout() (at transport.Time) {
	sooner := func(t transport.Time) {
		if t != 0 && (at == 0 || t < at) {
			at = t
		}
	}
	sooner(c.callsAt)
	if c.state == connecting {
		sooner(c.hello.at)
		return at
	}
	sooner(c.ackAt)
	sooner(c.paceAt)
	sooner(c.lossAt)
	sooner(c.ptoAt())
	return at
}
