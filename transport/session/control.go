package session

import (
	"github.com/fastrpc/fastrpc/transport/wire"
)

// control is a frame without a message that waits to be sent. What it says is looked up when it is.
type control struct {
	kind   wire.FrameType
	call   uint32
	number uint32 // of a stream's message, or unary
}

// maxControls bounds what waits of hints: probes, and cancels of unary calls. A probe too many is sent at its next turn.
const maxControls = 64

// control queues a frame that has to be sent.
func (c *Conn) control(kind wire.FrameType, call, number uint32) {
	c.controls = append(c.controls, control{kind, call, number})
	c.enqueue()
}

// hint queues a frame that nothing depends on, unless too many wait.
func (c *Conn) hint(kind wire.FrameType, call uint32) {
	if len(c.controls) < maxControls {
		c.control(kind, call, 0)
	}
}

// putControls puts the control frames that wait into p, as many as fit; false when there is no free frame.
func (c *Conn) putControls(p *packet) bool {
	room := c.packetBytes - wire.TagBytes
	if p.n+wire.FrameHeaderBytes > room {
		return true // in the next packet
	}
	if p.id == noFrame {
		if p.id, p.data = c.e.alloc(); p.id == noFrame {
			return false
		}
	}
	if c.wantPing {
		c.wantPing = false
		p.timed = true // else a peer that acknowledges nothing would fill the window with them
		c.putControl(p, wire.Frame{Type: wire.Ping})
	}
	sent := 0
	for _, x := range c.controls {
		if p.n+wire.FrameHeaderBytes > room || p.items == packetItems {
			break
		}
		sent++
		fr := wire.Frame{Type: x.kind, Call: x.call}
		if !c.fill(&fr, x.number) {
			continue // it has nothing to say any more
		}
		it := c.sent.carry()
		it.out, it.kind, it.offset, it.length = nil, x.kind, x.call, x.number
		p.items++
		c.putControl(p, fr)
	}
	c.controls = c.controls[:copy(c.controls, c.controls[sent:])]
	if p.n == wire.DataHeaderBytes && !c.ackNow { // nothing had anything to say
		c.e.drop(p.id)
		p.id = noFrame
	}
	return true
}

func (c *Conn) putControl(p *packet, fr wire.Frame) {
	fr.Put(p.data[p.n:], 0)
	p.n += wire.FrameHeaderBytes
	p.flies = true
}

// fill looks up what a control frame says; false when that is nothing any more.
func (c *Conn) fill(fr *wire.Frame, number uint32) bool {
	switch fr.Type {
	case wire.Grant:
		switch l := c.incoming(fr.Call, number); {
		case l != nil:
			l.due = false
			fr.A = l.granted
		case c.has(fr.Call, number):
			fr.A = 1<<32 - 1
		default:
			return false
		}
		if number != unary {
			fr.B, fr.Flags = number, wire.FlagStream
		}
		if l := c.incoming(fr.Call, number); l != nil && l.remote {
			fr.Flags |= wire.FlagRemote
		}
		c.e.packet.timed = true
	case wire.Window:
		k := c.callOf(fr.Call)
		if k == nil || k.stream == nil {
			return false
		}
		k.stream.windowDue = false
		fr.A = k.stream.window
		c.e.packet.timed = true
	case wire.Cancel:
		fr.A = max(number, uint32(Canceled))
		c.e.packet.timed = true
	case wire.Probe:
		c.e.stats.Probes++
	case wire.Fetched:
		fr.Call, fr.A, fr.B = 0, fr.Call, number
		c.e.packet.timed = true
	case wire.Response:
		fr.A, fr.B = uint32(c.challenged), uint32(c.challenged>>32)
	}
	return true
}

// controlLost sends again what the peer cannot do without.
func (c *Conn) controlLost(it *sentItem) {
	switch it.kind {
	case wire.Grant:
		if l := c.incoming(it.offset, it.length); l == nil {
			c.grantAll(it.offset, it.length)
		} else if !l.due {
			l.due = true
			c.control(wire.Grant, it.offset, it.length)
		}
	case wire.Window:
		if k := c.callOf(it.offset); k != nil && k.stream != nil && !k.stream.windowDue {
			k.stream.windowDue = true
			c.control(wire.Window, it.offset, 0)
		}
	case wire.Fragment: // of which the part lies in this end's memory
		c.pieceLost(it.offset)
	case wire.Fetched:
		c.control(wire.Fetched, it.offset, it.length)
	case wire.Cancel:
		if c.over(it.offset) { // else the slot's next call has said the same
			c.hint(wire.Cancel, it.offset)
		}
	}
}

// over tells whether a call is the last of its slot, and has ended here.
func (c *Conn) over(id uint32) bool {
	index := wire.SlotOf(id)
	if int(index) >= len(c.slots) {
		return false
	}
	s := &c.slots[index]
	return s.call == nil && s.seq == wire.SeqOf(id) && (c.client || s.used)
}

// callOf finds the call of a number that is in its slot at this moment.
func (c *Conn) callOf(id uint32) *Call {
	index := wire.SlotOf(id)
	if int(index) >= len(c.slots) {
		return nil
	}
	if k := c.slots[index].call; k != nil && k.id == id {
		return k
	}
	return nil
}

// has tells whether this end has taken a whole message.
func (c *Conn) has(call, number uint32) bool {
	k := c.callOf(call)
	switch {
	case k == nil:
		return false
	case number == unary:
		return k.role == serverCall && k.state != callOpen
	case k.stream == nil || number < k.stream.next:
		return k.stream != nil
	}
	m := k.stream.incoming(number)
	return m != nil && m.whole()
}

// grantAll lets a message come again that this end has: its sender does not know that, and cuts it into parts since the path carries less.
func (c *Conn) grantAll(call, number uint32) {
	if c.has(call, number) && len(c.controls) < maxControls {
		c.control(wire.Grant, call, number)
	}
}

// incoming finds a long message that is not whole yet.
func (c *Conn) incoming(call, number uint32) *inLong {
	k := c.callOf(call)
	if k == nil {
		return nil
	}
	m := &k.in
	if number != unary {
		if k.stream == nil {
			return nil
		}
		m = k.stream.incoming(number)
	}
	if m == nil || m.long == nil || m.long.got == m.long.total {
		return nil
	}
	return m.long
}

// handleGrant takes the receiver's word on how much of a long message it takes.
func (c *Conn) handleGrant(fr *wire.Frame) {
	k := c.callOf(fr.Call)
	if k == nil {
		return
	}
	o := &k.out
	if fr.Flags&wire.FlagStream != 0 {
		if o = nil; k.stream != nil {
			o = k.stream.outgoing(fr.B)
		}
	}
	if o == nil || o.long == nil || fr.A <= o.long.granted {
		return // delivered since, or an older grant
	}
	o.long.granted = min(fr.A, o.total)
	o.long.remote = fr.Flags&wire.FlagRemote != 0 && c.e.fetcher != nil
	c.enqueue()
}

// bits64 joins a frame's A and B.
func bits64(fr *wire.Frame) uint64 { return uint64(fr.A) | uint64(fr.B)<<32 }
