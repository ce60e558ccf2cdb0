package session_test

import (
	"bytes"
	"fmt"

	"github.com/fastrpc/fastrpc/transport/session"
)

// streamMethod is the method number of stream 0; a stream is known by its own at the server.
const streamMethod = 1000

// streamEnd is one end of a stream that chaos plays: it sends its messages as fast as it may, and reads those of the other.
type streamEnd struct {
	c       *chaos
	node    *node
	call    *session.Call
	name    string
	out, in [][]byte // what is sent, and what has to come
	sent    int
	got     int
	closed  bool // the client: CloseSend was taken
}

// streamMessages are the messages of a stream in one direction, each with bytes of its own.
func streamMessages(sizes []int, salt int) [][]byte {
	messages := make([][]byte, len(sizes))
	for i, n := range sizes {
		messages[i] = pattern(n, byte(salt+i))
	}
	return messages
}

// write sends what may be sent, and at the client the end after it.
func (s *streamEnd) write() {
	for s.sent < len(s.out) {
		if err := s.call.Send(s.out[s.sent]); err != nil {
			s.refused(err)
			return
		}
		s.sent++
	}
	if s.node == s.c.client && !s.closed {
		if err := s.call.CloseSend(); err != nil {
			s.refused(err)
			return
		}
		s.closed = true
	}
}

// refused: the peer is not ready, or the stream is over. There is no other reason.
func (s *streamEnd) refused(err *session.Error) {
	if err != session.ErrWindow && err.Code != session.FailedPrecondition {
		s.c.t.Errorf("%s: Send: %v", s.name, err)
	}
}

// read takes what is there: the messages in order, each as it was sent.
func (s *streamEnd) read() {
	for m := s.call.Receive(); m != nil; m = s.call.Receive() {
		if s.got >= len(s.in) || !bytes.Equal(m.Body(), s.in[s.got]) {
			s.c.t.Errorf("%s: message %d has %d bytes that nobody sent so", s.name, s.got, len(m.Body()))
		}
		s.got++
		s.call.Free(m)
	}
}

// startStream begins a stream instead of a unary call.
func (c *chaos) startStream(k *chaosCall, call *session.Call) {
	k.end = &streamEnd{c: c, node: c.client, call: call, name: fmt.Sprintf("call %d, client", k.id), out: k.messages[0], in: k.messages[1]}
	call.StartStream(c.clock(c.client), streamMethod+uint32(k.id), k.deadline)
	k.end.write()
}

// handleStream is the handler of a stream: it sends and reads all there is, and then replies.
func (c *chaos) handleStream(call *session.Call, k *chaosCall) {
	s := &streamEnd{c: c, node: c.server, call: call, name: fmt.Sprintf("call %d, server", k.id), out: k.messages[1], in: k.messages[0]}
	c.served[call] = s
	c.serveStream(call, k)
}

func (c *chaos) serveStream(call *session.Call, k *chaosCall) {
	s := c.served[call]
	s.read()
	s.write()
	if s.closed || !call.Drained() || s.sent < len(s.out) {
		return
	}
	s.closed = true
	if s.got != len(s.in) {
		c.t.Errorf("%s: the stream ended after %d messages, of %d", s.name, s.got, len(s.in))
	}
	if k.takes == 0 {
		c.endStream(s, k.code)
	} else {
		c.in(k.takes, func() { c.endStream(s, k.code) })
	}
}

// endStream replies, unless that has been done since nobody waits any more.
func (c *chaos) endStream(s *streamEnd, code session.Code) {
	if s.node.dead || c.served[s.call] != s {
		return
	}
	delete(c.served, s.call)
	s.call.ReplyBytes(c.clock(s.node), code, session.Executed, nil)
}

// streamEvent sees to the events of streams; false for those of others.
func (c *chaos) streamEvent(ev session.Event) bool {
	switch {
	case ev.Kind != session.StreamReadable && ev.Kind != session.StreamWritable && ev.Kind != session.RequestGone:
		return false
	case ev.Conn.Client():
		end := ev.Call.Tag.(*chaosCall).end
		end.read()
		end.write()
	case c.served[ev.Call] == nil:
		return ev.Kind != session.RequestGone // it has been answered since
	case ev.Kind == session.RequestGone:
		c.endStream(c.served[ev.Call], session.Canceled)
	default:
		c.serveStream(ev.Call, c.plan.calls[int(ev.Call.Method())-streamMethod])
	}
	return true
}
