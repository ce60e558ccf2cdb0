package session

import (
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// packetThreshold is how many packets after it have to be acknowledged before a packet counts as lost (RFC 9002, section 6.1.1), and
// timeThreshold how late it has to be, in eighths of the round-trip time (section 6.1.2). A path that was seen to reorder gets more of both.
const (
	packetThreshold    = 3
	packetThresholdMax = ackBits
	timeThreshold      = 9
	timeThresholdMax   = 16
)

// resetThresholds begins with a path of which nothing is known. Over a reliable link nothing is late: what an acknowledgement leaves out was
// lost with a connection, or the peer had no room for it.
func (c *Conn) resetThresholds() {
	c.packetThreshold, c.timeThreshold = packetThreshold, timeThreshold
	if c.e.caps.Reliable {
		c.packetThreshold = 1
	}
}

// handleAck takes an acknowledgement; false when it names a packet that was never sent.
func (c *Conn) handleAck(now transport.Time, h *wire.DataHeader) bool {
	l := &c.sent
	largest := wire.Expand(h.AckLargest, l.next)
	if largest >= l.next {
		return false
	}
	if largest < l.base {
		return true // all that it can tell is known
	}
	if p := l.at(largest); p.state == flying {
		c.rtt.sample(now, now.Sub(p.at), time.Duration(h.AckDelay)*time.Microsecond, 2*int(p.bytes) > c.packetBytes)
	}
	n := l.base
	if largest > ackBits {
		n = max(n, largest-ackBits)
	}
	acked, flight, useful := 0, l.flying, false
	for ; n <= largest; n++ {
		p := l.at(n)
		if back := largest - n; p.state == settled || back != 0 && h.AckBits&(1<<(back-1)) == 0 {
			continue
		}
		if p.state == lost {
			c.spurious(now, p, largest-n)
		} else {
			l.land(p, settled)
			acked++
			useful = useful || p.items > 0
		}
		c.acknowledged(now, p)
	}
	if acked > 0 {
		c.ackedAt = now
		if useful { // more than a ping
			c.ptoCount = 0
		}
		// The controller hears of it only if that can change anything: when the window held the session back, or the path is slow. So it
		// costs nothing while the network is idle.
		if marked := h.Flags&wire.FlagCE != 0; c.blocked || marked || c.rtt.queue > c.e.cfg.TargetDelay {
			c.congestion(now, acked, flight, marked)
		}
	}
	c.topAcked = max(c.topAcked, largest) // acknowledgements may overtake each other
	l.trim(c.topAcked)
	c.lossAt = 0
	if l.flying > 0 && l.base < c.topAcked { // else all before it are settled
		c.detectLost(now)
	}
	return true
}

// congestion tells the controller what an acknowledgement showed.
func (c *Conn) congestion(now transport.Time, acked, flight int, marked bool) {
	if c.blocked {
		flight = max(flight, c.cwnd)
	}
	c.cc.acked(now, acked, flight, c.rtt.latest, c.rtt.latest-c.rtt.queue, marked)
	c.cwnd, c.gap = c.cc.window()
	c.blocked = false
}

// acknowledged notes that the peer has a packet.
func (c *Conn) acknowledged(now transport.Time, p *sentPacket) {
	c.packetAcked(int(p.bytes))
	for i := range uint32(p.items) {
		if it := c.sent.item(p.first + i); it.out != nil && it.out.epoch == it.epoch {
			c.delivered(now, it.out, it.offset, it.length)
		}
	}
}

// delivered notes that the peer has a message, or a part of a long one.
func (c *Conn) delivered(now transport.Time, o *outMessage, offset, length uint32) {
	if l := o.long; l != nil && length > 0 { // else it is in the parts' place, of which the message went in one packet before
		l.since, c.longAt = now, now
		if !l.acked.add(offset, offset+length) { // it cannot be noted, so the part is sent again
			l.lost.add(offset, offset+length)
		}
		if !l.acked.all(o.total) {
			return
		}
	}
	k := o.call
	switch o.kind {
	case wire.Request:
		c.retract(o)
		k.requestArrived(now)
	case wire.Reply:
		k.acked = true
		if k.state == callReplied && (k.stream == nil || k.stream.oldest == k.stream.begun) {
			c.abandon(k) // the client has the reply, and what came before it
		}
	default:
		k.stream.delivered(c, o)
	}
}

// spurious notes that a packet that counted as lost was only late: so much reordering is normal here.
func (c *Conn) spurious(now transport.Time, p *sentPacket, behind uint64) {
	p.state = settled
	c.e.stats.Spurious++
	if c.e.caps.Reliable { // a ping that the probe timeout gave up
		return
	}
	c.packetThreshold = uint8(min(max(uint64(c.packetThreshold), behind+1), packetThresholdMax))
	c.timeThreshold = min(c.timeThreshold+1, timeThresholdMax)
	c.cc.spurious(now)
	c.cwnd, c.gap = c.cc.window()
}

// detectLost applies the packet and the time threshold of RFC 9002, section 6.1, to the packets before the largest that was acknowledged.
func (c *Conn) detectLost(now transport.Time) {
	l, largest := &c.sent, c.topAcked
	c.lossAt = 0
	delay := c.rtt.lossDelay(int(c.timeThreshold))
	for n := l.base; n < largest; n++ {
		p := l.at(n)
		if p.state != flying {
			continue
		}
		if largest-n >= uint64(c.packetThreshold) || p.at.Add(delay) <= now {
			c.cc.lost(now, p.at)
			c.lose(p)
		} else if at := p.at.Add(delay); c.lossAt == 0 || at < c.lossAt {
			c.lossAt = at
		}
	}
	c.cwnd, c.gap = c.cc.window()
	l.trim(largest)
	if c.lossAt != 0 {
		c.e.wheel.arm(&c.timer, c.lossAt)
	}
}

// lose readies what a lost packet carried for being sent again, in a packet with a new number.
func (c *Conn) lose(p *sentPacket) {
	c.sent.land(p, lost)
	c.e.stats.Lost++
	c.enqueue()                            // the window has room again, if not for this
	for i := uint32(p.items); i > 0; i-- { // the last first: each goes before all others
		switch it := c.sent.item(p.first + i - 1); {
		case it.out == nil:
			c.controlLost(it)
		case it.out.epoch != it.epoch: // what it carried matters no more
		case it.out.long != nil && it.length > 0:
			it.out.long.lost.add(it.offset, it.offset+it.length)
		default:
			if !it.out.queued {
				c.e.stats.Retransmitted++
			}
			c.requeue(it.out)
		}
	}
	c.packetLost(int(p.bytes))
}

// probeTimeout sends what the oldest unacknowledged packets carried again (RFC 9002, section 6.2), or a ping if nothing of that matters
// any more. Over a reliable link it is always a ping: what the peer has not received, the acknowledgement of that shows.
func (c *Conn) probeTimeout(now transport.Time) {
	l := &c.sent
	again := 0
	for n := l.base; n < l.next && again < 2; n++ {
		if p := l.at(n); p.state == flying && p.timed && (p.items == 0 || !c.e.caps.Reliable) {
			c.lose(p)
			again++
		}
	}
	l.trim(c.topAcked)
	if c.e.caps.Reliable || c.ptoCount > 0 || c.smalls.head == nil && !c.anySendable() {
		c.wantPing = true // is anything acknowledged at all?
	}
	c.elicitAt = now
	c.ptoCount = min(c.ptoCount+1, ptoBackoffMax)
	c.e.stats.ProbeTimeouts++
	c.cc.timedOut(now, int(c.ptoCount))
	c.cwnd, c.gap = c.cc.window()
	c.enqueue()
}

// ptoBackoffMax bounds the exponent of the probe timeout's backoff; the heartbeat's interval bounds the timeout itself.
const ptoBackoffMax = 10

// anySendable tells whether a part of a long message waits to be sent.
func (c *Conn) anySendable() bool {
	for _, o := range c.longs {
		if o.sendable() {
			return true
		}
	}
	return false
}
