//go:build rdma

package rdma

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/transport"
)

// How long what may happen to a connection that nobody speaks on. Sessions find out for themselves, and sooner, that a peer is gone; this
// bounds what the device and the Link keep for it.
const (
	proofLimit = 5 * time.Second        // of an accepted one, until its first packet
	stallLimit = 10 * time.Second       // the peer takes nothing of what was sent
	dryLimit   = 200 * time.Millisecond // the same, while it holds most frames and others need some

	tendEvery     = time.Second / 5
	tendEveryIdle = 15 * time.Second
	turnsATend    = 64 // Recvs that find nothing, until the clock is read: some 10 µs
)

// tendSoon has the connections looked after in a while: one of them has become unsettled.
func (l *RC) tendSoon(now transport.Time) {
	if at := now.Add(tendEvery); l.tendAt.Load() == 0 || at < transport.Time(l.tendAt.Load()) {
		l.tendAt.Store(int64(at))
	}
}

// tend closes the connections whose time is over, when it is time for that.
func (l *RC) tend(now transport.Time) {
	if at := transport.Time(l.tendAt.Load()); at == 0 || now < at {
		return
	}
	unsettled := false
	for _, c := range l.conns.all {
		if c != nil && c.state < connEnding {
			l.judge(c, now)
			unsettled = unsettled || !c.proven || c.stuckAt != 0
		}
	}
	switch {
	case unsettled:
		l.tendAt.Store(int64(now.Add(tendEvery)))
	case l.conns.n > 0:
		l.tendAt.Store(int64(now.Add(min(tendEveryIdle, l.conns.idle))))
	default:
		l.tendAt.Store(0)
	}
}

func (l *RC) judge(c *conn, now transport.Time) {
	if c.heard {
		c.heard, c.proven, c.heardAt = false, true, now
	}
	switch sends := c.posted.len + c.waiting.len + c.reading; {
	case sends == 0 || c.moved || c.state == connJoining:
		c.stuckAt = 0
		if sends > 0 {
			c.stuckAt = now
		}
	case c.stuckAt == 0:
		c.stuckAt = now
	case now.Sub(c.stuckAt) >= stallLimit, l.dry && 2*sends > l.frames.Sending() && now.Sub(c.stuckAt) >= dryLimit:
		l.stats.Stalled++
		l.lose(c, unix.ETIMEDOUT)
		return
	}
	c.moved = false
	if c.state == connOpen && !c.dialled && !c.proven && now.Sub(c.since) >= proofLimit || now.Sub(c.heardAt) >= l.conns.idle {
		l.stats.Idle++
		l.lose(c, unix.ETIMEDOUT)
	}
}

// Wait implements transport.Link.
func (l *RC) Wait(until transport.Time) error {
	if l.closed.Load() {
		return transport.ErrClosed
	}
	if at := transport.Time(l.tendAt.Load()); at != 0 && (until == 0 || at < until) && !l.tendDue.Swap(true) {
		until = at
	}
	return l.wait(until)
}
