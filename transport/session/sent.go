package session

import (
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// sentPacket is what is remembered of a packet until it is acknowledged, or lost for good.
type sentPacket struct {
	at    transport.Time
	first uint32 // of its items
	items uint16
	bytes uint16
	state sentState
	timed bool // the probe timeout waits for it
}

type sentState uint8

const (
	settled sentState = iota // nothing is expected of it
	flying                   // an acknowledgement is expected
	lost                     // it counts as lost; an acknowledgement would show that it was not
)

// sentItem is one thing that a packet carried: a small message, a part of a long one, or a control frame.
type sentItem struct {
	out    *outMessage // nil: a control frame
	epoch  uint32      // of out: another life's item means nothing
	offset uint32      // of the part; of a control frame the call
	length uint32      // of the part; of a control frame the message's number
	kind   wire.FrameType
}

// sentLog remembers the packets from base to next, and what they carried, in rings that grow when they have to.
type sentLog struct {
	ring       []sentPacket
	items      []sentItem
	base, next uint64
	nextItem   uint32
	open       uint32 // first item of the packet that is being built
	flying     int    // packets of which an acknowledgement is expected
	timed      int    // of these, those that the probe timeout waits for
}

const (
	sentRingMin = 8
	sentRingMax = 2048
)

func (l *sentLog) at(n uint64) *sentPacket { return &l.ring[n&uint64(len(l.ring)-1)] }

func (l *sentLog) item(i uint32) *sentItem { return &l.items[i&uint32(len(l.items)-1)] }

// firstItem is the oldest item that is still remembered.
func (l *sentLog) firstItem() uint32 {
	if l.base == l.next {
		return l.open
	}
	return l.at(l.base).first
}

// carry adds an item to the packet that push comes for next. The pointer holds until the next call.
func (l *sentLog) carry() *sentItem {
	if n := l.nextItem - l.firstItem(); n == uint32(len(l.items)) {
		ring := make([]sentItem, max(2*n, sentRingMin))
		for i := l.firstItem(); i != l.nextItem; i++ {
			ring[i&uint32(len(ring)-1)] = *l.item(i)
		}
		l.items = ring
	}
	l.nextItem++
	return l.item(l.nextItem - 1)
}

// push gives a packet its number. What it carried was noted by items calls of carry.
func (l *sentLog) push(c *Conn, at transport.Time, bytes, items int, flies, timed bool) uint64 {
	if l.next-l.base == uint64(len(l.ring)) {
		if len(l.ring) < sentRingMax {
			l.grow()
		} else { // one that is older than any acknowledgement can tell
			if p := l.at(l.base); p.state == flying {
				c.lose(p)
			}
			l.base++
		}
	}
	n := l.next
	p := l.at(n)
	p.at, p.first, p.items, p.bytes, p.state, p.timed = at, l.open, uint16(items), uint16(bytes), settled, false
	l.open = l.nextItem
	l.next++
	if flies {
		p.state = flying
		l.flying++
		if timed {
			p.timed = true
			l.timed++
		}
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

// trim forgets the packets of which nothing is expected. One that counts as lost is remembered for as long as an acknowledgement may still
// come: until the peer's bitmap, from top down, cannot tell of it any more.
func (l *sentLog) trim(top uint64) {
	for l.base < l.next {
		switch p := l.at(l.base); {
		case p.state == flying, p.state == lost && top <= l.base+ackBits:
			return
		}
		l.base++
	}
}

// land ends a packet's flight.
func (l *sentLog) land(p *sentPacket, s sentState) {
	l.flying--
	if p.timed {
		l.timed--
	}
	p.state = s
}

// ackBits is how many packets below the largest an acknowledgement tells of.
const ackBits = 64
