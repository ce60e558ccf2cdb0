package session

import (
	"encoding/binary"
	"slices"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// outMessage is a message on its way out: a call's request or reply, one message of a stream, or a stream's end. A small one travels in one
// packet, with others if they wait for the same peer, and stays in its frame until it is acknowledged. A long one is cut from data.
type outMessage struct {
	call     *Call
	next     *outMessage // in the session's queue of small ones, its stream, or the pool
	long     *outLong    // nil: small
	data     []byte      // long, or small without a frame
	frame    int32       // noFrame, or where a small one stands
	at       uint16      // where its bytes begin in frame
	kind     wire.FrameType
	queued   bool // waits in the session's small or long queue
	sentOnce bool // some of it was sent
	header   bool // Message: the server's header
	number   uint32
	total    uint32
	epoch    uint32 // counts the lives of this record, so that the log of sent packets recognises an earlier one
}

// outLong is what a message needs that travels in parts.
type outLong struct {
	next    uint32 // first byte that was never sent
	granted uint32 // the receiver takes the bytes before it
	acked   spans
	lost    spans          // to send again
	remote  bool           // the receiver would fetch parts
	since   transport.Time // of the last progress; 0: the time does not count yet

	inPackets bool // a part could not be exposed, or not be fetched: no more are
}

// small tells whether n bytes travel in one packet.
func (c *Conn) small(n uint32) bool { return int(n) <= c.SmallMessage() }

// submit queues a message whose total, and frame or data, are set.
func (c *Conn) submit(o *outMessage) {
	if !c.small(o.total) {
		c.lengthen(o)
		c.soon(1) // at the next tick its time begins to count
	} else {
		c.gather(o)
	}
	c.queue(o)
	c.enqueue()
}

// lengthen makes a message travel in parts. What was built in a frame, for a larger packet than the path turned out to take, moves out.
func (c *Conn) lengthen(o *outMessage) {
	if o.frame != noFrame {
		o.data = slices.Clone(c.e.bytesOf(o))
		c.e.dropOut(o)
	}
	// The first part needs no credit; the receiver grants the rest when it has seen it.
	o.long = &outLong{granted: min(uint32(c.partBytes(0, o)), o.total)}
}

// gather moves a small message into the frame of those that wait already, if that has room, so that its own is free for the next one at once.
// Otherwise its own takes the next.
func (c *Conn) gather(o *outMessage) {
	e := c.e
	if o.frame == noFrame {
		c.gathering = noFrame // those in there stay neighbours in the queue
		return
	}
	if at := c.openEnd + wire.FrameHeaderBytes; c.gathering != noFrame && at+int(o.total) <= c.packetBytes-wire.TagBytes {
		copy(e.bufs[c.gathering].data[at:], e.bytesOf(o))
		e.drop(o.frame)
		o.frame, o.at = c.gathering, uint16(at)
		e.bufs[c.gathering].refs++
		c.openEnd = at + int(o.total)
		return
	}
	c.gathering, c.openEnd = o.frame, wire.Overhead+int(o.total)
}

// queue makes a message wait for its packets.
func (c *Conn) queue(o *outMessage) {
	if o.queued {
		return
	}
	o.queued = true
	if o.long != nil {
		c.longs = append(c.longs, o)
	} else {
		c.smalls.push(o)
	}
}

// requeue makes a small message that was lost go before those that were never sent.
func (c *Conn) requeue(o *outMessage) {
	if o.queued {
		return
	}
	if !c.small(o.total) { // the path carries less now
		c.lengthen(o)
		c.queue(o)
		return
	}
	o.queued = true
	c.smalls.pushFront(o)
}

// again sends a message once more that the peer misses. What is still under way of it counts no more.
func (c *Conn) again(o *outMessage) {
	o.epoch++
	c.e.stats.Retransmitted++
	if l := o.long; l != nil {
		l.lost = spans{{0, l.next}}
		c.enqueue()
	} else {
		c.requeue(o)
		c.enqueue()
	}
}

// unqueue takes a message out of its queue.
func (c *Conn) unqueue(o *outMessage) {
	switch {
	case !o.queued:
	case o.long != nil:
		c.longs = slices.DeleteFunc(c.longs, func(x *outMessage) bool { return x == o })
		if c.chosen == o {
			c.chosen = nil
		}
		o.queued = false
	default:
		c.smalls.remove(o)
	}
}

// bytesOf is a small message's bytes.
func (e *Endpoint) bytesOf(o *outMessage) []byte {
	if o.frame == noFrame {
		return o.data
	}
	return e.bufs[o.frame].data[o.at : uint32(o.at)+o.total]
}

// dropOut gives up the frame that a message stands in.
func (e *Endpoint) dropOut(o *outMessage) {
	if o.frame != noFrame {
		if c := o.call.conn; c.gathering == o.frame { // this may have been the last in there
			c.gathering = noFrame
		}
		e.drop(o.frame)
		o.frame = noFrame
	}
}

// retract ends a message: nothing of it is sent any more, and what was sent means nothing.
func (c *Conn) retract(o *outMessage) {
	if o.queued {
		c.unqueue(o)
	}
	c.e.dropOut(o)
	o.epoch++
	if o.data != nil {
		o.data, o.long = nil, nil
	}
}

// partBytes is how many bytes of a long message the next packet takes, beginning at offset.
func (c *Conn) partBytes(offset uint32, o *outMessage) int {
	n := c.SmallMessage()
	if offset == 0 {
		return n - wire.TotalBytes
	}
	if o.kind == wire.Message {
		return n - wire.NumberBytes
	}
	return n
}

// sendable tells whether a part of a long message may be sent now.
func (o *outMessage) sendable() bool {
	l := o.long
	if o.rejected() && o.number != o.call.stream.oldest {
		return false // the receiver needs its room for those ahead of it
	}
	return len(l.lost) > 0 || l.next < min(l.granted, o.total)
}

// rejected tells whether the beginning of a stream's long message has to be sent again: if not for a loss, the receiver had no room for it.
func (o *outMessage) rejected() bool {
	l := o.long
	return o.kind == wire.Message && len(l.lost) > 0 && len(l.acked) == 0 && l.granted <= l.next
}

// remaining is how much of a long message was never sent, or is lost. One that was rejected comes after all others: these may hold the room
// that it needs.
func (o *outMessage) remaining() uint64 {
	n := uint64(o.total - o.long.next)
	if o.rejected() {
		n += 1 << 32
	}
	for _, x := range o.long.lost {
		n += uint64(x.hi - x.lo)
	}
	return n
}

// How a session chooses between its long messages: after so many packets of one it looks again, and every so often the oldest goes instead
// of the one with the least left, so that no message waits for ever (Homa, SIGCOMM 2018, section 5.1, gives the oldest 5 to 10 %).
const (
	longTurn   = 8
	oldestTurn = 8
)

// choose picks the long message of which a part is to be sent next; nil when none may be. Of a stream only the first one counts: its reader
// can do nothing with the others before that.
func (c *Conn) choose() *outMessage {
	if c.chosen != nil && c.turn%longTurn != 0 && c.chosen.sendable() {
		return c.chosen
	}
	c.chosen = nil
	c.looks++
	oldest := c.turn/longTurn%oldestTurn == oldestTurn-1
	for _, o := range c.longs {
		if !o.sendable() || o.kind == wire.Message && o.call.stream.looked == c.looks {
			continue
		}
		if o.kind == wire.Message {
			o.call.stream.looked = c.looks
		}
		if c.chosen == nil || o.remaining() < c.chosen.remaining() {
			c.chosen = o
		}
		if oldest {
			break
		}
	}
	return c.chosen
}

// cut takes the next part to send off a long message: what fits into a packet, or as much as may be exposed.
func (c *Conn) cut(o *outMessage, exposable int) span {
	l := o.long
	for len(l.lost) > 0 {
		lo := l.lost[0].lo
		x := l.lost.take(uint32(max(c.partBytes(lo, o), exposable)))
		if gap, missing := l.acked.gap(x.lo, x.hi); missing { // it may have arrived after all
			if gap.hi < x.hi {
				l.lost.add(gap.hi, x.hi)
			}
			return gap
		}
	}
	lo := l.next
	l.next = min(lo+uint32(max(c.partBytes(lo, o), exposable)), l.granted, o.total)
	return span{lo, l.next}
}

// putPart writes a part of a long message, frame header included, to b and returns the length.
func (c *Conn) putPart(b []byte, o *outMessage, x span, fr *wire.Frame) int {
	n := wire.FrameHeaderBytes
	switch {
	case x.lo == 0:
		fr.Flags |= wire.FlagMore
		binary.LittleEndian.PutUint32(b[n:], o.total)
		n += wire.TotalBytes
	case o.kind == wire.Message:
		fr.Type, fr.Flags, fr.A, fr.B = wire.Fragment, wire.FlagStream, x.lo, o.total
		binary.LittleEndian.PutUint32(b[n:], o.number)
		n += wire.NumberBytes
	default:
		fr.Type, fr.Flags, fr.A, fr.B = wire.Fragment, 0, x.lo, o.total
	}
	n += copy(b[n:], o.data[x.lo:x.hi])
	fr.Put(b, n-wire.FrameHeaderBytes)
	return n
}

// outQueue is a list of small messages, each in it at most once.
type outQueue struct{ head, tail *outMessage }

func (q *outQueue) push(o *outMessage) {
	o.next = nil
	if q.tail == nil {
		q.head = o
	} else {
		q.tail.next = o
	}
	q.tail = o
}

func (q *outQueue) pushFront(o *outMessage) {
	o.next = q.head
	q.head = o
	if q.tail == nil {
		q.tail = o
	}
}

func (q *outQueue) pop() *outMessage {
	o := q.head
	q.head = o.next
	if q.head == nil {
		q.tail = nil
	}
	o.next, o.queued = nil, false
	return o
}

func (q *outQueue) remove(o *outMessage) {
	var prev *outMessage
	for x := q.head; x != o; x = x.next {
		prev = x
	}
	if prev == nil {
		q.pop()
		return
	}
	prev.next = o.next
	if q.tail == o {
		q.tail = prev
	}
	o.next, o.queued = nil, false
}
