package session

import (
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// credit grants the senders of long messages, over all sessions, no more than what this end can hold: what was granted and has not arrived
// stays within limit. The first part of a message needs no credit. A lost part keeps its credit until it has come again.
type credit struct {
	limit    int64 // bytes
	out      int64 // granted and not received
	head     *inLong
	tail     *inLong // messages that are not whole, oldest first
	messages int
	picks    uint
}

// How credit is given: in steps of so many packets, ahead of what has arrived by at most so many. A message's sender needs a round trip's
// worth to go on without a pause; more would only let one message take what others wait for.
const (
	grantStep    = 16
	grantAhead   = 256
	grantsAtOnce = 8 // messages that one packet's arrival brings credit to; the next packet goes on
)

// enter takes a message into account whose first part has arrived.
func (cr *credit) enter(c *Conn, l *inLong) {
	l.prev = cr.tail
	if cr.tail == nil {
		cr.head = l
	} else {
		cr.tail.next = l
	}
	cr.tail = l
	cr.messages++
	cr.out += int64(l.granted)
	c.creditOut += int64(l.granted)
	if !c.e.sweep.linked {
		c.e.sweepIn(l.at)
	}
}

// leave ends a message's account: it is whole, or given up.
func (cr *credit) leave(c *Conn, l *inLong) {
	if l.prev == nil {
		cr.head = l.next
	} else {
		l.prev.next = l.next
	}
	if l.next == nil {
		cr.tail = l.prev
	} else {
		l.next.prev = l.prev
	}
	l.prev, l.next = nil, nil
	cr.messages--
	cr.taken(c, int64(l.granted-l.got))
	cr.grant(c)
}

// taken notes that granted bytes have arrived, or never will.
func (cr *credit) taken(c *Conn, bytes int64) {
	cr.out -= bytes
	c.creditOut -= bytes
}

// grant gives what credit there is to those who need it. c is any session of the endpoint.
func (cr *credit) grant(c *Conn) {
	e := c.e
	for range min(cr.messages, grantsAtOnce) {
		step := min(int64(grantStep*c.packetBytes), cr.limit/2)
		if cr.out+step > cr.limit {
			return
		}
		l := cr.pick(e)
		if l == nil {
			return
		}
		k := l.call
		ahead := min(int64(grantAhead*k.conn.packetBytes), max(step, cr.limit/int64(cr.messages)))
		n := min(int64(l.total-l.granted), ahead-int64(l.granted-l.got), cr.limit-cr.out)
		l.granted += uint32(n)
		cr.out += n
		k.conn.creditOut += n
		if !l.due {
			l.due = true
			k.conn.control(wire.Grant, k.id, l.number)
		}
	}
}

// pick chooses who is to have credit next: of the messages that have used up half of theirs one of the session that holds the least, and
// there the one with the least to come; every so often the oldest, so that none waits for ever. nil: nobody needs any.
func (cr *credit) pick(e *Endpoint) (best *inLong) {
	cr.picks++
	oldest := cr.picks%oldestTurn == 0
	for l := cr.head; l != nil; l = l.next {
		c := l.call.conn
		ahead := int64(l.granted - l.got)
		if l.granted == l.total || ahead > min(int64(grantAhead*c.packetBytes), cr.limit/int64(cr.messages))/2 {
			continue
		}
		if oldest {
			return l
		}
		if best == nil {
			best = l
			continue
		}
		b := best.call.conn
		if c == b && l.total-l.got < best.total-best.got || c != b && c.creditOut < b.creditOut {
			best = l
		}
	}
	return best
}

// A message whose sender has credit, and from whom nothing of it has come for stallTimeout, is given up: it holds memory that others need.
const (
	stallTimeout  = 5 * time.Second
	sweepInterval = time.Second
)

// handleSweep gives up the messages that do not come.
func (e *Endpoint) handleSweep(now transport.Time) {
	if late := now.Sub(e.sweepAt); late >= sweepInterval { // this process stood still: what came meanwhile, it may not have seen
		for l := e.credit.head; l != nil; l = l.next {
			l.at = l.at.Add(late)
		}
	}
	for l := e.credit.head; l != nil; {
		next, k := l.next, l.call
		if l.granted > l.got && now.Sub(l.at) >= stallTimeout {
			e.stats.Stalled++
			k.stalled(now)
			next = e.credit.head // others may have gone with it
		}
		l = next
	}
	e.buffers.age()
	if e.credit.head != nil || len(e.buffers) > 0 {
		e.sweepIn(now)
	}
}

// sweepIn plans the next look.
func (e *Endpoint) sweepIn(now transport.Time) {
	e.sweepAt = now.Add(sweepInterval)
	e.wheel.arm(&e.sweep, e.sweepAt)
}
