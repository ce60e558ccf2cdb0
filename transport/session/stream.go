package session

import (
	"iter"
	"slices"
	"sync/atomic"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// stream is what a call needs in which messages go both ways. Each direction numbers its messages from 0 and hands them over in order; the
// receiver says how many it takes. The client ends its direction with CloseSend, the server both of them with its reply.
type stream struct {
	outs      []*outMessage // not delivered, by number modulo the length
	begun     uint32        // messages submitted
	oldest    uint32        // of those not delivered
	limit     uint32        // the peer takes messages with lower numbers
	blocked   bool          // Send was refused since
	halfEnded bool          // nothing more may be sent
	looked    uint          // when one of its messages was last considered for sending

	ins       []*Incoming // not handed over, by number modulo the length
	next      uint32      // to hand over
	freed     uint32      // messages that the reader has given back
	window    uint32      // numbers below it may come
	windowDue bool        // a Window has to be sent
	ended     bool        // the number of messages is known
	last      uint32      // it
	replied   bool        // client: the reply is whole, and waits for the messages before it
}

const (
	defaultStreamWindow = 64 // messages: a round trip's worth of small ones, eight to a jumbo frame
	maxStreamWindow     = 1024

	// maxStreamMessages is the end of their numbers in one direction, a window left for what counts ahead.
	maxStreamMessages = 1<<32 - 1 - 2*maxStreamWindow
)

// Incoming is a message of a stream, from Receive until Free.
type Incoming struct {
	Next   *Incoming // the owner's own; in the pool, the pool's
	in     inMessage
	header bool
	lease  atomic.Uint32
}

// Body is the message. It may lie in the very frame that the link received and must not be written.
func (m *Incoming) Body() []byte { return m.in.contiguous() }

// Frames yields the message as it lies in memory, as Call.Frames does.
func (m *Incoming) Frames() iter.Seq[[]byte] { return m.in.frames() }

// Len is the message's length, bytes.
func (m *Incoming) Len() int {
	if m.in.long != nil {
		return int(m.in.long.total)
	}
	return len(m.in.body)
}

// Header tells whether this is no message but the server's header: its metadata.
func (m *Incoming) Header() bool { return m.header }

// Lease returns a number that names this life of the message; EndLease ends it once. Both may be used from any goroutine.
func (m *Incoming) Lease() uint32 { return m.lease.Load() }

// EndLease is false when the lease has ended before.
func (m *Incoming) EndLease(lease uint32) bool { return m.lease.CompareAndSwap(lease, lease+1) }

// StreamWindow is how many messages of a stream may be here at most, those that are not freed included.
func (e *Endpoint) StreamWindow() int { return e.cfg.StreamWindow }

// ErrWindow refuses a message for which the peer has no room yet: an event StreamWritable follows.
var ErrWindow = &Error{Code: ResourceExhausted, Outcome: NotExecuted, Reason: "the stream's reader has not made room yet"}

var errHalfEnded = &Error{Code: FailedPrecondition, Outcome: NotExecuted, Reason: "the stream takes no more messages in this direction"}

func (c *Conn) newStream() *stream {
	return &stream{
		outs:   make([]*outMessage, max(c.streamWindow, 1)),
		limit:  c.streamWindow,
		ins:    make([]*Incoming, c.e.cfg.StreamWindow),
		window: uint32(c.e.cfg.StreamWindow),
	}
}

// Streams tells whether messages go both ways in this call.
func (k *Call) Streams() bool { return k.stream != nil }

// StartStream begins a call in which messages go both ways. It ends with an event CallEnded, once all of the server's messages are there.
func (k *Call) StartStream(now transport.Time, method uint32, deadline transport.Time) {
	_ = k.StartStreamBytes(now, method, nil, deadline) // nothing is never too long
}

// StartStreamBytes is StartStream with metadata (wire.AppendMetadata), which is sent as StartBytes sends a request.
func (k *Call) StartStreamBytes(now transport.Time, method uint32, metadata []byte, deadline transport.Time) *Error {
	k.stream = &stream{} // sized once the session is established
	k.flags = wire.FlagStream
	if metadata != nil {
		k.MarkMetadata()
	}
	return k.StartBytes(now, method, metadata, deadline)
}

// Send submits the next message. One that fits into a packet is copied; a larger one is read until it is delivered, or the call has ended,
// and must not be written before. ErrWindow: not yet.
func (k *Call) Send(body []byte) *Error { return k.send(body, false) }

// SendHeader submits the server's header, a metadata block, before the first message. Otherwise it is like Send.
func (k *Call) SendHeader(block []byte) *Error { return k.send(block, true) }

// Undelivered counts the messages that were submitted and that the peer has not acknowledged, and asks for an event StreamWritable when
// there are fewer.
func (k *Call) Undelivered() int {
	k.stream.blocked = true
	return int(k.stream.begun - k.stream.oldest)
}

func (k *Call) send(body []byte, header bool) *Error {
	c, st := k.conn, k.stream
	switch {
	case k.state == callEnded || k.gone || c.state == closed || st.halfEnded:
		return errHalfEnded
	case uint64(len(body)) > uint64(c.maxMessage()):
		return ErrTooLarge
	case st.begun >= maxStreamMessages:
		return errStreamLong
	case k.state == callWaiting || k.out.long != nil || st.begun >= min(st.limit, st.oldest+uint32(len(st.outs))):
		st.blocked = true
		return ErrWindow
	}
	o := c.e.newOut(k, wire.Message)
	o.number, o.total, o.header = st.begun, uint32(len(body)), header
	if c.small(o.total) {
		if o.frame = c.e.allocOut(); o.frame == noFrame {
			o.data = slices.Clone(body)
		} else {
			o.at = wire.Overhead
			copy(c.e.bufs[o.frame].data[wire.Overhead:], body)
		}
	} else {
		o.data = body
	}
	st.outs[st.begun%uint32(len(st.outs))] = o
	st.begun++
	c.submit(o)
	return nil
}

// CloseSend tells the server that the client sends no more messages.
func (k *Call) CloseSend() *Error {
	c, st := k.conn, k.stream
	switch {
	case k.state == callEnded || c.state == closed || st.halfEnded:
		return errHalfEnded
	case k.state == callWaiting || st.begun-st.oldest == uint32(len(st.outs)):
		st.blocked = true
		return ErrWindow
	}
	st.halfEnded = true
	o := c.e.newOut(k, wire.End)
	o.number = st.begun
	st.outs[st.begun%uint32(len(st.outs))] = o
	st.begun++ // the end has a number of its own, which is not sent with a message
	c.submit(o)
	return nil
}

// Receive returns the next message, nil while it is not there. It is the caller's until Free.
func (k *Call) Receive() *Incoming {
	st := k.stream
	if len(st.ins) == 0 {
		return nil
	}
	m := &st.ins[st.next%uint32(len(st.ins))]
	got := *m
	if got == nil || !got.in.whole() {
		return nil
	}
	*m = nil
	st.next++
	return got
}

// Drained tells whether Receive has returned the peer's last message.
func (k *Call) Drained() bool { return k.stream.ended && k.stream.next == k.stream.last }

// Free gives back a received message, which makes room for another. It may follow the call's end, but not Release, nor Reply at a server.
func (k *Call) Free(m *Incoming) {
	c, st := k.conn, k.stream
	m.in.release(c)
	c.e.putIncoming(m)
	st.freed++
	st.window = st.freed + uint32(len(st.ins))
	if half := uint32(len(st.ins)+1) / 2; st.freed%half == 0 && !st.windowDue && !st.ended && k.state != callEnded && !k.gone && c.state == established {
		st.windowDue = true
		c.control(wire.Window, k.id, 0)
	}
}

// whole tells whether all of a message is there.
func (m *inMessage) whole() bool {
	if m.long != nil {
		return m.long.got == m.long.total && m.long.fetching == 0
	}
	return m.body != nil
}

// writable tells the writer that was refused before that it may try again.
func (c *Conn) writable(k *Call) {
	if k.stream.blocked && k.attended() {
		k.stream.blocked = false
		c.e.emit(StreamWritable, c, k, nil)
	}
}

// attended tells whether the owner still has to do with the stream: at the server it is no longer his after the reply.
func (k *Call) attended() bool { return !k.gone && (k.state == callOpen || k.state == callAnswering) }

// delivered notes that the peer has one of the stream's messages.
func (st *stream) delivered(c *Conn, o *outMessage) {
	k := o.call
	st.outs[o.number%uint32(len(st.outs))] = nil
	c.retract(o)
	c.e.putOut(o)
	for st.oldest < st.begun && st.outs[st.oldest%uint32(len(st.outs))] == nil {
		st.oldest++
	}
	if next := st.outgoing(st.oldest); next != nil && next.long != nil { // its time begins
		next.long.since = 0
		c.soon(1)
	}
	c.writable(k)
	if k.role == serverCall && k.state == callReplied && k.acked && st.oldest == st.begun {
		c.abandon(k) // the reply had arrived before
	}
}

// outgoing finds a message that is not delivered.
func (st *stream) outgoing(number uint32) *outMessage {
	if o := st.outs[number%uint32(len(st.outs))]; o != nil && o.number == number {
		return o
	}
	return nil
}

// silence ends the stream's own direction: nothing of it is sent any more.
func (st *stream) silence(c *Conn) {
	for i, o := range st.outs {
		if o != nil {
			c.retract(o)
			c.e.putOut(o)
			st.outs[i] = nil
		}
	}
	st.oldest, st.halfEnded = st.begun, true
}

// release gives back all that the stream holds.
func (st *stream) release(c *Conn) {
	st.silence(c)
	st.deafen(c, true)
}

// newOut takes a record for a stream's message from the pool.
func (e *Endpoint) newOut(k *Call, kind wire.FrameType) *outMessage {
	o := e.outs
	if o == nil {
		o = &outMessage{}
	} else {
		e.outs = o.next
	}
	*o = outMessage{call: k, kind: kind, frame: noFrame, epoch: o.epoch}
	return o
}

func (e *Endpoint) putOut(o *outMessage) { o.next, e.outs = e.outs, o }
