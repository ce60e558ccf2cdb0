package session

import (
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// sentPacket is what is remembered of a packet until it is acknowledged or counts as lost.
type sentPacket struct {
	at      transport.Time
	call    *Call // whose message it carries a part of; nil: none
	epoch   uint32
	offset  uint32
	elicits bool // an acknowledgement is expected
}

// sentLog remembers the packets from base to next, in a ring that grows when it has to.
type sentLog struct {
	ring       []sentPacket
	base, next uint64
	eliciting  int // packets of which an acknowledgement is expected
}

func (l *sentLog) at(n uint64) *sentPacket { return &l.ring[n&uint64(len(l.ring)-1)] }

// push gives a packet its number.
func (l *sentLog) push(c *Conn, p sentPacket) uint64 {
	if l.next-l.base == uint64(len(l.ring)) {
		if len(l.ring) < sentRingMax {
			l.grow()
		} else {
			l.lose(c, l.at(l.base)) // never seen: the window is far smaller
			l.trim()
		}
	}
	n := l.next
	*l.at(n) = p
	l.next++
	if p.elicits {
		l.eliciting++
	} else {
		l.trim()
	}
	return n
}

func (l *sentLog) grow() {
	ring := make([]sentPacket, max(2*len(l.ring), sentRingMin))
	for n := l.base; n < l.next; n++ {
		ring[n&uint64(len(ring)-1)] = *l.at(n)
	}
	l.ring = ring
}

// trim moves base past the packets of which nothing is expected.
func (l *sentLog) trim() {
	for l.base < l.next && !l.at(l.base).elicits {
		l.base++
	}
}

// settle forgets a packet.
func (l *sentLog) settle(p *sentPacket) {
	p.elicits, p.call = false, nil
	l.eliciting--
}

// lose readies what a lost packet carried for being sent again, in a packet with a new number.
func (l *sentLog) lose(c *Conn, p *sentPacket) {
	k, epoch, offset := p.call, p.epoch, p.offset
	l.settle(p)
	c.e.stats.Lost++
	c.enqueue() // the window has room again, if not for this
	if k == nil || k.epoch != epoch {
		return
	}
	if k.out.unit == 0 {
		if c.client && k.acked {
			return
		}
		k.out.due = true
	} else {
		k.out.lost = append(k.out.lost, offset)
		c.e.stats.Retransmitted++
	}
	if !k.queued {
		c.sendq.push(k)
	}
}

// giveUp counts all packets of k's message as lost, because the peer says that it misses some.
func (l *sentLog) giveUp(c *Conn, k *Call) {
	for n := l.base; n < l.next; n++ {
		if p := l.at(n); p.elicits && p.call == k && p.epoch == k.epoch {
			l.lose(c, p)
		}
	}
	l.trim()
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
	if p := l.at(largest); p.elicits {
		c.rtt.sample(now.Sub(p.at), time.Duration(h.AckDelay)*time.Microsecond)
	}
	progress := false
	for n := l.base; n <= largest; n++ {
		p := l.at(n)
		if !p.elicits {
			continue
		}
		if back := largest - n; back == 0 || back <= 64 && h.AckBits&(1<<(back-1)) != 0 {
			c.acknowledged(now, p)
			progress = true
		}
	}
	l.trim()
	if progress {
		c.ptoCount = 0
	}
	c.topAcked = max(c.topAcked, largest) // acknowledgements may overtake each other
	c.detectLost(now)
	return true
}

// acknowledged notes that the peer has a packet.
func (c *Conn) acknowledged(now transport.Time, p *sentPacket) {
	k, epoch, offset := p.call, p.epoch, p.offset
	c.sent.settle(p)
	if k == nil || k.epoch != epoch || !k.out.acknowledge(offset) {
		return
	}
	if c.client {
		k.requestArrived()
	} else if k.state == callReplied {
		c.abandon(k) // the client has the reply
	}
}

// detectLost applies the packet and the time threshold of RFC 9002, section 6.1, to the packets before the largest that was acknowledged.
func (c *Conn) detectLost(now transport.Time) {
	l, largest := &c.sent, c.topAcked
	c.lossAt = 0
	if l.base >= largest {
		return // all before it are settled
	}
	delay := c.rtt.lossDelay()
	for n := l.base; n < largest; n++ {
		p := l.at(n)
		if !p.elicits {
			continue
		}
		if largest-n >= packetThreshold || p.at.Add(delay) <= now {
			l.lose(c, p)
		} else if at := p.at.Add(delay); c.lossAt == 0 || at < c.lossAt {
			c.lossAt = at
		}
	}
	l.trim()
	if c.lossAt != 0 {
		c.e.wheel.arm(c, c.lossAt)
	}
}

// probeTimeout sends the oldest unacknowledged messages again (RFC 9002, section 6.2, with data instead of a bare probe).
func (c *Conn) probeTimeout() {
	l := &c.sent
	again := 0
	for n := l.base; n < l.next && again < 2; n++ {
		if p := l.at(n); p.elicits {
			l.lose(c, p)
			again++
		}
	}
	l.trim()
	c.ptoCount = min(c.ptoCount+1, 10)
	c.e.stats.ProbeTimeouts++
}

// rtt estimates the round-trip time after RFC 9002, section 5.
type rtt struct {
	any      bool
	latest   time.Duration
	smoothed time.Duration
	variance time.Duration
	least    time.Duration
}

// initialRTT stands until there is a sample (RFC 9002, section 6.2.2, has 333 ms for the Internet).
const initialRTT = 5 * time.Millisecond

func (r *rtt) reset() { *r = rtt{} }

func (r *rtt) sample(latest, ackDelay time.Duration) {
	r.latest = latest
	if !r.any {
		r.any, r.least, r.smoothed, r.variance = true, latest, latest, latest/2
		return
	}
	r.least = min(r.least, latest)
	adjusted := latest
	if latest >= r.least+ackDelay {
		adjusted = latest - ackDelay
	}
	r.variance += (abs(r.smoothed-adjusted) - r.variance) / 4
	r.smoothed += (adjusted - r.smoothed) / 8
}

// pto is the probe timeout without backoff.
func (r *rtt) pto(c *Conn) time.Duration {
	if !r.any {
		return max(3*initialRTT, c.e.cfg.MinPTO)
	}
	return max(r.smoothed+max(4*r.variance, timeGranularity)+c.peerAckDelay, c.e.cfg.MinPTO)
}

// lossDelay is the time threshold.
func (r *rtt) lossDelay() time.Duration {
	return max(max(r.smoothed, r.latest)*9/8, timeGranularity)
}

func abs(d time.Duration) time.Duration {
	if d < 0 {
		return -d
	}
	return d
}
