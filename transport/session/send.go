package session

import (
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// packet is the data packet that is being built. An endpoint has one, because it builds one at a time.
type packet struct {
	id    int32 // its frame
	data  []byte
	n     int // bytes so far
	items int
	flies bool // an acknowledgement is asked for
	timed bool // and missed after the probe timeout
	full  bool // behind it in its frame is a message that is still to be sent
}

// So many small messages share a packet at most, and so many small packets may be on their way beyond the window: a call does not wait
// until a long message has made room.
const (
	packetItems = 64
	smallExtra  = 16
)

// transmit builds one packet. It returns whether more waits to be sent.
func (c *Conn) transmit(now transport.Time) (more bool) {
	if c.state != established {
		if c.state == connecting {
			c.sendHello(now)
		}
		return false
	}
	if c.away {
		return false
	}
	p := &c.e.packet
	p.id, p.n, p.items, p.flies, p.timed, p.full = noFrame, wire.DataHeaderBytes, 0, false, c.client, false
	switch {
	case c.wantPing: // apart: a message that is not taken must not take the ping with it
	case c.smalls.head != nil && c.maySmall():
		if !c.putSmalls(now, p) {
			return true
		}
	case len(c.longs) > 0 && c.mayLong(now):
		if o := c.choose(); o != nil && !c.putLong(now, p, o) {
			return true
		}
	}
	if (len(c.controls) > 0 || c.wantPing) && !p.full && !c.putControls(p) {
		return true
	}
	if p.id == noFrame {
		if !c.ackNow {
			return c.waits() && c.more(now) // of the message that was chosen, all has arrived after all
		}
		if p.id, p.data = c.e.alloc(); p.id == noFrame {
			return true
		}
	}
	c.finish(now, p, &c.path)
	return c.waits() && c.more(now)
}

// waits tells whether there is anything to send, whether it may go or not.
func (c *Conn) waits() bool {
	return c.ackNow || c.wantPing || c.smalls.head != nil || len(c.longs) > 0 || len(c.controls) > 0
}

// more tells whether something may be sent.
func (c *Conn) more(now transport.Time) bool {
	return c.ackNow || c.wantPing || len(c.controls) > 0 || c.smalls.head != nil && c.maySmall() ||
		len(c.longs) > 0 && c.mayLong(now) && c.choose() != nil
}

// maySmall tells whether small messages may go: the window does not hold the first of them back.
func (c *Conn) maySmall() bool {
	if c.sent.flying >= c.cwnd+smallExtra {
		c.blocked = true
		return false
	}
	return true
}

// mayLong tells whether the window has room for a part of a long message. Below a window of one packet, they go by time.
func (c *Conn) mayLong(now transport.Time) bool {
	if c.sent.flying >= c.cwnd {
		c.blocked = true
		return false
	}
	if c.paceAt > now {
		c.e.wheel.arm(&c.timer, c.paceAt)
		c.blocked = true
		return false
	}
	return true
}

// putSmalls puts the small messages that wait into p, as many as fit. The first stays where it was built, unless that frame is in the
// device's hands or in another message's use; the others move into its frame.
func (c *Conn) putSmalls(now transport.Time, p *packet) bool {
	e, o := c.e, c.smalls.head
	if b := o.frame; b == noFrame || o.at != wire.Overhead || !e.bufs[b].fresh && (e.bufs[b].flight || e.bufs[b].refs > 1) {
		id, data := e.alloc()
		if id == noFrame {
			return false
		}
		copy(data[wire.Overhead:], e.bytesOf(o))
		e.dropOut(o)
		o.frame, o.at, o.data = id, wire.Overhead, nil
		e.count(id)
	}
	p.id, p.data = o.frame, e.bufs[o.frame].data
	if p.id == c.gathering {
		c.gathering = noFrame
	}
	limit := c.packetBytes - wire.TagBytes
	for {
		c.smalls.pop()
		c.putHeader(now, p.data[p.n:], o, int(o.total))
		p.n += wire.FrameHeaderBytes + int(o.total)
		it := c.sent.carry()
		it.out, it.epoch, it.offset, it.length = o, o.epoch, 0, 0
		p.items++
		p.flies, p.timed = true, p.timed || o.kind != wire.Reply
		o.sentOnce = true
		o = c.smalls.head
		if o == nil || p.n+wire.FrameHeaderBytes+int(o.total) > limit || p.items == packetItems {
			p.full = int(e.bufs[p.id].refs) > p.items
			return true
		}
		at := p.n + wire.FrameHeaderBytes
		if o.frame == p.id && int(o.at) == at {
			continue // it has been gathered there
		}
		copy(p.data[at:], e.bytesOf(o))
		e.dropOut(o)
		o.frame, o.at, o.data = p.id, uint16(at), nil
		e.bufs[p.id].refs++
	}
}

// putHeader writes the header of the frame that holds n bytes of a message, from its beginning on.
func (c *Conn) putHeader(now transport.Time, b []byte, o *outMessage, n int) {
	fr := wire.Frame{Type: o.kind, Call: o.call.id}
	o.describe(now, &fr)
	fr.Put(b, n)
}

// describe fills in what a message's first frame says beside the message.
func (o *outMessage) describe(now transport.Time, fr *wire.Frame) {
	k := o.call
	switch o.kind {
	case wire.Request:
		fr.A, fr.Flags = k.method, k.flags&(wire.FlagStream|wire.FlagMetadata)
		if k.deadline != 0 {
			fr.B = uint32(min(max(k.deadline.Sub(now).Microseconds(), 1), 1<<32-1))
		}
	case wire.Reply:
		fr.A, fr.Flags = uint32(k.code), k.flags
		if k.stream != nil {
			fr.B = k.stream.begun
		}
	default: // Message, End
		if fr.A = o.number; o.header {
			fr.Flags = wire.FlagMetadata
		}
	}
}

// putLong puts the next part of a long message into p.
func (c *Conn) putLong(now transport.Time, p *packet, o *outMessage) bool {
	if p.id, p.data = c.e.alloc(); p.id == noFrame {
		return false
	}
	resend := len(o.long.lost) > 0
	x := c.cut(o, c.exposable(o))
	fr := wire.Frame{Type: o.kind, Call: o.call.id}
	remote := int(x.hi-x.lo) > c.partBytes(x.lo, o)
	if x.lo == x.hi || remote && !c.putRemote(p, o, x, &fr) { // what was lost has arrived after all
		c.e.drop(p.id)
		p.id = noFrame
		return true
	}
	if resend {
		c.e.stats.Retransmitted++
	}
	c.turn++
	c.e.parts++
	if !remote {
		o.describe(now, &fr)
		p.n += c.putPart(p.data[p.n:], o, x, &fr)
		it := c.sent.carry()
		it.out, it.epoch, it.offset, it.length = o, o.epoch, x.lo, x.hi-x.lo
	}
	p.items++
	p.flies, p.timed = true, p.timed || o.kind != wire.Reply
	o.sentOnce = true
	return true
}

// finish completes the packet in p: number, acknowledgement, stamp, checksum; and hands it to the link's burst.
func (c *Conn) finish(now transport.Time, p *packet, path *transport.Path) {
	e := c.e
	held := e.bufs[p.id].holder == sending
	h := wire.DataHeader{Session: c.remoteID, Stamp: micros(now)}
	h.Number = uint32(c.sent.push(c, now, p.n, p.items, p.flies, p.timed))
	if c.window.any {
		h.Flags = wire.FlagAck
		h.AckLargest, h.AckBits = uint32(c.window.largest), c.window.bits
		h.AckDelay = uint16(min(uint64(max(now-c.window.at, 0))/1000, 1<<16-1))
		if c.marked {
			h.Flags |= wire.FlagCE
			c.marked = false
		}
	}
	if p.flies {
		if c.sent.flying >= c.cwnd || (!c.client || e.caps.Reliable) && e.crowded() {
			h.Flags |= wire.FlagAckNow
		}
		if c.sent.flying == 1 && (c.ptoCount == 0 || now.Sub(c.elicitAt) > 2*e.cfg.Heartbeat) { // and what flew before was not just lost to a timeout
			c.ackedAt = now
		}
		if c.gap > 0 {
			c.paceAt = now.Add(c.gap)
		}
		if p.timed {
			c.elicitAt = now
			if !c.timer.linked || c.timer.at > now.Add(e.cfg.MinPTO) { // else it looks in time, whatever the timeout is
				e.wheel.arm(&c.timer, now.Add(c.ptoDelay()))
			}
		}
	}
	c.ackNow, c.ackAt, c.unacked = false, 0, 0
	data := p.data[:p.n+wire.ChecksumBytes]
	h.Put(data)
	if e.caps.Reliable {
		clear(data[p.n:])
	} else {
		wire.Sum(data)
	}
	e.queue(p.id, len(data), path)
	if !held { // no message stands in it: it is free once it has been sent
		e.drop(p.id)
	}
}

// crowded tells whether replies that are kept until they are acknowledged take up much of the frames or of the records: with many sessions, of
// which each calls now and then, clients that put their acknowledgements off would bring the server to a halt. Over a reliable
// link either end puts them off.
func (e *Endpoint) crowded() bool {
	return 2*e.outHeld > e.outLimit || 2*e.calls.held > e.calls.limit
}

// micros is a send stamp.
func micros(t transport.Time) uint32 { return uint32(uint64(t) / 1000) }
