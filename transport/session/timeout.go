package session

import (
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// handleTimeout does what is due in a session and arms its timer for what is next. Everything that can become due stands here.
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
		c.e.wheel.arm(c, max(at, now+1))
	}
}

func (c *Conn) due(now transport.Time) {
	if c.ackAt != 0 && c.ackAt <= now {
		c.ackNow = true
		c.enqueue()
		c.ackAt = 0
	}
	if c.lossAt != 0 && c.lossAt <= now {
		c.detectLost(now)
	}
	if at := c.ptoAt(); at != 0 && at <= now {
		c.probeTimeout()
		c.elicitAt = now
	}
	c.callTimeouts(now)
	c.heartbeat(now)
	if !c.client && c.state == established {
		if now.Sub(c.heardAt) >= c.lifetime() {
			c.fail(now, pick(c.halfOpen, errHalfOpen, errIdle))
		}
	}
}

// ptoAt is when the probe timeout strikes, 0 for never. The server has none: the client asks for what it misses.
func (c *Conn) ptoAt() transport.Time {
	if !c.client || c.sent.eliciting == 0 {
		return 0
	}
	return c.elicitAt.Add(min(c.rtt.pto(c)<<c.ptoCount, c.e.cfg.Heartbeat))
}

// callTimeouts ends the calls whose deadline has come, and asks for the replies that are overdue.
func (c *Conn) callTimeouts(now transport.Time) {
	if !c.client || c.outstanding == 0 {
		return
	}
	for i := range c.slots {
		k := c.slots[i].call
		if k == nil {
			continue
		}
		if k.deadline != 0 && k.deadline <= now {
			c.expire(k)
		} else if k.acked && k.probeAt == 0 {
			k.progress(now)
		} else if k.acked && k.probeAt <= now {
			k.probes = min(k.probes+1, 200)
			k.probeAt = now.Add(c.probeInterval(k.probes))
			if len(c.probes) < maxControls {
				c.probes = append(c.probes, k.id)
				c.enqueue()
			}
		}
	}
	for k := c.waiting.head; k != nil; {
		next := k.next
		if k.deadline != 0 && k.deadline <= now {
			c.expire(k)
		}
		k = next
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

// heartbeat sends a ping when nothing was heard for an interval, and gives the peer up after too many without any packet. It counts its
// own pings, not time: a pause of this process is not the peer's silence.
func (c *Conn) heartbeat(now transport.Time) {
	at := c.heartbeatAt()
	if at == 0 || at > now {
		return
	}
	if c.pingAt > c.heardAt {
		c.misses++
		if c.misses >= c.e.cfg.Misses {
			c.e.stats.PeersSilent++
			c.fail(now, errPeerSilent)
			return
		}
	}
	c.pingAt = now
	c.wantPing = true
	c.enqueue()
}

// heartbeatAt is when the next ping is due. A server sends none: it owes its clients no suspicion.
func (c *Conn) heartbeatAt() transport.Time {
	if !c.client {
		return 0
	}
	interval := c.keepAlive
	if c.outstanding > 0 {
		interval = c.e.cfg.Heartbeat
	}
	return max(c.heardAt, c.pingAt).Add(interval)
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
	if c.state == connecting {
		sooner(c.hello.at)
	} else {
		sooner(c.ackAt)
		sooner(c.lossAt)
		sooner(c.ptoAt())
		sooner(c.heartbeatAt())
		if !c.client {
			sooner(c.heardAt.Add(c.lifetime()))
		}
	}
	if !c.client || c.outstanding == 0 {
		return at
	}
	for i := range c.slots {
		if k := c.slots[i].call; k != nil {
			sooner(k.deadline)
			if k.acked {
				sooner(k.probeAt)
			}
		}
	}
	for k := c.waiting.head; k != nil; k = k.next {
		sooner(k.deadline)
	}
	return at
}
