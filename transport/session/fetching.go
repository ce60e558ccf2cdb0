package session

import (
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// fetch is a read of a piece of a long message, out of its sender's memory, that is under way.
type fetch struct {
	conn  *Conn
	long  *inLong
	span  span
	piece uint32
}

const (
	// maxFetches are under way at once; further pieces are asked for in packets.
	maxFetches = 256

	// maxFetchFaults reads of a session may fail; then it fetches no more. Each failure has ended a connection, or is the end of one.
	maxFetchFaults = 3
)

// fetchable takes memory for a message of which parts may be fetched; nil where they come in packets.
func (c *Conn) fetchable(total uint32) []byte {
	if e := c.e; e.fetcher == nil || int64(total) < int64(e.caps.FetchLeast) || c.fetchFaults >= maxFetchFaults {
		return nil
	}
	return c.e.fetcher.Memory(int(total))
}

// handleRemote takes the word of a long message's sender that a part of it can be read in its memory; false when the packet is malformed.
func (c *Conn) handleRemote(f *transport.Frame, fr *wire.Frame) bool {
	e, number := c.e, uint32(unary)
	if fr.Flags&wire.FlagStream != 0 {
		var ok bool
		if number, ok = fr.CutNumber(); !ok {
			e.stats.Malformed++
			return false
		}
	}
	r, ok := fr.Remote()
	x := span{fr.A, fr.A + r.Length}
	if !ok || e.fetcher == nil || x.hi <= x.lo {
		e.stats.Malformed++
		return false
	}
	l := c.incoming(fr.Call, number)
	switch {
	case l == nil: // the message is over, or whole: nothing of it is read any more
		e.stats.Duplicates++
		c.answerPiece(r.Piece, true)
		return true
	case fr.B != l.total || x.hi > l.granted || !l.remote: // it may not be sent, or nobody has asked for it this way
		e.stats.Malformed++
		return false
	}
	if _, missing := l.have.gap(x.lo, x.hi); !missing {
		e.stats.Duplicates++
		c.answerPiece(r.Piece, true)
		return true
	}
	if e.fetching >= maxFetches || e.overlaps(l, x) {
		c.answerPiece(r.Piece, false)
		return true
	}
	tag := uint32(len(e.fetches))
	if n := len(e.freeFetches); n > 0 {
		tag, e.freeFetches = e.freeFetches[n-1], e.freeFetches[:n-1]
	} else {
		e.fetches = append(e.fetches, fetch{})
	}
	e.fetches[tag] = fetch{conn: c, long: l, span: x, piece: r.Piece}
	e.fetching++
	l.fetching++
	e.toFetch = append(e.toFetch, transport.Fetch{Path: f.Path, Into: l.buf[x.lo:x.hi:x.hi], Addr: r.Addr, Key: r.Key, Tag: tag})
	return true
}

// overlaps tells whether a part of a message is being read already.
func (e *Endpoint) overlaps(l *inLong, x span) bool {
	for i := range e.fetches {
		if o := &e.fetches[i]; o.long == l && x.lo < o.span.hi && o.span.lo < x.hi {
			return true
		}
	}
	return false
}

// answerPiece tells a sender that its piece is not read any more: this end has it, or wants it in packets.
func (c *Conn) answerPiece(piece uint32, done bool) {
	if c.state != established {
		return
	}
	have := uint32(0)
	if done {
		have = 1
	}
	c.control(wire.Fetched, piece, have)
}

// PollFetch returns the reads that the link is to begin. The slice is valid until the next HandlePacket.
func (e *Endpoint) PollFetch() []transport.Fetch {
	fs := e.toFetch
	e.toFetch = e.toFetch[:0]
	return fs
}

// HandleFetched takes reads that have ended, by their Tag and Err.
func (e *Endpoint) HandleFetched(now transport.Time, fs []transport.Fetch) {
	for i := range fs {
		x := e.fetches[fs[i].Tag]
		e.fetches[fs[i].Tag] = fetch{}
		e.freeFetches = append(e.freeFetches, fs[i].Tag)
		e.fetching--
		x.long.fetching--
		x.conn.fetched(now, &x, fs[i].Err)
	}
}

// fetched takes the bytes of a piece, if they are there.
func (c *Conn) fetched(now transport.Time, x *fetch, err error) {
	e, l := c.e, x.long
	if l.given { // the message has ended meanwhile
		if l.fetching == 0 {
			e.giveMemory(l)
		}
		c.answerPiece(x.piece, true)
		return
	}
	fresh := uint32(0)
	for at := x.span.lo; err == nil; {
		gap, missing := l.have.gap(at, x.span.hi)
		if !missing || !l.have.add(gap.lo, gap.hi) {
			break
		}
		fresh, at = fresh+gap.hi-gap.lo, gap.hi
	}
	if err != nil {
		e.stats.FetchesFailed++
		c.fetchFaults++
		c.answerPiece(x.piece, false)
	} else {
		e.stats.Fetched++
		c.answerPiece(x.piece, true)
	}
	if fresh > 0 {
		l.got += fresh
		l.at = now
		e.credit.taken(c, int64(fresh))
		if l.got == l.total {
			e.credit.leave(c, l)
		} else {
			e.credit.grant(c)
		}
	}
	c.partTaken(now, l)
}

// partTaken goes on with a message of which something was fetched, and hands it over if it is whole.
func (c *Conn) partTaken(now transport.Time, l *inLong) {
	k, m := l.call, &l.call.in
	if l.number != unary {
		m = k.stream.incoming(l.number)
	}
	done := m.whole()
	if done {
		m.body = l.buf
	}
	switch {
	case l.number != unary && done:
		c.messageWhole(k, l.number)
	case l.number != unary:
	case k.role == clientCall:
		c.replyTaken(now, k, done, nil)
	default:
		c.requestTaken(now, k, done, nil)
	}
}

// giveMemory gives back what a message that was fetched lies in.
func (e *Endpoint) giveMemory(l *inLong) {
	e.reasm -= int64(l.total)
	e.fetcher.FreeMemory(l.buf)
	l.buf = nil
}
