package session

import (
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// blackHole finds out that a path swallows large packets without a word (RFC 4821 calls it a black hole): so many of them in a row are lost
// while small ones arrive.
type blackHole struct {
	largeLost uint8
	top       uint64 // the largest packet number that was acknowledged when the first of these was lost
}

const holeLosses = 6 // at a loss of one in ten, a false alarm in a million

// packetAcked takes note of a packet that arrived.
func (c *Conn) packetAcked(bytes int) {
	if bytes > c.smallerBytes {
		c.hole = blackHole{}
	}
}

// packetLost takes note of one that did not, and steps down when it is time to: what has been acknowledged since the first large one was lost
// was small, a bare acknowledgement perhaps.
func (c *Conn) packetLost(bytes int) {
	if bytes <= c.smallerBytes {
		return
	}
	if c.hole.largeLost == 0 {
		c.hole.top = c.topAcked
	}
	c.hole.largeLost = min(c.hole.largeLost+1, holeLosses)
	if c.hole.largeLost == holeLosses && c.topAcked > c.hole.top {
		c.stepDown(c.smallerBytes)
	}
}

// Packet sizes to step down to: IPv6 over Ethernet with a tunnel's worth to spare, IPv6's least MTU (RFC 8200, section 5), and the least that
// a session works with.
var packetSteps = [...]int{8952, 4048, 1452, 1392, 1232, minPacketBytes}

func smallerPacket(bytes int) int {
	for _, n := range packetSteps {
		if n < bytes {
			return n
		}
	}
	return minPacketBytes
}

func (c *Conn) setPacketBytes(n int) { c.packetBytes, c.smallerBytes = n, smallerPacket(n) }

// stepDown makes the session's packets shorter. What waits or comes back as lost is cut anew.
func (c *Conn) stepDown(bytes int) {
	c.hole = blackHole{}
	if bytes >= c.packetBytes || bytes < minPacketBytes {
		return
	}
	first := uint32(c.SmallMessage() - wire.TotalBytes)
	c.setPacketBytes(bytes)
	c.e.stats.PathsNarrowed++
	for o := c.smalls.head; o != nil; {
		next := o.next
		if !c.small(o.total) {
			c.smalls.remove(o)
			c.lengthen(o)
			c.queue(o)
		}
		o = next
	}
	for _, o := range c.longs {
		if l := o.long; len(l.acked) == 0 && l.granted <= first { // of which the receiver may not have seen the beginning
			o.epoch++
			l.next, l.lost, l.granted = 0, nil, min(l.granted, uint32(c.partBytes(0, o)))
		}
	}
}

// PacketBytes is the most that the session puts into one packet at this moment.
func (c *Conn) PacketBytes() int { return c.packetBytes }

// setPath takes up a path: nothing is known of it.
func (c *Conn) setPath(p transport.Path) {
	e := c.e
	elsewhere := p.RemoteIP != c.path.RemoteIP || p.RemotePort != c.path.RemotePort
	if elsewhere {
		delete(e.peers, c.key())
		e.leavePeer(c)
	}
	c.path = p
	c.setPacketBytes(min(c.packetBytes, e.packetBytes(&p)))
	c.rtt = rtt{}
	c.cc.reset()
	c.cwnd, c.gap = c.cc.window()
	c.resetThresholds()
	c.hole = blackHole{}
	if elsewhere {
		e.peers[c.key()] = c
		e.joinPeer(c)
	}
}

// Move makes a client's session go on over another path: its own address has changed, or its link found a better way. The server asks for
// proof before it follows.
func (c *Conn) Move(now transport.Time, p transport.Path) {
	if c.state != established || p == c.path {
		return
	}
	if n := c.e.packetBytes(&p); n < c.packetBytes {
		c.stepDown(max(n, minPacketBytes))
	}
	c.setPath(p)
	if c.outstanding > 0 {
		c.watch(now)
	}
	c.wantPing = true
	c.enqueue()
}

// challenge is a server's question to the address that a session's packets come from lately: is the client there?
type challenge struct {
	path  transport.Path
	token uint64
	at    transport.Time
}

// moved looks at a sound packet of the session from another address than its client's: true, when it proves that the client is there. Otherwise
// it is asked to, and the packet counts as lost; so whoever copies a session's packets to another address can neither end nor divert it.
func (c *Conn) moved(now transport.Time, f *transport.Frame, frames []byte) bool {
	c.e.stats.WrongPath++
	x := c.challenge
	same := x != nil && x.path.RemoteIP == f.Path.RemoteIP && x.path.RemotePort == f.Path.RemotePort
	if same && answers(frames, x.token) {
		c.challenge = nil
		c.setPath(f.Path)
		c.e.stats.Migrations++
		c.reconnected()
		return true
	}
	if same && now.Sub(x.at) < c.rtt.pto(c) || !c.e.strays.take(now) {
		return false // the question is under way; or somebody makes this end ask too many
	}
	if !same {
		x = &challenge{path: f.Path, token: c.e.random.Uint64()}
		c.challenge = x
	}
	x.at = now
	p := &c.e.packet
	if p.id, p.data = c.e.alloc(); p.id == noFrame {
		return false
	}
	p.n, p.items, p.flies, p.timed = wire.DataHeaderBytes, 0, false, false
	c.putControl(p, wire.Frame{Type: wire.Challenge, A: uint32(x.token), B: uint32(x.token >> 32)})
	due, at, unacked, marked := c.ackNow, c.ackAt, c.unacked, c.marked
	c.finish(now, p, &x.path)
	c.ackNow, c.ackAt, c.unacked, c.marked = due, at, unacked, marked // the client has not got the acknowledgement
	return false
}

// answers tells whether the frames of a packet hold the Response to a challenge.
func answers(frames []byte, token uint64) bool {
	for len(frames) > 0 {
		var fr wire.Frame
		var ok bool
		if frames, ok = fr.Next(frames); !ok {
			return false
		}
		if fr.Type == wire.Response && bits64(&fr) == token {
			return true
		}
	}
	return false
}

// handleChallenge answers from where this end is now.
func (c *Conn) handleChallenge(fr *wire.Frame) {
	c.challenged = bits64(fr)
	c.hint(wire.Response, 0)
}
