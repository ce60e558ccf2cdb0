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
	k, ok := c.serverCall(fr.Call)
	if k == nil {
		if fr.Flags&wire.FlagMore != 0 {
			c.grantAll(fr.Call, unary)
		}
		return ok
	}
	k.method = fr.A
	if fr.B != 0 {
		left := time.Duration(fr.B)*time.Microsecond - c.owd.queued(f.Stamp, stamp)
		k.deadline = f.Stamp.Add(left)
	}
	k.metadata = fr.Flags&wire.FlagMetadata != 0
	if fr.Flags&wire.FlagStream != 0 {
		k.stream, k.flags = c.newStream(), wire.FlagStream
		if !k.metadata {
			k.handOver(now)
			return true
		}
	}
	if fr.Flags == 0 && len(fr.Payload) <= int(c.messageBytes) && c.e.holdReceived(f.ID) { // as receive has it
		k.in.frame, k.in.body = int32(f.ID), fr.Payload
		return c.requestTaken(now, k, true, nil)
	}
	done, err := k.in.receive(now, k, f, fr, unary)
	return c.requestTaken(now, k, done, err)
}

// handleRequestPart takes a later part of a large request.
func (c *Conn) handleRequestPart(now transport.Time, f *transport.Frame, fr *wire.Frame) bool {
	k := c.callOf(fr.Call)
	if k == nil || k.state != callOpen {
		c.e.stats.Duplicates++
		return true
	}
	done, err := k.in.part(now, c, f, fr.Payload, fr.A, fr.B)
	return c.requestTaken(now, k, done, err)
}

// freshSlot finds the slot of a call, and whether the call is new in it. nil: the session has no such slot.
func (c *Conn) freshSlot(id uint32) (s *slot, fresh bool) {
	index := wire.SlotOf(id)
	if int(index) >= c.callsAtOnce {
		return nil, false
	}
	for int(index) >= len(c.slots) {
		c.slots = append(c.slots, slot{})
	}
	s = &c.slots[index]
	return s, !s.used || wire.SeqAfter(wire.SeqOf(id), s.seq)
}

// serverCall makes the record of a new request. nil with ok: the request is known, and that was seen to. nil without: no room.
func (c *Conn) serverCall(id uint32) (k *Call, ok bool) {
	e := c.e
	s, fresh := c.freshSlot(id)
	switch {
	case s == nil:
		e.stats.Malformed++
		return nil, false
	case !fresh:
		e.stats.Duplicates++
		if k := c.callOf(id); k != nil && k.state == callReplied {
			c.resend(k)
		}
		return nil, true
	}
	if k = e.newCall(); k == nil {
		e.stats.CallsRefused++
		return nil, false
	}
	if k.out.frame = e.allocOut(); k.out.frame != noFrame { // without a frame, the reply is built elsewhere
		k.out.at = wire.Overhead
	}
	if s.call != nil {
		c.abandon(s.call) // the client has finished with it
	}
	s.seq, s.used, s.call = wire.SeqOf(id), true, k
	k.conn, k.role, k.state, k.id = c, serverCall, callOpen, id
	return k, true
}

func (c *Conn) requestTaken(now transport.Time, k *Call, done bool, err *Error) bool {
	e := c.e
	switch {
	case err == errMalformed && k.in.long == nil: // nothing of it has been taken: as if it had not come
		c.undo(k)
		return false
	case err == errMalformed, err == errNoRoom:
		return false
	case err != nil:
		k.state = callAnswering
		e.answering++
		k.Refuse(now, ResourceExhausted, err.Reason)
		return true
	case !done:
		return true
	case !k.metadataFits():
		k.state = callAnswering
		e.answering++
		k.Refuse(now, k.metadataError().Code, "the request's metadata is longer than the request, or than the server takes (WithMaxMetadata)")
		return true
	}
	k.handOver(now)
	return true
}

// handOver gives a request that is whole, or a stream that is open, to the owner, unless its caller has stopped waiting.
func (k *Call) handOver(now transport.Time) {
	e := k.conn.e
	k.state = callAnswering
	e.answering++
	e.stats.Requests++
	if k.deadline != 0 && k.deadline <= now {
		e.stats.Expired++
		k.Refuse(now, DeadlineExceeded, "the deadline passed before the request was taken up")
		return
	}
	e.emit(RequestArrived, k.conn, k, nil)
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
		k.flags &^= wire.FlagMetadata
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

// Abandon ends a stream at the server without what its client has not taken: of that nothing is sent, or read, any more. The client's call ends
// with code, DeadlineExceeded or Unavailable. An event RequestGone follows, and Reply is still due.
func (k *Call) Abandon(code Code) {
	if c := k.conn; k.state == callAnswering && !k.gone && c.state != closed {
		c.control(wire.Cancel, k.id, uint32(code))
		c.abandon(k)
	}
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
	k.in.release(c)
	if k.gone || c.state == closed {
		e.recycle(k)
		return
	}
	k.state, k.code, k.out.kind = callReplied, code, wire.Reply
	if k.stream != nil {
		k.stream.deafen(c, true)
	}
	if outcome == NotExecuted {
		k.flags |= wire.FlagNotExecuted
	}
	c.submit(&k.out)
}

// resend sends a kept reply again, because the client asked.
func (c *Conn) resend(k *Call) {
	if k.out.queued && k.out.long == nil {
		return // it is about to be sent
	}
	c.again(&k.out)
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
	if k.stream != nil {
		k.stream.silence(c)
		k.stream.deafen(c, false)
	}
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
	switch k := c.callOf(id); {
	case k != nil && k.state == callReplied:
		c.resend(k)
	case c.over(id): // given up, and the client has not heard of it
		c.hint(wire.Cancel, id)
	}
}

// handleCancel takes the other end's word that it has given a call up. A request that it overtakes is not run any more.
func (c *Conn) handleCancel(id uint32, code Code) {
	k := c.callOf(id)
	switch {
	case c.client && k != nil:
		err := errGivenUp
		switch code {
		case DeadlineExceeded:
			err = errDeadline
		case Unavailable:
			err = errEnding
		}
		c.endCall(k, err.Code, err)
	case c.client:
	case k != nil:
		c.abandon(k)
	default:
		if s, fresh := c.freshSlot(id); fresh {
			if s.call != nil {
				c.abandon(s.call) // the client has finished with it
			}
			s.seq, s.used = wire.SeqOf(id), true
		}
	}
}
