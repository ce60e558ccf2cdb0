package session

import (
	"encoding/binary"
	"slices"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// exposure is a part of a long message that lies where its receiver may read it, instead of in packets. It stays there until the receiver has
// said that it reads no more, even if the message has ended meanwhile: a card that is refused what it reads ends the connection.
type exposure struct {
	conn   *Conn
	out    *outMessage
	epoch  uint32 // of out
	span   span
	number uint32 // the piece's, for the receiver
	id     uint32 // the link's
}

// leastPiece is how many packets a part would take that is worth exposing.
const leastPiece = 4

// exposable is how many bytes of a long message's next part may lie in this end's memory; 0: it goes in a packet.
func (c *Conn) exposable(o *outMessage) int {
	l := o.long
	if !l.remote || l.inPackets {
		return 0
	}
	next := span{l.next, min(l.granted, o.total)}
	if len(l.lost) > 0 {
		next = l.lost[0]
	}
	if next.lo == 0 || next.hi < next.lo+uint32(leastPiece*c.packetBytes) {
		return 0
	}
	return c.e.fetcher.Exposable(&c.path)
}

// putRemote exposes a part of a long message, and puts into p where it lies. False: that cannot be, and the part goes in packets.
func (c *Conn) putRemote(p *packet, o *outMessage, x span, fr *wire.Frame) bool {
	e := c.e
	at, ok := e.fetcher.Expose(&c.path, o.data[x.lo:x.hi])
	if !ok {
		o.long.inPackets = true
		o.long.lost.add(x.lo, x.hi)
		return false
	}
	e.pieces++
	e.exposed = append(e.exposed, exposure{conn: c, out: o, epoch: o.epoch, span: x, number: e.pieces, id: at.ID})
	e.stats.Exposed++
	e.parts += int(x.hi-x.lo-1) / c.packetBytes // a burst has as many bytes of long messages as without

	b, n := p.data[p.n:], wire.FrameHeaderBytes
	fr.Type, fr.Flags, fr.A, fr.B = wire.Fragment, wire.FlagRemote, x.lo, o.total
	if o.kind == wire.Message {
		fr.Flags |= wire.FlagStream
		binary.LittleEndian.PutUint32(b[n:], o.number)
		n += wire.NumberBytes
	}
	r := wire.Remote{Length: x.hi - x.lo, Piece: e.pieces, Addr: at.Addr, Key: at.Key}
	r.Put(b[n:])
	n += wire.RemoteBytes
	fr.Put(b, n-wire.FrameHeaderBytes)
	p.n += n

	it := c.sent.carry() // what arrives with the packet is not the part yet
	it.out, it.kind, it.offset, it.length = nil, wire.Fragment, e.pieces, 0
	return true
}

// conceal ends the exposure at an index. The message is nil where it has ended, or its parts were sent again.
func (e *Endpoint) conceal(i int) (o *outMessage, x span) {
	at := e.exposed[i]
	e.exposed = slices.Delete(e.exposed, i, i+1)
	e.fetcher.Withdraw(at.id)
	if at.out.epoch != at.epoch || at.out.long == nil {
		return nil, at.span
	}
	return at.out, at.span
}

// piece finds an exposure by its number; -1: there is none.
func (c *Conn) piece(number uint32) int {
	return slices.IndexFunc(c.e.exposed, func(x exposure) bool { return x.conn == c && x.number == number })
}

// handleFetched takes the receiver's word that it does not read a piece any more: it has it, or wants it in packets.
func (c *Conn) handleFetched(now transport.Time, fr *wire.Frame) {
	i := c.piece(fr.A)
	if i < 0 {
		return // this has come before, or the connection has ended since
	}
	o, x := c.e.conceal(i)
	switch {
	case o == nil:
	case fr.B != 0:
		c.delivered(now, o, x.lo, x.hi-x.lo)
	default:
		o.long.inPackets = true
		o.long.lost.add(x.lo, x.hi)
		c.enqueue()
	}
}

// pieceLost sends a piece again of which the receiver has not heard.
func (c *Conn) pieceLost(number uint32) {
	if i := c.piece(number); i >= 0 {
		if o, x := c.e.conceal(i); o != nil {
			o.long.lost.add(x.lo, x.hi)
		}
	}
}

// concealAll ends the session's exposures: the connection that they were for has ended, or the session. What was not fetched goes again.
func (c *Conn) concealAll() {
	for i := len(c.e.exposed) - 1; i >= 0; i-- {
		if c.e.exposed[i].conn == c {
			if o, x := c.e.conceal(i); o != nil {
				o.long.lost.add(x.lo, x.hi)
				c.enqueue()
			}
		}
	}
}
