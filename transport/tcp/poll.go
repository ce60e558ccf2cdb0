package tcp

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/transport"
)

// poller finds out which connections have something to read. So long as they are few, each is read from in turn, which tells as much as epoll
// does, and has the bytes at once; epoll is then asked now and then, for new connections.
type poller struct {
	todo  []*conn // to be read from, from the one at next on
	next  int
	few   []*conn // all of them, while they are few
	turns int     // since epoll was asked
	ready [64]unix.EpollEvent
}

const (
	fewConns = 4
	fewTurns = 64 // reads that find nothing: some 30 µs
)

// recount follows the number of connections.
func (p *poller) recount(l *Link) {
	p.few = p.few[:0]
	if l.conns.n > fewConns {
		return
	}
	for _, c := range l.conns.all {
		if c != nil {
			p.few = append(p.few, c)
		}
	}
}

// enlist puts a connection among those to be read from.
func (p *poller) enlist(c *conn) {
	if !c.inTodo {
		c.inTodo = true
		p.todo = append(p.todo, c)
	}
}

// pop takes the next connection to be read from; nil when there is none.
func (p *poller) pop() *conn {
	for p.next < len(p.todo) {
		c := p.todo[p.next]
		p.todo[p.next] = nil
		if p.next++; p.next == len(p.todo) {
			p.todo, p.next = p.todo[:0], 0
		}
		if c.inTodo = false; c.fd >= 0 {
			return c
		}
	}
	return nil
}

func (p *poller) waits() bool { return p.next < len(p.todo) }

// refill looks for connections to read from, unless there are some.
func (p *poller) refill(l *Link) {
	if p.waits() {
		return
	}
	if p.turns++; len(p.few) == 0 || p.turns >= fewTurns || l.tx.blocked > 0 || l.asked.Load() {
		p.turns = 0
		l.look()
	}
	for _, c := range p.few {
		p.enlist(c)
	}
}

// look asks epoll: for connections that can be read from, that take frames again, that are new. And it looks after them all now and then.
func (l *Link) look() {
	if l.asked.Load() {
		l.asked.Store(false)
	}
	p := &l.poll
	n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epollFD), uintptr(unsafe.Pointer(&p.ready)), uintptr(len(p.ready)), 0, 0, 0)
	if e != 0 {
		n = 0 // EINTR at most
	}
	now := transport.Now()
	for i := range p.ready[:n] {
		ev := &p.ready[i]
		if ev.Fd == listenerIndex {
			l.accept(now)
			continue
		}
		c := l.conns.all[ev.Fd]
		if c == nil || int32(c.serial) != ev.Pad { // it ended just now
			continue
		}
		if ev.Events&^unix.EPOLLOUT != 0 {
			p.enlist(c)
		}
		if c.blocked && ev.Events&^unix.EPOLLIN != 0 {
			l.kick(c)
		}
	}
	if at := transport.Time(l.sweepAt.Load()); at != 0 && now >= at {
		l.sweep(now)
	} else if l.dry && l.tx.blocked > 0 {
		l.relieve(now)
	}
}

// How long what may happen to a connection that nobody speaks on. Sessions find out for themselves, and sooner, that a peer is gone; this
// bounds what the kernel and the Link keep for it.
const (
	connectLimit = 3 * time.Second        // a SYN and one more
	proofLimit   = 5 * time.Second        // of an accepted one, until its first packet
	stallLimit   = 3 * time.Second        // the peer takes nothing of what waits, or its host answers nothing (TCP_USER_TIMEOUT): to a session it is long dead
	dryLimit     = 200 * time.Millisecond // the same, while it holds most frames and others need some
	defaultIdle  = 3 * time.Minute        // three times as long as a server keeps a session that is silent
	defaultConns = 4096                   // as many as sessions

	sweepEvery     = time.Second
	sweepEveryIdle = 15 * time.Second
)

// sweepSoon has the connections looked after in a while: one of them has become unsettled.
func (l *Link) sweepSoon(now transport.Time) {
	if at := now.Add(sweepEvery); l.sweepAt.Load() == 0 || at < transport.Time(l.sweepAt.Load()) {
		l.sweepAt.Store(int64(at))
	}
}

// sweep closes the connections whose time is over.
func (l *Link) sweep(now transport.Time) {
	l.resume(now)
	unsettled := l.listener.pausedAt != 0
	for _, c := range l.conns.all {
		if c != nil && c.heard {
			c.heard, c.proven, c.heardAt = false, true, now
		}
		switch {
		case c == nil:
		case !c.opened && now.Sub(c.since) >= connectLimit:
			l.lose(c, unix.ETIMEDOUT)
		case c.opened && c.blocked && now.Sub(c.blockedAt) >= stallLimit:
			l.stats.Stalled++
			l.lose(c, unix.ETIMEDOUT)
		case !c.dialled && !c.proven && now.Sub(c.since) >= proofLimit, now.Sub(c.heardAt) >= l.idle:
			l.stats.Idle++
			l.lose(c, unix.ETIMEDOUT)
		default:
			unsettled = unsettled || !c.opened || c.blocked || !c.dialled && !c.proven
		}
	}
	switch {
	case unsettled:
		l.sweepAt.Store(int64(now.Add(sweepEvery)))
	case l.conns.n > 0:
		l.sweepAt.Store(int64(now.Add(min(sweepEveryIdle, l.idle))))
	default:
		l.sweepAt.Store(0)
	}
}

// relieve ends the connection of a peer that does not take what was sent and so holds more than half of the frames, when others find none.
func (l *Link) relieve(now transport.Time) {
	for _, c := range l.conns.all {
		if c != nil && c.blocked && 2*c.queued > l.frames.Sending() && now.Sub(c.blockedAt) >= dryLimit {
			l.stats.Stalled++
			l.lose(c, unix.ENOBUFS)
			return
		}
	}
}
