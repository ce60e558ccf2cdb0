package session

import (
	"slices"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// credit grants the senders of long messages, over all sessions, no more than what this end can hold: what was granted and has not arrived
// stays within limit. The first part of a message needs no credit. A lost part keeps its credit until it has come again.
//
// Sessions that want credit stand in a queue, and each gets a step in its turn (deficit round robin with equal shares; Shreedhar and
// Varghese, SIGCOMM 1995), so that what is scarce is shared by throughput, whatever their distances. While nobody else waits, one gets all
// that it may have ahead.
type credit struct {
	limit int64 // bytes
	out   int64 // granted and not received
	head  *inLong
	tail  *inLong // messages that are not whole, oldest first
	queue *Conn   // whose turn it is
	last  *Conn
	picks uint
}

const (
	// grantStep is how many packets a session is granted in its turn, while others wait: a Grant frame for each acknowledgement.
	grantStep = 8

	// grantAhead windows of a message may be granted beyond what has arrived. A window of it keeps a sender going; it is granted the next half
	// when so much is left.
	grantAhead = 1.5

	// freeShare: a session may have at most this many times as much credit as is left for others (dynamic thresholds; Choudhury and Hahne,
	// IEEE/ACM Transactions on Networking 6, 1998). Alone it has four fifths of the limit at most, and whoever comes finds some at once.
	freeShare = 4

	// grantsAtOnce sessions at most get credit at the arrival of one packet; the next packet goes on.
	grantsAtOnce = 8
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
	c.arriving = append(c.arriving, l)
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
	i := slices.Index(c.arriving, l)
	c.arriving = slices.Delete(c.arriving, i, i+1)
	cr.taken(c, int64(l.granted-l.got))
	cr.grant(c)
}

// taken notes that granted bytes have arrived, or never will.
func (cr *credit) taken(c *Conn, bytes int64) {
	cr.out -= bytes
	c.creditOut -= bytes
}

// grant gives what credit there is to those who want it, among them perhaps c, of which something has arrived or ended.
func (cr *credit) grant(c *Conn) {
	cr.want(c)
	for range grantsAtOnce {
		c := cr.queue
		if c == nil {
			return
		}
		free, step := cr.limit-cr.out, cr.step(c)
		if free < step && c.state != closed {
			return // something has to arrive first
		}
		cr.pop()
		room := min(free, freeShare*free-c.creditOut)
		if room < step || c.state == closed {
			continue // it wants again when something of its own arrives
		}
		if cr.queue != nil { // others wait
			room = step
		}
		if l := cr.pick(c); l != nil {
			cr.picks++
			cr.give(c, l, room)
			cr.want(c)
		}
	}
}

// want puts a session into the queue, if it is to be there.
func (cr *credit) want(c *Conn) {
	if c.wantsCredit || c.state == closed || cr.pick(c) == nil {
		return
	}
	c.wantsCredit, c.creditNext = true, nil
	if cr.last == nil {
		cr.queue = c
	} else {
		cr.last.creditNext = c
	}
	cr.last = c
}

func (cr *credit) pop() {
	c := cr.queue
	if cr.queue = c.creditNext; cr.queue == nil {
		cr.last = nil
	}
	c.wantsCredit, c.creditNext = false, nil
}

// give grants more of a message, room at most.
func (cr *credit) give(c *Conn, l *inLong, room int64) {
	n := min(room, int64(l.total-l.granted), int64(grantAhead*float64(c.windowBytes()))-int64(l.granted-l.got))
	if l.granted == l.got { // it has waited for this: its sender's time begins with the next sweep
		l.fresh = true
	}
	l.granted += uint32(n)
	cr.out += n
	c.creditOut += n
	if !l.due {
		l.due = true
		c.control(wire.Grant, l.call.id, l.number)
	}
}

// step is what a session gets in its turn, bytes.
func (cr *credit) step(c *Conn) int64 {
	return max(min(grantStep*int64(c.packetBytes), cr.limit/4, c.windowBytes()/4), 1)
}

// windowBytes is what a sender's window is taken to hold, if it is set as this end's.
func (c *Conn) windowBytes() int64 { return int64(c.e.cfg.Window) * int64(c.packetBytes) }

// pick chooses the message of a session that is to have credit next: of those whose sender is less than a window ahead, the one with the least
// to come; every so often the oldest, so that none waits for ever. nil: none wants any.
func (cr *credit) pick(c *Conn) (best *inLong) {
	enough := c.windowBytes()
	for _, l := range c.arriving {
		if l.granted == l.total || int64(l.granted-l.got) > enough {
			continue
		}
		if best == nil || l.total-l.got < best.total-best.got {
			best = l
		}
		if cr.picks%oldestTurn == oldestTurn-1 {
			break
		}
	}
	return best
}

// A message whose sender has credit, and from whom nothing of it has come for stallTimeout, is given up: it holds memory that others need. While
// others wait for credit, half of that is enough: their senders wait no longer than stallTimeout themselves.
// A sender that is not heard at all, though others wait for what it was granted, is given up sooner: one that lives pings ten times by then.
const (
	stallTimeout  = 5 * time.Second
	silentTimeout = 500 * time.Millisecond
	sweepInterval = 250 * time.Millisecond
)

// handleSweep gives up the messages that do not come.
func (e *Endpoint) handleSweep(now transport.Time) {
	if late := now.Sub(e.sweepAt); late >= sweepInterval { // this process stood still: what came meanwhile, it may not have seen
		for l := e.credit.head; l != nil; l = l.next {
			l.at = l.at.Add(late)
		}
	}
	waited := e.credit.queue != nil
	patience := stallTimeout
	if waited {
		patience /= 2
	}
	for l := e.credit.head; l != nil; {
		next, k := l.next, l.call
		if l.fresh {
			l.fresh, l.at = false, now
		}
		silent := waited && now.Sub(k.conn.heardAt) >= silentTimeout
		if l.granted > l.got && (now.Sub(l.at) >= patience || silent && now.Sub(l.at) >= silentTimeout) {
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
