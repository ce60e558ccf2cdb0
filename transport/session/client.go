package session

import (
	"slices"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// NewCall takes a call of this session from the pool, with a frame to build its request in (see Buffer). Pass it to Start, StartBytes or
// Discard. The error is ErrTooManyCalls, ErrNoFrame or why the session is closed.
func (c *Conn) NewCall() (*Call, *Error) {
	if c.state == closed {
		return nil, c.closedError()
	}
	if c.e.open > fewSessions {
		c.e.fetched += c.fetch()
		c.e.fetched += c.fetchMore()
	}
	k := c.e.newCall()
	if k == nil {
		c.e.stats.CallsRefused++
		return nil, ErrTooManyCalls
	}
	k.conn, k.role = c, clientCall
	if k.out.frame = c.e.allocOut(); k.out.frame == noFrame {
		c.e.calls.put(k)
		return nil, ErrNoFrame
	}
	k.out.at = wire.Overhead
	return k, nil
}

// Discard gives back a call that was not started.
func (k *Call) Discard() { k.conn.e.recycle(k) }

// Start sends the first n bytes of k's Buffer as the request. A zero deadline means none. The call ends with an event CallEnded.
func (k *Call) Start(now transport.Time, method uint32, n int, deadline transport.Time) {
	k.out.total = uint32(n)
	k.begin(now, method, deadline)
}

// StartBytes sends body as the request. One that fits into a packet is copied; a larger one is read until the call has ended and must not
// be written before. On an error, ErrTooLarge, the call stays unstarted.
func (k *Call) StartBytes(now transport.Time, method uint32, body []byte, deadline transport.Time) *Error {
	if uint64(len(body)) > uint64(k.conn.maxMessage()) {
		return ErrTooLarge
	}
	k.out.total = uint32(len(body))
	if len(body) <= k.conn.SmallMessage() && k.conn.state == established {
		copy(k.Buffer(), body)
	} else {
		k.conn.e.dropOut(&k.out)
		if len(body) <= k.conn.SmallMessage() { // there is no session yet to know the packet's size of
			body = slices.Clone(body)
		}
		k.out.data = body
	}
	k.begin(now, method, deadline)
	return nil
}

func (k *Call) begin(now transport.Time, method uint32, deadline transport.Time) {
	c := k.conn
	k.method, k.deadline, k.out.kind = method, deadline, wire.Request
	c.e.stats.Calls++
	c.await(1)
	if c.state == closed { // since NewCall
		err := c.closedError()
		c.endCall(k, err.Code, err)
		return
	}
	if deadline != 0 {
		if deadline <= now {
			c.endCall(k, DeadlineExceeded, errDeadlineUnsent)
			return
		}
		c.soon(deadline)
	}
	if !c.peer.watched {
		c.watch(now)
	}
	if c.state == connecting || c.waiting.head != nil || !c.open(k) {
		k.state = callWaiting
		c.waiting.push(k)
	}
}

// await counts the calls that have not ended.
func (c *Conn) await(n int) {
	c.e.calls.outstanding += n
	c.outstanding += n
	if c.peer != nil {
		c.peer.outstanding += n
	}
}

// open gives the call a slot and queues its request; false when all slots are in use.
func (c *Conn) open(k *Call) bool {
	n := len(c.freeSlots)
	if n == 0 {
		grown := len(c.slots)
		if grown >= c.callsAtOnce {
			return false
		}
		c.slots = append(c.slots, slot{})
		c.freeSlots = append(c.freeSlots, uint16(grown))
		n = 1
	}
	index := uint32(c.freeSlots[n-1])
	c.freeSlots = c.freeSlots[:n-1]
	s := &c.slots[index]
	s.seq = (s.seq + 1) & wire.SeqMask
	s.call = k
	k.id = wire.CallID(index, s.seq)
	k.state = callOpen
	if k.deadline != 0 {
		c.soon(k.deadline)
	}
	if k.stream == nil {
		c.submit(&k.out)
		return true
	}
	blocked := k.stream.blocked // a Send was refused while the call waited
	*k.stream = *c.newStream()
	k.stream.blocked = blocked
	c.submit(&k.out)
	c.writable(k)
	return true
}

// openWaiting gives slots to the calls that wait for one.
func (c *Conn) openWaiting() {
	for c.waiting.head != nil {
		k := c.waiting.head
		next := k.next
		k.next = nil
		if !c.open(k) {
			k.next = next
			return
		}
		c.waiting.head = next
		if next == nil {
			c.waiting.tail = nil
		}
	}
}

// Expire ends a call as its deadline does, whose caller's own clock says that it has passed.
func (k *Call) Expire(transport.Time) {
	if k.underWay() {
		k.conn.expire(k)
	}
}

// underWay tells whether the call has been started and not ended.
func (k *Call) underWay() bool {
	return k.conn != nil && k.role == clientCall && k.state != callEnded && k.state != callNew
}

// Cancel ends a call whose caller no longer waits. The server is told.
func (k *Call) Cancel(now transport.Time) {
	if !k.underWay() {
		return
	}
	c, err := k.conn, errCanceled
	if !k.out.sentOnce {
		err = errCanceledUnsent
	}
	c.sendCancel(k)
	c.endCall(k, Canceled, err)
}

// sendCancel tells the server that nobody waits for k. A stream's handler depends on it; that of a unary call would only work in vain.
func (c *Conn) sendCancel(k *Call) {
	switch {
	case !k.out.sentOnce:
	case k.stream != nil:
		c.control(wire.Cancel, k.id, 0)
	default:
		c.hint(wire.Cancel, k.id)
	}
}

// endCall ends a client's call: by a reply (err nil), or by an error of this end.
func (c *Conn) endCall(k *Call, code Code, err *Error) {
	e := c.e
	opened := k.state == callOpen
	switch k.state {
	case callEnded:
		return
	case callWaiting:
		c.waiting.remove(k)
	case callOpen:
		index := wire.SlotOf(k.id)
		c.slots[index].call = nil
		c.freeSlots = append(c.freeSlots, uint16(index))
	}
	k.state, k.code, k.err = callEnded, code, err
	if k.stream != nil {
		k.stream.silence(c)
		k.stream.deafen(c, false)
	}
	c.retract(&k.out) // packets of the request that are acknowledged or lost from now on mean nothing
	if err != nil {
		k.in.release(c)
		e.stats.CallsFailed++
	}
	c.await(-1)
	e.emit(CallEnded, c, k, nil)
	if opened && c.waiting.head != nil && c.state == established {
		c.openWaiting()
	}
}

// Release gives back an ended call and its reply.
func (k *Call) Release() {
	e := k.conn.e
	k.Tag = nil
	e.recycle(k)
}

// handleReply takes the reply, or the first part of a large one.
func (c *Conn) handleReply(now transport.Time, f *transport.Frame, fr *wire.Frame) bool {
	k := c.callOf(fr.Call)
	if k == nil || k.in.long != nil || k.stream != nil && k.stream.replied {
		c.e.stats.Duplicates++ // of a call that ended, by its reply or without; or of the first part
		if k == nil && fr.Flags&wire.FlagMore != 0 {
			c.hint(wire.Cancel, fr.Call) // the server need not wait for a grant of the rest
		}
		return true
	}
	if k.stream != nil && !c.handleTrailer(k, fr) {
		return false
	}
	k.code, k.flags, k.metadata = Code(fr.A), fr.Flags, fr.Flags&wire.FlagMetadata != 0
	done, err := k.in.receive(now, k, f, fr, unary)
	return c.replyTaken(now, k, done, err)
}

// handleReplyPart takes a later part of a large reply.
func (c *Conn) handleReplyPart(now transport.Time, f *transport.Frame, fr *wire.Frame) bool {
	k := c.callOf(fr.Call)
	if k == nil {
		c.e.stats.Duplicates++
		return true
	}
	done, err := k.in.part(now, c, f, fr.Payload, fr.A, fr.B)
	return c.replyTaken(now, k, done, err)
}

func (c *Conn) replyTaken(now transport.Time, k *Call, done bool, err *Error) bool {
	switch {
	case err == errMalformed, err == errNoRoom:
		return false
	case err != nil:
		c.sendCancel(k) // spares the server the rest
		c.endCall(k, ResourceExhausted, err)
	case done && !k.metadataFits():
		err := k.metadataError()
		c.endCall(k, err.Code, err)
	case done && k.stream != nil:
		k.stream.replied = true
		c.streamDone(k)
	case done:
		c.endCall(k, k.code, nil)
	default:
		c.retract(&k.out) // a reply acknowledges its request
		k.acked = true
		k.progress(now)
	}
	return true
}

// requestArrived notes that the server has the whole request.
func (k *Call) requestArrived(now transport.Time) {
	k.acked, k.probes, k.probeAt = true, 0, 0 // when the timer fires it finds out when to ask for the reply
	k.conn.soon(now.Add(k.conn.e.cfg.MinPTO))
	if k.stream != nil {
		k.conn.writable(k) // long metadata held its messages back
	}
}

// progress puts the next probe off: the call has shown a sign of life.
func (k *Call) progress(now transport.Time) {
	k.probes = 0
	k.probeAt = now.Add(k.conn.probeInterval(0))
	k.conn.soon(k.probeAt)
}

// stalled gives up a message that has stopped arriving.
func (k *Call) stalled(now transport.Time) {
	c := k.conn
	if k.role == clientCall {
		c.sendCancel(k)
		c.endCall(k, DeadlineExceeded, errStalled)
		return
	}
	if k.stream != nil {
		c.hint(wire.Cancel, k.id)
		c.abandon(k)
		return
	}
	k.in.release(c)
	k.state = callAnswering
	c.e.answering++
	k.Refuse(now, DeadlineExceeded, "the rest of the request did not come")
}

// probeInterval is the time before the n-th probe in a row for a reply: the probe timeout, doubling up to the heartbeat. Over a reliable link,
// where only a reply is missed for which this end had no room, it begins there.
func (c *Conn) probeInterval(n uint8) time.Duration {
	if c.e.caps.Reliable {
		return min(c.e.cfg.Heartbeat<<min(n, 16), reliableProbe)
	}
	return min(c.rtt.pto(c)<<min(n, 16), c.e.cfg.Heartbeat)
}

// reliableProbe bounds the interval of Probes over a reliable link.
const reliableProbe = time.Second
