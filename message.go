package fastrpc

import (
	"iter"

	"github.com/fastrpc/fastrpc/internal/engine"
)

// Message is a lease on a received message of a stream. It is a value; the lease ends once, for all its copies. Of a server's stream it ends by
// itself when the handler returns.
type Message struct {
	stream *engine.Stream
	m      *engine.Incoming
	lease  uint32
}

func newMessage(s *engine.Stream, m *engine.Incoming) Message {
	return Message{stream: s, m: m, lease: m.Lease()}
}

// Body returns the message's bytes, of one packet in the very frame that the network card wrote. They are not to be written, nor read after
// Release.
func (m Message) Body() []byte {
	m.check()
	return m.m.Body()
}

// Frames yields the message's bytes in order, as they lie in memory, as Reply.Frames does.
func (m Message) Frames() iter.Seq[[]byte] {
	m.check()
	return m.m.Frames()
}

func (m Message) check() {
	if m.m == nil || m.m.Lease() != m.lease {
		panic("fastrpc: a message was read after its Release")
	}
}

// Release gives the message's memory back, and with it the sender room for another one: a reader that keeps as many messages as a stream's
// window has gets no more. It panics when that was done before. On the zero Message, which comes with an error, it does nothing.
func (m Message) Release() {
	if m.m == nil {
		return
	}
	if !m.m.EndLease(m.lease) {
		panic("fastrpc: a message was released twice")
	}
	m.stream.Release(m.m)
}
