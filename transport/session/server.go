package session

import (
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// slot is one of a session's places for calls. A call in it has finished with the one before, so the server needs no more than the last
// sequence number to run each request at most once.
type slot struct {
	call *Call
	seq  uint32
	used bool // server: seq is valid
}

// handleRequest takes a request or the first part of a large one. It is false when the packet has to count as lost, for want of room, or
// as malformed.
func (c *Conn) handleRequest(now transport.Time, f *transport.Frame, fr *wire.Frame, stamp uint32) bool {
	k, fresh, ok := c.serverCall(now, fr.Call)
	if k == nil || !fresh && k.in.opened {
		return ok
	}
	k.method = fr.A
	k.in.opened = true
	if fr.B != 0 {
		left := time.Duration(fr.B)*time.Microsecond - c.owd.queued(f.Stamp, stamp)
		k.deadline = f.Stamp.Add(left)
	}
	return c.receiveRequest(now, k, f, fr)
}

// handleRequestPart takes a later part of a large request.
func (c *Conn) handleRequestPart(now transport.Time, f *transport.Frame, fr *wire.Frame) bool {
	k, _, ok := c.serverCall(now, fr.Call)
	if k == nil {
		return ok
	}
	return c.receiveRequest(now, k, f, fr)
}

// serverCall finds or makes the record of a request that is being received. nil with ok: the request was received before, and that was
// seen to. nil without: no room.
func (c *Conn) serverCall(now transport.Time, id uint32) (k *Call, fresh, ok bool) {
	e := c.e
	index := wire.SlotOf(id)
	if int(index) >= c.callsAtOnce {
		e.stats.Malformed++
		return nil, false, false
	}
	for int(index) >= len(c.slots) {
		c.slots = append(c.slots, slot{})
	}
	s := &c.slots[index]
	seq := wire.SeqOf(id)
	if s.used && seq == s.seq {
		if s.call != nil && s.call.state == callOpen {
			return s.call, false, true
		}
		e.stats.Duplicates++
		if s.call != nil && s.call.state == callReplied {
			c.resend(s.call)
		}
		return nil, false, true
	}
	if s.used && !wire.SeqAfter(seq, s.seq) {
		e.stats.Duplicates++
		return nil, false, true
	}
	if k = e.newCall(); k == nil {
		e.stats.CallsRefused++
		return nil, false, false
	}
	e.allocOut(&k.out) // without a frame, the reply is built elsewhere
	if s.call != nil {
		c.abandon(s.call) // the client has finished with it
	}
	s.seq, s.used, s.call = seq, true, k
	k.conn, k.role, k.state, k.id, k.startAt = c, serverCall, callOpen, id, now
	return k, true, true
}

func (c *Conn) receiveRequest(now transport.Time, k *Call, f *transport.Frame, fr *wire.Frame) bool {
	e := c.e
	done, err := k.in.receive(c, f, fr)
	switch {
	case err == errMalformed:
		if !k.in.begun() { // nothing of it has been taken: as if it had not come
			c.undo(k)
		}
		return false
	case err != nil:
		k.state = callAnswering
		e.answering++
		k.Refuse(now, ResourceExhausted, err.Reason)
		return true
	case !done:
		return true
	}
	k.state = callAnswering
	e.answering++
	e.stats.Requests++
	if k.deadline != 0 && k.deadline <= now {
		e.stats.Expired++
		k.Refuse(now, DeadlineExceeded, "the deadline passed before the request was taken up")
		return true
	}
	e.emit(RequestArrived, c, k, nil)
	return true
}

// undo forgets a request of which nothing was received.
func (c *Conn) undo(k *Call) {
	s := &c.slots[wire.SlotOf(k.id)]
	s.call = nil
	s.seq = (s.seq - 1) & wire.SeqMask
	c.e.recycle(k)
}

// Reply answers a request with the first n bytes of k's Buffer. The request's Body is gone after it. NotExecuted as outcome tells the
// client that the handler did not run. The record is the endpoint's again.
func (k *Call) Reply(now transport.Time, code Code, outcome Outcome, n int) {
	k.out.total = uint32(n)
	k.reply(now, code, outcome)
}

// ReplyBytes answers with body. It may be read until the client has it and must not be written any more; only one that fits into the
// Buffer is copied. One over the largest message becomes ResourceExhausted.
func (k *Call) ReplyBytes(now transport.Time, code Code, outcome Outcome, body []byte) {
	c := k.conn
	if uint64(len(body)) > uint64(c.maxMessage()) {
		code, outcome, body = ResourceExhausted, Executed, []byte(errReplySize.Reason)
		body = body[:min(len(body), int(c.maxMessage()))]
	}
	k.out.total = uint32(len(body))
	if len(body) <= c.SmallMessage() && k.out.frame != noFrame {
		copy(k.Buffer(), body)
	} else {
		c.e.dropOut(&k.out)
		k.out.data = body
	}
	k.reply(now, code, outcome)
}

// Refuse answers a request that no handler will see.
func (k *Call) Refuse(now transport.Time, code Code, reason string) {
	if b := k.Buffer(); b != nil {
		k.Reply(now, code, NotExecuted, copy(b, reason))
	} else {
		k.ReplyBytes(now, code, NotExecuted, []byte(reason))
	}
}

func (k *Call) reply(now transport.Time, code Code, outcome Outcome) {
	c, e := k.conn, k.conn.e
	if k.state != callAnswering {
		panic("session: a request was answered twice")
	}
	e.answering--
	e.releaseIn(k)
	if k.gone || c.state == closed {
		e.recycle(k)
		return
	}
	k.state, k.code = callReplied, code
	if outcome == NotExecuted {
		k.flags = wire.FlagNotExecuted
	}
	k.out.prepare(c)
	c.sendq.push(k)
	c.enqueue()
}

// resend sends a kept reply again, because the client asked.
func (c *Conn) resend(k *Call) {
	if k.queued {
		return // it is about to be sent
	}
	k.out.again(c, k)
	if !k.queued {
		c.sendq.push(k)
	}
	c.enqueue()
}

// Replying counts the replies that this session keeps because the client has not acknowledged them.
func (c *Conn) Replying() (n int) {
	for i := range c.slots {
		if k := c.slots[i].call; !c.client && k != nil && k.state == callReplied {
			n++
		}
	}
	return n
}

// abandon ends a request that the client has finished with: its reply arrived, or nobody waits for it.
func (c *Conn) abandon(k *Call) {
	c.slots[wire.SlotOf(k.id)].call = nil
	switch k.state {
	case callAnswering:
		k.gone = true
		c.e.emit(RequestGone, c, k, nil)
	default:
		c.e.retire(k)
	}
}

// handleProbe answers a client that misses a reply: the acknowledgement tells that the request is known, and a kept reply goes again.
func (c *Conn) handleProbe(id uint32) {
	index := wire.SlotOf(id)
	if int(index) >= len(c.slots) {
		return
	}
	if k := c.slots[index].call; k != nil && k.id == id && k.state == callReplied {
		c.resend(k)
	}
}

// handleCancel abandons a request whose caller gave up.
func (c *Conn) handleCancel(id uint32) {
	index := wire.SlotOf(id)
	if int(index) >= len(c.slots) {
		return
	}
	if k := c.slots[index].call; k != nil && k.id == id {
		c.abandon(k)
	}
}
