package engine

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
)

// Incoming is a received message of a stream.
type Incoming = session.Incoming

// Stream is one end of a stream. One goroutine may send while another one receives; all else may be called from any.
//
// The poller moves whole messages into in, from where the reader takes them, and what the writer left in out to the session. Neither waits for
// the other: whoever finds nothing polls, where nobody does (see await), or parks. What the reader is done with goes back in bunches.
type Stream struct {
	e      *Engine
	ctx    context.Context // that the client's end ends with
	server bool
	small  int    // longest message that is copied
	most   uint32 // longest at all
	stop   func() bool

	// The reader's.
	in     []atomic.Pointer[Incoming] // by number modulo the length: put there by the poller, taken by whoever swaps it out
	taken  uint32
	lent   []loan      // server: what the handler has, and may forget to give back
	left   atomic.Bool // server: the handler receives no more
	reader sleeper

	// The writer's.
	out    [streamQueue]outgoing // from head to tail: tail is the writer's, head the poller's
	tail   atomic.Uint32
	head   atomic.Uint32
	closed bool // nothing more is sent
	writer sleeper
	lends  atomic.Bool // Send reads from its caller's memory until the peer has all of it

	// From anywhere to the poller; a poke makes it look.
	poked    atomic.Bool
	workOp   func(now transport.Time) // work, made once
	givenUp  atomic.Uint32            // client: the code to end with
	finished atomic.Bool              // server: the handler has returned, and sends no more
	back     atomic.Pointer[Incoming] // released messages, a stack
	backs    atomic.Uint32            // how many were ever put there
	answered atomic.Bool              // server: answer is set
	answer   answer

	// The poller's.
	k       *session.Call // nil once it is released
	put     uint32        // messages that went to in
	freed   uint32        // of these, those that the session has again
	waiting bool          // for the peer to have all of the writer's long message

	// From the poller to all.
	ended     atomic.Bool   // no more messages come
	over      atomic.Bool   // nothing is sent or comes any more: what is below is set
	aborted   atomic.Bool   // server: the handler's context is over
	abortedBy atomic.Uint32 // code that says why
	delivered atomic.Bool   // the writer's long message
	failed    atomic.Pointer[session.Error]
	opened    atomic.Bool // the header, or its absence, is known
	header    []byte
	asking    sync.Mutex   // one at a time sleeps there:
	opening   sleeper      // of a server's end: there Finish and Flush wait
	code      session.Code // client: the server's answer, where err is nil
	refused   bool
	text      []byte
	trailer   []byte
	sound     bool // trailer is
	err       *session.Error
}

// streamQueue is how many messages wait at most for whoever polls, before Send waits: what a turn sends.
const streamQueue = 32

// outgoing is something that waits to be sent. A small message is copied into own, which stays for the next one.
type outgoing struct {
	kind outKind
	whose
	own  []byte
	body []byte
}

// whose tells who may write to a message once Send has returned.
type whose uint8

const (
	reused   whose = iota // the stream will, for its next message: the session copies a small one
	given                 // nobody: the session reads from it as long as it needs
	borrowed              // the caller: Send waits until the peer has it
)

// copiedBytes is the longest message that Send copies, so that its caller need not wait until the peer has all of it. With the stream's window and
// queue it bounds what a stream holds.
const copiedBytes = 64 << 10

type outKind uint8

const (
	outMessage outKind = iota
	outHeader
	outEnd
)

type loan struct {
	m     *Incoming
	lease uint32
}

type answer struct {
	code    session.Code
	outcome session.Outcome
	body    []byte
}

var (
	// ErrOver tells a writer that the stream is over: Receive tells why.
	ErrOver = &session.Error{Code: session.Unknown, Outcome: session.MaybeExecuted, Reason: "the stream is over"}
	// ErrClosedSend refuses what follows CloseSend.
	ErrClosedSend = &session.Error{Code: session.Internal, Outcome: session.MaybeExecuted, Reason: "nothing can be sent after CloseSend"}
)

func newStream(e *Engine, server bool) *Stream {
	s := &Stream{e: e, server: server, in: make([]atomic.Pointer[Incoming], e.core.StreamWindow())}
	s.workOp = s.work
	s.reader.init()
	s.writer.init()
	s.opening.init()
	return s
}

// OpenStream begins a stream; metadata, in wire's form or nil, goes with it. It ends when ctx does. It does not wait for the server.
func (c *Conn) OpenStream(ctx context.Context, method uint32, metadata []byte, deadline transport.Time) (*Stream, *session.Error) {
	s := newStream(c.e, false)
	s.ctx = ctx
	if ctx.Done() != nil {
		s.stop = context.AfterFunc(ctx, func() { s.Cancel(reason(ctx)) })
	}
	var err *session.Error
	if e := c.e.do(func(now transport.Time) { err = s.start(now, c, method, metadata, deadline) }); e != nil {
		err = e
	}
	if err != nil {
		s.unhook()
		return nil, err
	}
	return s, nil
}

