package session

import (
	"encoding/binary"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// outMessage is a message on its way out. A small one was built in its frame and stays there; a larger one is cut from data.
type outMessage struct {
	frame    int32  // noFrame, or where the whole packet is
	due      bool   // a message of one packet has to be sent
	sentOnce bool   // some of it was
	unit     uint32 // bytes a fragment; 0: it fits into one packet
	total    uint32
	next     uint32 // first byte that was never sent
	acked    uint32 // bytes acknowledged, of a message in fragments
	data     []byte
	lost     []uint32 // offsets of fragments to send again
}

// prepare readies a message whose total and frame or data are set.
func (o *outMessage) prepare(c *Conn) {
	if int(o.total) <= c.SmallMessage() {
		o.due = true
		return
	}
	o.unit = uint32(c.fragmentBytes())
	if o.frame != noFrame { // built for a larger packet than the peer turned out to take
		o.data = append([]byte(nil), c.e.bufs[o.frame].data[wire.Overhead:wire.Overhead+int(o.total)]...)
		c.e.dropOut(o)
	}
}

// more tells whether something waits to be sent.
func (o *outMessage) more() bool {
	return o.due || len(o.lost) > 0 || o.unit > 0 && o.next < o.total
}

// again readies a message for being sent once more: the peer misses it.
func (o *outMessage) again(c *Conn, k *Call) {
	c.sent.giveUp(c, k)
	if o.unit == 0 {
		o.due = true
	}
}

// take picks the next fragment to send.
func (o *outMessage) take() (offset uint32) {
	if n := len(o.lost); n > 0 {
		offset, o.lost = o.lost[n-1], o.lost[:n-1]
		return offset
	}
	offset = o.next
	o.next = min(o.next+o.unit, o.total)
	return offset
}

// acknowledge notes that the peer has the packet with the fragment at offset; done when it has all of the message.
func (o *outMessage) acknowledge(offset uint32) (done bool) {
	if o.unit == 0 {
		return true
	}
	o.acked += min(o.unit, o.total-offset)
	return o.acked == o.total
}

// inMessage is a message on its way in. One of a single packet stays in the frame that it came in; the parts of a larger one are put
// together in a buffer.
type inMessage struct {
	frame  int32 // noFrame, or the received frame that body lies in
	opened bool  // the Request or Reply frame has been seen
	last   bool  // the last fragment has been received
	lastAt uint32
	unit   uint32
	got    uint32
	body   []byte
	buf    []byte
	seen   []uint64 // a bit a fragment
}

// errMalformed is the answer to a part that contradicts the others or itself. It never reaches a user.
var errMalformed = &Error{Code: Internal, Reason: "malformed"}

// errRequestBudget refuses a request for want of room.
var errRequestBudget = &Error{Code: ResourceExhausted, Reason: "the request exceeds the server's budget for reassembly (WithReassembly)"}

var errRequestSize = &Error{Code: ResourceExhausted, Reason: "the request exceeds the server's largest message (WithMaxMessage)"}

func (m *inMessage) begun() bool { return m.buf != nil || m.body != nil || m.frame != noFrame }

// receive takes one part. done tells that the message is whole, in body.
func (m *inMessage) receive(c *Conn, f *transport.Frame, fr *wire.Frame) (done bool, err *Error) {
	var offset, total uint32
	switch {
	case fr.Type == wire.Fragment:
		offset, total = fr.A, fr.B
	case fr.Flags&wire.FlagMore != 0:
		var ok bool
		if total, ok = fr.CutTotal(); !ok {
			return false, c.e.malformed()
		}
	default:
		if m.buf != nil {
			return false, c.e.malformed()
		}
		if len(fr.Payload) > int(c.messageBytes) {
			return false, pick(c.client, errReplySize, errRequestSize)
		}
		return m.small(c, f, fr.Payload)
	}
	return m.part(c, fr.Payload, offset, total)
}

// small takes a message of one packet. It stays in its frame unless too many are held already: then it moves out, at the reassembly's cost.
func (m *inMessage) small(c *Conn, f *transport.Frame, p []byte) (done bool, err *Error) {
	e := c.e
	if e.inHeld < e.inLimit {
		m.frame, m.body = int32(f.ID), p
		e.bufs[f.ID].refs++
		e.inHeld++
		return true, nil
	}
	if err := m.reserve(c, uint32(len(p))); err != nil {
		return false, err
	}
	copy(m.buf, p)
	m.body = m.buf
	return true, nil
}

// reserve takes memory for a message outside the link's frames.
func (m *inMessage) reserve(c *Conn, bytes uint32) *Error {
	e := c.e
	if e.reasm+int64(bytes) > e.cfg.Reassembly {
		e.stats.ReassemblyRefused++
		return pick(c.client, errReassembly, errRequestBudget)
	}
	e.reasm += int64(bytes)
	m.buf = make([]byte, bytes)
	return nil
}

// part takes the bytes at offset of a message of total bytes. All parts but the last are of one length, the unit, and begin at its
// multiples: so no two can overlap, and a bit each tells which are there.
func (m *inMessage) part(c *Conn, p []byte, offset, total uint32) (done bool, err *Error) {
	e := c.e
	n := uint32(len(p))
	if n == 0 || offset >= total || n > total-offset || m.buf != nil && total != uint32(len(m.buf)) {
		return false, e.malformed()
	}
	last := offset+n == total
	unit := m.unit
	if !last && unit == 0 {
		unit = n
	}
	switch {
	case last && offset == 0, unit != 0 && (unit < minFragment || offset%unit != 0 || n > unit), !last && n != unit,
		m.last && unit != 0 && (m.lastAt%unit != 0 || total-m.lastAt > unit):
		return false, e.malformed()
	}
	if m.buf == nil {
		if total > c.messageBytes {
			return false, pick(c.client, errReplySize, errRequestSize)
		}
		if err := m.reserve(c, total); err != nil {
			return false, err
		}
	}
	if m.unit == 0 && unit != 0 {
		m.unit = unit
		m.seen = make([]uint64, (total/unit+64)/64)
	}
	if last {
		if m.last {
			return false, nil
		}
		m.last, m.lastAt = true, offset
	} else {
		i := offset / unit
		if m.seen[i/64]&(1<<(i%64)) != 0 {
			return false, nil
		}
		m.seen[i/64] |= 1 << (i % 64)
	}
	copy(m.buf[offset:], p)
	m.got += n
	if m.got < total || !m.opened {
		return false, nil
	}
	m.body = m.buf
	return true, nil
}

func (e *Endpoint) malformed() *Error {
	e.stats.Malformed++
	return errMalformed
}

func pick(cond bool, yes, no *Error) *Error {
	if cond {
		return yes
	}
	return no
}

// buildMessage builds the next packet of k's message in a frame; false when there is no free frame.
func (c *Conn) buildMessage(now transport.Time, k *Call) bool {
	e, o := c.e, &k.out
	fr := wire.Frame{Call: k.id, Flags: k.flags}
	if c.client {
		fr.Type, fr.A = wire.Request, k.method
		if k.deadline != 0 {
			fr.B = uint32(min(max(k.deadline.Sub(now).Microseconds(), 1), 1<<32-1))
		}
	} else {
		fr.Type, fr.A = wire.Reply, uint32(k.code)
	}
	id, extra := o.frame, false
	if id == noFrame || e.bufs[id].flight {
		var data []byte
		if id, data = e.alloc(); id == noFrame {
			return false
		}
		extra = true
		if o.unit == 0 && o.frame != noFrame { // sent again while the first is still in the device's hands
			copy(data[wire.Overhead:], e.bufs[o.frame].data[wire.Overhead:wire.Overhead+int(o.total)])
		} else if o.unit == 0 {
			copy(data[wire.Overhead:], o.data)
		}
	}
	data := e.bufs[id].data
	rec := sentPacket{call: k, epoch: k.epoch, elicits: true}
	n := int(o.total)
	if o.unit == 0 {
		o.due = false
	} else {
		rec.offset = o.take()
		part := o.data[rec.offset:min(rec.offset+o.unit, o.total)]
		n = len(part)
		if rec.offset == 0 {
			fr.Flags |= wire.FlagMore
			binary.LittleEndian.PutUint32(data[wire.Overhead:], o.total)
			copy(data[wire.Overhead+wire.TotalBytes:], part)
			n += wire.TotalBytes
		} else {
			fr.Type, fr.A, fr.B = wire.Fragment, rec.offset, o.total
			copy(data[wire.Overhead:], part)
		}
	}
	fr.Put(data[wire.DataHeaderBytes:], n)
	if o.sentOnce && o.unit == 0 {
		e.stats.Retransmitted++
	}
	o.sentOnce = true
	c.finish(now, id, wire.Overhead+n, rec)
	if extra {
		e.drop(id)
	}
	return true
}
