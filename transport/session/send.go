package session

import (
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// Control frames are small and few: so many in a packet, and so many of a kind that wait. A probe too many is sent at its next turn.
const (
	controlFrames = 32
	maxControls   = 64
)

// transmit builds one packet. It returns whether more waits to be sent.
func (c *Conn) transmit(now transport.Time) (more bool) {
	switch {
	case c.state == connecting:
		c.sendHello(now)
		return false
	case c.state == closed:
		return false
	case c.wantPing || len(c.probes) > 0 || len(c.cancels) > 0:
		if !c.buildControl(now) {
			return true
		}
	case c.mayMessage():
		k := c.sendq.pop()
		built := c.buildMessage(now, k)
		if k.out.more() {
			c.sendq.push(k) // behind the session's other messages
		}
		if !built {
			return true
		}
	case c.ackNow:
		id, _ := c.e.alloc()
		if id == noFrame {
			return true
		}
		c.finish(now, id, wire.DataHeaderBytes, sentPacket{})
		c.e.drop(id)
	}
	return c.wantPing || len(c.probes) > 0 || len(c.cancels) > 0 || c.ackNow || c.mayMessage()
}

func (c *Conn) mayMessage() bool { return c.sendq.head != nil && c.sent.eliciting < c.e.cfg.Window }

// buildControl builds a packet of probes, cancels and a ping; false when there is no free frame.
func (c *Conn) buildControl(now transport.Time) bool {
	id, data := c.e.alloc()
	if id == noFrame {
		return false
	}
	n := wire.DataHeaderBytes
	room := min(controlFrames, (c.packetBytes-wire.TagBytes-n)/wire.FrameHeaderBytes)
	put := func(t wire.FrameType, call uint32) {
		fr := wire.Frame{Type: t, Call: call}
		fr.Put(data[n:], 0)
		n += wire.FrameHeaderBytes
		room--
	}
	if c.wantPing {
		put(wire.Ping, 0)
		c.wantPing = false
	}
	for ; len(c.cancels) > 0 && room > 0; c.cancels = c.cancels[:len(c.cancels)-1] {
		put(wire.Cancel, c.cancels[len(c.cancels)-1])
	}
	for ; len(c.probes) > 0 && room > 0; c.probes = c.probes[:len(c.probes)-1] {
		put(wire.Probe, c.probes[len(c.probes)-1])
		c.e.stats.Probes++
	}
	c.finish(now, id, n, sentPacket{elicits: true})
	c.e.drop(id)
	return true
}

// finish completes the packet whose n bytes of frames, header included, stand in frame id: number, acknowledgement, stamp, checksum.
func (c *Conn) finish(now transport.Time, id int32, n int, rec sentPacket) {
	h := wire.DataHeader{Session: c.remoteID, Stamp: micros(now)}
	rec.at = now
	h.Number = uint32(c.sent.push(c, rec))
	if c.window.any {
		h.Flags = wire.FlagAck
		h.AckLargest, h.AckBits = uint32(c.window.largest), c.window.bits
		h.AckDelay = uint16(min(uint64(max(now-c.window.at, 0))/1000, 1<<16-1))
	}
	c.ackNow, c.ackAt, c.unacked = false, 0, 0
	data := c.e.bufs[id].data[:n+wire.ChecksumBytes]
	h.Put(data)
	wire.Sum(data)
	c.e.queue(id, len(data), &c.path)
	if rec.elicits {
		c.elicitAt = now
		if c.client { // the server has no probe timeout
			c.e.wheel.arm(c, now.Add(c.rtt.pto(c)<<c.ptoCount))
		}
	}
}

// micros is a send stamp.
func micros(t transport.Time) uint32 { return uint32(uint64(t) / 1000) }
