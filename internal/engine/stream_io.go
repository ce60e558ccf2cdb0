package engine

import (
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
)

// Receive waits for the next message, which is the caller's until Release; nil: no more come.
func (s *Stream) Receive() *Incoming {
	if s.unwanted() { // nor is what has come
		s.await(&s.reader, s.over.Load)
	}
	for {
		if s.left.Load() {
			return nil
		}
		done := s.ended.Load() || s.over.Load() || s.aborted.Load()
		if m := s.in[s.taken%uint32(len(s.in))].Swap(nil); m != nil {
			s.taken++
			if s.server {
				s.lend(m)
			}
			return m
		}
		if done {
			s.unhook()
			return nil
		}
		s.await(&s.reader, s.readable)
	}
}

func (s *Stream) readable() bool {
	return s.in[s.taken%uint32(len(s.in))].Load() != nil || s.ended.Load() || s.over.Load() || s.aborted.Load() || s.left.Load()
}

// lend notes what a handler has, and forgets what it has given back: there are never more than in has room for.
func (s *Stream) lend(m *Incoming) {
	if len(s.lent) >= 2*len(s.in) {
		kept := s.lent[:0]
		for _, l := range s.lent {
			if l.m.Lease() == l.lease {
				kept = append(kept, l)
			}
		}
		s.lent = kept
	}
	s.lent = append(s.lent, loan{m, m.Lease()})
}

// Release gives back a message that Receive returned and whose lease has been ended.
func (s *Stream) Release(m *Incoming) {
	large := m.Len() > s.small // it takes up a budget
	if n := s.giveBack(m); large || n%s.bunch() == 0 || s.over.Load() {
		s.poke()
	}
}

// giveBack puts a message where the poller finds it.
func (s *Stream) giveBack(m *Incoming) uint32 {
	for {
		m.Next = s.back.Load()
		if s.back.CompareAndSwap(m.Next, m) {
			return s.backs.Add(1)
		}
	}
}

// bunch is how many messages make a Window: the session tells the peer when so many have been given back.
func (s *Stream) bunch() uint32 { return uint32(len(s.in)+1) / 2 }

// Send sends a message, as soon as the peer has room for it, and returns when body may be written again: one above copiedBytes is read until the
// peer has it. ErrOver: the stream is over.
func (s *Stream) Send(body []byte) *session.Error {
	switch {
	case len(body) <= s.small:
		return s.send(outMessage, body, reused)
	case len(body) <= min(copiedBytes, int(s.most)):
		return s.send(outMessage, slices.Clone(body), given)
	}
	s.lends.Store(true) // before send looks whether the stream is aborted: Abort looks the other way round
	defer s.lends.Store(false)
	return s.send(outMessage, body, borrowed)
}

// SendHeader sends a server's header, before its first message: a metadata block, which must not be written any more.
func (s *Stream) SendHeader(block []byte) *session.Error { return s.send(outHeader, block, given) }

// CloseSend tells the server that no more messages follow.
func (s *Stream) CloseSend() *session.Error {
	err := s.send(outEnd, nil, given)
	s.closed = true
	return err
}

func (s *Stream) send(kind outKind, body []byte, w whose) *session.Error {
	if s.unwanted() {
		s.await(&s.writer, s.over.Load)
	}
	switch {
	case s.closed:
		return ErrClosedSend
	case s.nobodyTakes():
		return ErrOver
	case uint64(len(body)) > uint64(s.most):
		return session.ErrTooLarge
	}
	if err := s.failed.Load(); err != nil {
		return err
	}
	s.delivered.Store(false)
	e, tail := s.e, s.tail.Load()
	if s.head.Load() != tail || !e.token.acquire() {
		return s.queue(kind, body, w)
	}
	e.now = max(e.now, transport.Now())
	s.takeBack()
	err := s.submit(kind, body, w)
	e.handleEvents()
	e.transmit()
	e.release()
	switch {
	case err == session.ErrWindow:
		return s.queue(kind, body, w)
	case err != nil:
		return err
	case w == borrowed:
		return s.awaitDelivery()
	}
	return nil
}

// queue leaves a message to whoever polls.
func (s *Stream) queue(kind outKind, body []byte, w whose) *session.Error {
	s.await(&s.writer, s.room)
	if s.nobodyTakes() {
		return ErrOver
	}
	tail := s.tail.Load()
	o := &s.out[tail%streamQueue]
	o.kind, o.whose, o.body = kind, w, body
	if w == reused {
		o.own = append(o.own[:0], body...)
		o.body = o.own
	}
	s.tail.Store(tail + 1)
	s.poke()
	if w == borrowed {
		return s.awaitDelivery()
	}
	return nil
}

func (s *Stream) room() bool {
	return s.tail.Load()-s.head.Load() < streamQueue || s.nobodyTakes()
}

// nobodyTakes tells whether nothing more is sent.
func (s *Stream) nobodyTakes() bool { return s.over.Load() || s.aborted.Load() || s.finished.Load() }

func (s *Stream) awaitDelivery() *session.Error {
	s.await(&s.writer, s.deliveredOrOver)
	if err := s.failed.Load(); err != nil {
		return err
	}
	if !s.delivered.Load() {
		return ErrOver
	}
	return nil
}

func (s *Stream) deliveredOrOver() bool {
	return s.delivered.Load() || s.over.Load() || s.finished.Load() || s.failed.Load() != nil
}

// sleeper is where a goroutine waits for what the poller brings.
type sleeper struct {
	parked atomic.Bool
	signal chan struct{}
}

func (w *sleeper) init() { w.signal = make(chan struct{}, 1) }

// wake wakes whoever is parked there; it returns whether there is somebody.
func (w *sleeper) wake() bool {
	if !w.parked.Load() {
		return false
	}
	select {
	case w.signal <- struct{}{}:
	default:
	}
	return true
}

// await returns when ready tells true. A client's end polls meanwhile, as a lone caller does, unless others poll; like a collector it counts
// as one that relies on the keeper only while it is parked. A server's end leaves polling to the keeper.
func (s *Stream) await(w *sleeper, ready func() bool) {
	e := s.e
	for !ready() {
		counted := false
		if s.server {
			for i := 0; i < spins && !ready(); i++ {
				runtime.Gosched()
			}
		} else if e.claim() {
			if counted = s.poll(ready); !counted {
				continue
			}
		}
		w.parked.Store(true)
		if !s.server && !counted {
			e.collectors.Add(1)
		}
		if !ready() && (counted || s.server || e.token.held()) {
			select {
			case <-w.signal:
			case <-e.dead: // every stream is over by then
			}
		}
		if !s.server {
			e.collectors.Add(-1)
		}
		w.parked.Store(false)
	}
}

// poll polls as the token's holder, and frees the token. It returns true, the caller being counted as parked, when there was no news for a
// while.
func (s *Stream) poll(ready func() bool) (counted bool) {
	e := s.e
	e.now = max(e.now, transport.Now())
	s.takeBack()
	if e.core.Unsent() {
		e.transmit()
	}
	e.patience = e.patient
	end := e.pollFor(s.ctx, ready)
	if end == pollCanceled {
		s.givenUp.CompareAndSwap(0, uint32(reason(s.ctx)))
		s.work(e.now)
		e.handleEvents()
		e.transmit()
	}
	if counted = end == pollQuiet; counted {
		e.collectors.Add(1)
	}
	e.release()
	return counted
}
