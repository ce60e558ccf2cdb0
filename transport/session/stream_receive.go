package session

import (
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// handleMessage takes a stream's message or its first part; false when it has to come again.
func (c *Conn) handleMessage(now transport.Time, f *transport.Frame, fr *wire.Frame) bool {
	k := c.callOf(fr.Call)
	if k == nil {
		return c.late(fr.Call)
	}
	st := k.stream
	header := fr.Flags&wire.FlagMetadata != 0
	if st == nil || fr.A >= st.window || st.ended && fr.A >= st.last || header && (!c.client || fr.A > 0) {
		c.e.stats.Malformed++
		return false
	}
	k.probes, k.probeAt = 0, now.Add(c.e.cfg.Heartbeat) // a sign of life
	m := &st.ins[fr.A%uint32(len(st.ins))]
	if fr.A < st.next || *m != nil || k.state == callReplied { // or nobody reads any more
		c.e.stats.Duplicates++
		if fr.Flags&wire.FlagMore != 0 {
			c.grantAll(k.id, fr.A)
		}
		return true
	}
	if header && uint64(max(fr.Total(), uint32(len(fr.Payload)))) > uint64(c.e.cfg.MaxMetadata) {
		c.sendCancel(k)
		c.endCall(k, ResourceExhausted, errReplyMetadata)
		return true
	}
	in := c.e.newIncoming()
	in.header = header
	done, err := in.in.receive(now, k, f, fr, fr.A)
	if err != nil {
		in.in.release(c)
		c.e.putIncoming(in)
		return false // malformed, or over the budget for now
	}
	*m = in
	if done {
		c.messageWhole(k, fr.A)
	}
	return true
}

// handleMessagePart takes a later part of a stream's message.
func (c *Conn) handleMessagePart(now transport.Time, f *transport.Frame, fr *wire.Frame) bool {
	k := c.callOf(fr.Call)
	if k == nil {
		return c.late(fr.Call)
	}
	number, ok := fr.CutNumber()
	if !ok || k.stream == nil {
		c.e.stats.Malformed++
		return false
	}
	m := k.stream.incoming(number)
	if m == nil {
		c.e.stats.Duplicates++
		return true
	}
	done, err := m.part(now, c, f, fr.Payload, fr.A, fr.B)
	if err != nil {
		return false
	}
	if done {
		c.messageWhole(k, number)
	}
	return true
}

// late judges a frame of a call that is not here: true, it is over; false, its beginning has not arrived yet.
func (c *Conn) late(id uint32) bool {
	index := wire.SlotOf(id)
	if !c.client && (int(index) >= len(c.slots) || !c.slots[index].used || wire.SeqAfter(wire.SeqOf(id), c.slots[index].seq)) {
		return false
	}
	c.e.stats.Duplicates++
	return true
}

// messageWhole tells the reader, if the message is the next.
func (c *Conn) messageWhole(k *Call, number uint32) {
	if number == k.stream.next && k.attended() {
		c.e.emit(StreamReadable, c, k, nil)
	}
	c.streamDone(k)
}

// streamDone ends a client's stream whose reply, and every message before it, are there.
func (c *Conn) streamDone(k *Call) {
	st := k.stream
	if !st.replied {
		return
	}
	for n := st.next; n < st.last; n++ {
		if m := st.incomingWhole(n); !m {
			return
		}
	}
	c.endCall(k, k.code, nil)
}

func (st *stream) incomingWhole(number uint32) bool {
	m := st.ins[number%uint32(len(st.ins))]
	return m != nil && m.in.whole()
}

// handleEnd takes the client's word that it sends no more messages.
func (c *Conn) handleEnd(fr *wire.Frame) bool {
	k := c.callOf(fr.Call)
	if k == nil {
		return c.late(fr.Call)
	}
	st := k.stream
	if st == nil || !st.endsAt(fr.A) {
		c.e.stats.Malformed++
		return false
	}
	if !st.ended {
		st.ended, st.last = true, fr.A
		if k.attended() {
			c.e.emit(StreamReadable, c, k, nil)
		}
	}
	return true
}

// endsAt tells whether the peer may have sent n messages: as it said before, and not fewer than came.
func (st *stream) endsAt(n uint32) bool {
	if st.ended || n < st.next || n > st.window {
		return st.ended && n == st.last
	}
	for i := n; i < st.window; i++ {
		if st.ins[i%uint32(len(st.ins))] != nil {
			return false
		}
	}
	return true
}

// handleTrailer takes the reply of a stream: it counts once the messages before it are there. False when it contradicts what came before.
func (c *Conn) handleTrailer(k *Call, fr *wire.Frame) bool {
	st := k.stream
	if !st.endsAt(fr.B) {
		c.e.stats.Malformed++
		return false
	}
	st.ended, st.last = true, fr.B
	return true
}

// handleWindow takes the peer's word on how many messages it takes.
func (c *Conn) handleWindow(fr *wire.Frame) bool {
	k := c.callOf(fr.Call)
	if k == nil {
		return c.late(fr.Call)
	}
	st := k.stream
	if st == nil {
		c.e.stats.Malformed++
		return false
	}
	if fr.A > st.limit { // never back
		st.limit = fr.A
		c.writable(k)
	}
	return true
}

// incoming finds a message that is not handed over.
func (st *stream) incoming(number uint32) *inMessage {
	if number < st.next || number >= st.window {
		return nil
	}
	if m := st.ins[number%uint32(len(st.ins))]; m != nil {
		return &m.in
	}
	return nil
}

// deafen ends the other direction: messages that are not whole never will be, and all the others may have nobody to read them.
func (st *stream) deafen(c *Conn, all bool) {
	for i, m := range st.ins {
		if m != nil && (all || !m.in.whole()) {
			m.in.release(c)
			c.e.putIncoming(m)
			st.ins[i] = nil
		}
	}
}

func (e *Endpoint) newIncoming() *Incoming {
	m := e.incomings
	if m == nil {
		m = &Incoming{}
	} else {
		e.incomings = m.Next
	}
	m.in, m.header, m.Next = inMessage{frame: noFrame}, false, nil
	return m
}

func (e *Endpoint) putIncoming(m *Incoming) { m.Next, e.incomings = e.incomings, m }
