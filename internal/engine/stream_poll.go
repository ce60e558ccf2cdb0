package engine

import (
	"slices"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
)

// poke makes the poller look after the stream: work. Whoever pokes has published before what there is to see.
func (s *Stream) poke() {
	if s.poked.Swap(true) {
		return
	}
	e := s.e
	if e.token.acquire() {
		e.now = max(e.now, transport.Now())
		s.work(e.now)
		e.handleEvents()
		e.transmit()
		e.release()
		return
	}
	for !e.push(operation{kind: opFunc, do: s.workOp}) {
		if e.stopped.Load() {
			break
		}
		e.lead()
	}
	e.lead()
	if e.stopped.Load() {
		s.settleLate()
	}
}

// work does all that the others have asked for, in the poll.
func (s *Stream) work(now transport.Time) {
	s.poked.Store(false)
	if s.k == nil {
		return
	}
	s.takeBack()
	if why := s.givenUp.Load(); why != 0 && !s.k.Ended() {
		giveUp(s.k, now, session.Code(why))
		return // its event goes on
	}
	if s.aborted.Load() && s.lends.Load() {
		s.k.Abandon(session.Code(s.abortedBy.Load()))
		return // its event goes on
	}
	s.flush()
	if s.answered.Load() {
		k := s.k
		s.discard()
		s.k, k.Tag = nil, nil
		k.ReplyBytes(now, s.answer.code, s.answer.outcome, s.answer.body)
		return
	}
	s.settle()
}

// settleLate gives back what the stream holds when the engine has stopped: nobody polls any more.
func (s *Stream) settleLate() {
	e := s.e
	<-e.dead
	e.closing.Lock()
	s.poked.Store(false)
	if !e.closed && s.k != nil {
		s.takeBack()
		if s.answered.Load() {
			s.discard()
			s.k.Discard()
			s.k = nil
		}
		s.settle()
	}
	e.closing.Unlock()
	_ = e.closeLink()
}

// takeBack gives released messages to the session.
func (s *Stream) takeBack() {
	if s.k == nil || s.back.Load() == nil {
		return
	}
	for m := s.back.Swap(nil); m != nil; {
		next := m.Next
		s.k.Free(m)
		s.freed++
		m = next
	}
}

// settle releases a client's call that has ended, and of which nobody holds a message any more.
func (s *Stream) settle() {
	if !s.server && s.over.Load() && s.put == s.freed {
		k := s.k
		s.k = nil
		delete(s.e.unread, s)
		k.Release()
	}
}

// collect takes what has come.
func (s *Stream) collect() {
	k := s.k
	if k == nil {
		return
	}
	for m := k.Receive(); m != nil; m = k.Receive() {
		if m.Header() {
			s.header = slices.Clone(m.Body())
			k.Free(m)
		} else {
			s.in[s.put%uint32(len(s.in))].Store(m)
			s.put++
		}
		if !s.server && !s.opened.Load() {
			s.opened.Store(true)
			s.opening.wake()
		}
	}
	if s.server && k.Drained() {
		s.ended.Store(true)
	}
	if s.reader.wake() {
		s.e.readied = true
	}
}

// discard gives back what was not read, and will not be.
func (s *Stream) discard() {
	for i := range s.in {
		if m := s.in[i].Swap(nil); m != nil {
			s.k.Free(m)
			s.freed++
		}
	}
}

// flush submits what the writer left.
func (s *Stream) flush() {
	head, tail := s.head.Load(), s.tail.Load()
	if head == tail {
		return
	}
	for ; head != tail && !s.over.Load(); head++ {
		o := &s.out[head%streamQueue]
		err := s.submit(o.kind, o.body, o.whose)
		if err == session.ErrWindow { // an event StreamWritable follows
			break
		}
		if err != nil && err != ErrOver {
			s.failed.CompareAndSwap(nil, err)
		}
		o.body = nil
	}
	s.head.Store(head)
	if s.wakeWriters() {
		s.e.readied = true
	}
}

// submit gives the session something to send.
func (s *Stream) submit(kind outKind, body []byte, w whose) *session.Error {
	k := s.k
	if k == nil || s.over.Load() || k.Ended() || k.Gone() { // answered, or the event may be still to come
		return ErrOver
	}
	switch {
	case kind == outEnd:
		return k.CloseSend()
	case kind == outHeader:
		return k.SendHeader(body)
	case w == borrowed:
		err := k.Send(body)
		if err == nil {
			s.waiting = true
			s.delivery()
		}
		return err
	case w == reused && len(body) > k.Conn().SmallMessage(): // the path has become narrower, and the session would read from what is written again
		body = slices.Clone(body)
	}
	return k.Send(body)
}

// delivery tells the writer when the peer has its long message.
func (s *Stream) delivery() {
	if s.waiting && s.k.Undelivered() == 0 {
		s.waiting = false
		s.delivered.Store(true)
		if s.writer.wake() {
			s.e.readied = true
		}
	}
}

// writable is called when the peer has made room, or has taken something.
func (s *Stream) writable() {
	if s.k == nil {
		return
	}
	s.delivery()
	s.flush()
}

// CallEnded ends a client's stream.
func (s *Stream) CallEnded(k *session.Call) {
	if s.err = k.Err(); s.err == nil {
		s.collect()
		s.code, s.refused, s.text = k.Code(), k.Refused(), slices.Clone(k.Body())
		s.trailer, s.sound = k.Metadata()
		s.trailer = slices.Clone(s.trailer)
	}
	s.over.Store(true)
	if s.err != nil {
		s.discard()
	}
	s.reader.wake()
	s.writer.wake()
	s.opening.wake()
	s.e.readied = true
	s.takeBack()
	if s.settle(); s.k != nil {
		s.e.unread[s] = struct{}{}
	}
}

// abandonUnread drops what nobody has read of the ended streams of a session that its user closes: it would hold on to the link's memory.
func (e *Engine) abandonUnread(c *session.Conn) {
	for s := range e.unread {
		if s.k.Conn() == c {
			s.failed.CompareAndSwap(nil, errUnread)
			s.discard()
			s.settle()
		}
	}
}

var errUnread = &session.Error{Code: session.Canceled, Outcome: session.Executed, Reason: "the client was closed before all of the stream was read"}

// gone tells a server's stream that nobody waits for its handler any more.
func (s *Stream) gone() {
	s.over.Store(true)
	s.reader.wake()
	s.wakeWriters()
	s.e.readied = true
}
