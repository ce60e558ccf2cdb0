package session

import (
	"iter"
	"slices"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// inMessage is a message on its way in. A small one stays in the frame that it came in. Of a long one the parts stay in theirs as long as
// it is of a few packets, and are else put together in a buffer.
type inMessage struct {
	frame int32  // noFrame, or the received frame that body lies in
	body  []byte // the whole message, once it is there and in one piece
	long  *inLong
}

// inLong is a message that comes in parts.
type inLong struct {
	call    *Call
	number  uint32 // of a stream's message, or unary
	total   uint32
	got     uint32
	granted uint32 // what the sender may send: never above the total
	have    spans
	buf     []byte  // nil while the parts are gathered
	pieces  []piece // in their frames, in order
	gather  bool
	remote  bool           // buf is the link's, and parts may be fetched
	given   bool           // nobody wants the message any more, while parts are being fetched
	due     bool           // a Grant has to be sent
	fresh   bool           // it had no credit and has some since the last sweep
	at      transport.Time // of the last progress
	prev    *inLong        // in the endpoint's list of messages that are not whole
	next    *inLong

	fetching int // parts that are being fetched
}

// piece is a part that stays in its frame.
type piece struct {
	offset uint32
	frame  int32
	data   []byte
}

// unary stands for a message's number where the message is a call's request or reply; on a stream it is the reply that ends it.
const unary = 1<<32 - 1

// gatherFrames is how many frames a message may hold on to at most: one longer than they hold is copied as it comes.
const gatherFrames = 64

// errMalformed is the answer to a part that contradicts the others or itself. It never reaches a user.
var errMalformed = &Error{Code: Internal, Reason: "malformed"}

// errNoRoom makes a part count as lost: it comes again. It never reaches a user.
var errNoRoom = &Error{Code: Internal, Reason: "no room"}

// errRequestBudget refuses a request for want of room.
var errRequestBudget = &Error{Code: ResourceExhausted, Reason: "the request exceeds the server's budget for reassembly (WithReassembly)"}

var errRequestSize = &Error{Code: ResourceExhausted, Reason: "the request exceeds the server's largest message (WithMaxMessage)"}

// receive takes the first, mostly the only, part of k's message number. done tells that the message is whole.
func (m *inMessage) receive(now transport.Time, k *Call, f *transport.Frame, fr *wire.Frame, number uint32) (done bool, err *Error) {
	c := k.conn
	spare := uint32(0)
	if number != unary && number != k.stream.next { // it waits for others, and must not take the room that they need
		spare = uint32(min(int64(c.messageBytes), c.e.cfg.Reassembly/2))
	}
	if fr.Flags&wire.FlagMore == 0 {
		if len(fr.Payload) > int(c.messageBytes) {
			return false, pick(c.client, errReplySize, errRequestSize)
		}
		return true, m.small(c, f, fr.Payload, spare)
	}
	total, ok := fr.CutTotal()
	switch {
	case !ok || len(fr.Payload) < minPart || uint64(len(fr.Payload)) >= uint64(total):
		return false, c.e.malformed()
	case total > c.messageBytes:
		return false, pick(c.client, errReplySize, errRequestSize)
	}
	if err := c.e.reserve(c, total, spare); err != nil {
		return false, err
	}
	m.long = &inLong{call: k, number: number, total: total, granted: uint32(len(fr.Payload)), at: now}
	if m.long.buf = c.fetchable(total); m.long.buf != nil {
		m.long.remote = true
	} else {
		m.long.gather = int64(total) <= gatherFrames*int64(len(fr.Payload))
	}
	c.e.credit.enter(c, m.long)
	return m.part(now, c, f, fr.Payload, 0, total)
}

// small takes a message of one packet. It stays in its frame unless too many are held already: then it moves out, at the reassembly's cost.
func (m *inMessage) small(c *Conn, f *transport.Frame, p []byte, spare uint32) *Error {
	if c.e.holdReceived(f.ID) {
		m.frame, m.body = int32(f.ID), p
		return nil
	}
	if err := c.e.reserve(c, uint32(len(p)), spare); err != nil {
		return err
	}
	m.body = slices.Clone(p)
	return nil
}

// reserve takes memory for a message outside the link's frames off the budget, if so much is to spare afterwards.
func (e *Endpoint) reserve(c *Conn, bytes, spare uint32) *Error {
	need := int64(bytes) + int64(spare)
	if e.reasm+need > e.cfg.Reassembly && e.cfg.Reclaim != nil {
		e.cfg.Reclaim()
	}
	if e.reasm+need > e.cfg.Reassembly {
		e.stats.ReassemblyRefused++
		return pick(c.client, errReassembly, errRequestBudget)
	}
	e.reasm += int64(bytes)
	return nil
}

// part takes the bytes at offset of a message of total bytes; those that were received before are not taken again.
func (m *inMessage) part(now transport.Time, c *Conn, f *transport.Frame, p []byte, offset, total uint32) (done bool, err *Error) {
	l, e := m.long, c.e
	if l == nil || l.got == l.total {
		e.stats.Duplicates++
		return false, nil
	}
	n := uint32(len(p))
	if total != l.total || n == 0 || offset >= total || n > total-offset || offset+n > l.granted {
		return false, e.malformed()
	}
	fresh := uint32(0)
	for {
		x, missing := l.have.gap(offset, offset+n)
		if !missing {
			break
		}
		if !m.keep(c, f, p[x.lo-offset:x.hi-offset], x.lo) || !l.have.add(x.lo, x.hi) {
			e.stats.NoFrame++
			return false, errNoRoom
		}
		fresh += x.hi - x.lo
	}
	if fresh == 0 {
		e.stats.Duplicates++
		return false, nil
	}
	l.got += fresh
	l.at = now
	e.credit.taken(c, int64(fresh))
	if l.got < l.total {
		e.credit.grant(c)
		return false, nil
	}
	e.credit.leave(c, l)
	m.body = l.buf
	return m.whole(), nil
}

// keep takes over a part's bytes: by holding on to their frame, or by copying them.
func (m *inMessage) keep(c *Conn, f *transport.Frame, p []byte, at uint32) bool {
	l := m.long
	if l.gather {
		if len(l.pieces) < 2*gatherFrames && c.e.holdReceived(f.ID) {
			i, _ := slices.BinarySearchFunc(l.pieces, at, func(x piece, at uint32) int { return int(int64(x.offset) - int64(at)) })
			l.pieces = slices.Insert(l.pieces, i, piece{at, int32(f.ID), p})
			return true
		}
		m.assemble()
		for _, x := range l.pieces {
			c.e.drop(x.frame)
		}
		l.pieces = nil
	}
	if l.buf == nil {
		l.buf = c.e.buffers.take(l.total)
	}
	copy(l.buf[at:], p)
	return true
}

// assemble copies what was gathered into one piece.
func (m *inMessage) assemble() {
	l := m.long
	l.buf, l.gather = make([]byte, l.total), false
	for _, x := range l.pieces {
		copy(l.buf[x.offset:], x.data)
	}
}

// contiguous returns the whole message in one piece. Its reader calls it, from whichever goroutine has the message.
func (m *inMessage) contiguous() []byte {
	if m.long != nil && m.long.gather && m.long.got == m.long.total {
		m.assemble()
		m.body = m.long.buf
	}
	return m.body
}

// frames yields the message's bytes in order, as they lie in memory.
func (m *inMessage) frames() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if m.long == nil || !m.long.gather {
			if len(m.body) > 0 {
				yield(m.body)
			}
			return
		}
		for _, x := range m.long.pieces {
			if !yield(x.data) {
				return
			}
		}
	}
}

// release gives back what the message holds.
func (m *inMessage) release(c *Conn) {
	switch {
	case m.frame != noFrame:
		c.e.drop(m.frame)
		m.frame, m.body = noFrame, nil
	case m.body != nil || m.long != nil:
		m.free(c)
	}
}

// free gives back a message that lies outside the frame that it came in.
func (m *inMessage) free(c *Conn) {
	e := c.e
	if l := m.long; l == nil {
		e.reasm -= int64(len(m.body))
	} else {
		if l.got < l.total {
			e.credit.leave(c, l)
		}
		for _, x := range l.pieces {
			e.drop(x.frame)
		}
		switch {
		case l.fetching > 0:
			l.given = true
		case l.remote:
			e.giveMemory(l)
		default:
			e.reasm -= int64(l.total)
			e.buffers.put(l.buf)
		}
		if !e.sweep.linked && len(e.buffers) > 0 {
			e.sweepIn(l.at)
		}
	}
	m.body, m.long = nil, nil
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