// start begins the stream, in the poll.
func (s *Stream) start(now transport.Time, c *Conn, method uint32, metadata []byte, deadline transport.Time) *session.Error {
	k, err := c.newCall()
	if err != nil {
		return err
	}
	s.small, s.most = c.s.SmallMessage(), c.s.MaxMessage()
	s.k, k.Tag = k, s
	if err = k.StartStreamBytes(now, method, metadata, deadline); err != nil {
		s.k, k.Tag = nil, nil
		k.Discard()
		return err
	}
	if s.givenUp.Load() != 0 {
		s.work(now)
	}
	return nil
}

// ServeStream takes up a stream that a client has begun, in the poll. Finish ends it.
func (e *Engine) ServeStream(k *session.Call) *Stream {
	s := newStream(e, true)
	s.small, s.most = k.Conn().SmallMessage(), k.Conn().MaxMessage()
	s.k, k.Tag = k, s
	s.collect()
	return s
}

// Decline leaves a stream that was just taken up to its call, which is to be refused at once.
func (s *Stream) Decline() {
	s.discard()
	s.k.Tag, s.k = nil, nil
}

// Cancel ends a client's stream, unless it is over.
func (s *Stream) Cancel(why session.Code) {
	if s.over.Load() || !s.givenUp.CompareAndSwap(0, uint32(why)) {
		return
	}
	s.poke()
}

// unwanted tells whether a client has given the stream up. It looks at the context itself: what context.AfterFunc calls may run late, and whoever
// has canceled must not get the server's answer any more.
func (s *Stream) unwanted() bool {
	if !s.server && s.ctx.Err() != nil {
		s.Cancel(reason(s.ctx))
	}
	return s.givenUp.Load() != 0
}

// unhook lets go of the context.
func (s *Stream) unhook() {
	if s.stop != nil {
		s.stop()
	}
}

// Abort makes a server's reader and writer return: the handler's context is over. A message that is read from the writer's memory ends the stream,
// by why: the rest of it might never leave.
func (s *Stream) Abort(why session.Code) {
	s.abortedBy.Store(uint32(why))
	s.aborted.Store(true)
	s.reader.wake()
	s.wakeWriters()
	if s.lends.Load() {
		s.poke()
	}
}

// CloseReceive makes a server's reader return, and every one after it.
func (s *Stream) CloseReceive() {
	s.left.Store(true)
	s.reader.wake()
}

// Left tells whether CloseReceive was called.
func (s *Stream) Left() bool { return s.left.Load() }

// Finished tells whether Finish was called.
func (s *Stream) Finished() bool { return s.finished.Load() }

// Over tells whether the stream is over.
func (s *Stream) Over() bool { return s.over.Load() }

// Stopped tells whether nobody waits for a server's handler any more.
func (s *Stream) Stopped() bool { return s.over.Load() || s.aborted.Load() }

// End returns what a client's stream that is over ended with: an error of this end, or the server's answer.
func (s *Stream) End() (err *session.Error, code session.Code, refused bool, text []byte) {
	if err := s.failed.Load(); err != nil && s.err == nil {
		return err, err.Code, false, nil
	}
	return s.err, s.code, s.refused, s.text
}

// Trailer returns the metadata block of the server's answer; false where it is malformed. The stream is over.
func (s *Stream) Trailer() (block []byte, ok bool) { return s.trailer, s.sound || s.err != nil }

// Header waits for the server's header, and returns its metadata block: nil where messages came without one. It is false where the stream is over
// and neither came.
func (s *Stream) Header() (block []byte, ok bool) {
	if !s.headerKnown() {
		s.asking.Lock()
		defer s.asking.Unlock()
		s.await(&s.opening, s.headerKnown)
	}
	if s.opened.Load() {
		return s.header, true
	}
	return nil, false
}

func (s *Stream) headerKnown() bool { return s.opened.Load() || s.over.Load() }

// Flush waits until what a server's end has sent has left the writer's queue, or nobody wants it any more.
func (s *Stream) Flush() { s.await(&s.opening, s.flushed) }

// Finish answers a server's stream, once what was sent before has left: with a status, and body as session.Call.ReplyBytes has it. The handler
// has returned: what it received is gone, and what goroutines that it left behind send is refused with ErrOver.
func (s *Stream) Finish(code session.Code, outcome session.Outcome, body []byte, metadata bool) {
	s.finished.Store(true)
	s.writer.wake()
	s.Flush()
	s.reclaim()
	if metadata {
		s.k.MarkMetadata()
	}
	s.answer = answer{code, outcome, body}
	s.answered.Store(true)
	s.poke()
}

// wakeWriters wakes whoever sends, and whoever waits for all to be sent.
func (s *Stream) wakeWriters() (woken bool) {
	woken = s.writer.wake()
	if s.server {
		woken = s.opening.wake() || woken
	}
	return woken
}

func (s *Stream) flushed() bool {
	return s.head.Load() == s.tail.Load() || s.over.Load() || s.aborted.Load()
}

// reclaim takes back what the handler received and did not release.
func (s *Stream) reclaim() {
	for _, l := range s.lent {
		if l.m.EndLease(l.lease) {
			s.giveBack(l.m)
		}
	}
	s.lent = nil
	for s.backs.Load() != s.taken { // another goroutine is just about to
		runtime.Gosched()
	}
}
