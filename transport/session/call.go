package session

import (
	"iter"
	"sync/atomic"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// Call is one call, at the client or at the server. It lives in a pool: after Release (client) or Reply (server) it is somebody else's.
type Call struct {
	Tag any // the owner's own, at the client; cleared by Release

	conn     *Conn
	id       uint32
	role     role
	state    callState
	gone     bool  // server: nobody waits for the answer
	acked    bool  // client: the server has the whole request
	metadata bool  // the received message ends in metadata
	probes   uint8 // client: sent since the last sign of life
	method   uint32
	code     Code
	flags    uint8
	err      *Error
	deadline transport.Time
	probeAt  transport.Time // client: when to ask for the reply again
	out      outMessage
	in       inMessage
	stream   *stream
	next     *Call // in conn.waiting or the pool
	lease    atomic.Uint32
	leaving  atomic.Pointer[func()] // server: see OnGone
}

type role uint8

const (
	callFree role = iota
	clientCall
	serverCall
)

type callState uint8

const (
	callNew       callState = iota // client: the request is being built
	callWaiting                    // client: no slot, or no session, yet
	callOpen                       // client: the request is on its way; server: it is being received
	callAnswering                  // server: handed out
	callReplied                    // server: the reply is on its way, or kept in case it was lost
	callEnded                      // client: the reply, or an error, is there
)

// Conn returns the call's session.
func (k *Call) Conn() *Conn { return k.conn }

// Method returns the number of the called method.
func (k *Call) Method() uint32 { return k.method }

// Deadline returns when the call ends, 0 for never. At the server it is the client's, with the time spent in queues taken off.
func (k *Call) Deadline() transport.Time { return k.deadline }

// Body is the received message: the request at the server, until Reply; the reply at the client, until Release. It may lie in the very
// frame that the link received and must not be written.
func (k *Call) Body() []byte {
	b := k.in.contiguous()
	if k.metadata {
		b, _, _ = wire.CutMetadata(b)
	}
	return b
}

// Frames yields the received message as it lies in memory, for readers that need not have it in one piece: a message of up to 64 packets
// stays in the frames that it came in, and Body would copy it. Either may be used while the message is the caller's, from one goroutine.
func (k *Call) Frames() iter.Seq[[]byte] {
	if k.metadata {
		return k.framesBefore()
	}
	return k.in.frames()
}

// Ended tells, at the client, whether the call is over.
func (k *Call) Ended() bool { return k.state == callEnded }

// Code returns an ended call's status code.
func (k *Call) Code() Code { return k.code }

// Refused tells, of an ended call with a status code of the server's, whether the server refused it before its handler ran.
func (k *Call) Refused() bool { return k.flags&wire.FlagNotExecuted != 0 }

// Err returns why an ended call has no reply of the server's, nil when it has one.
func (k *Call) Err() *Error { return k.err }

// Gone tells, at the server, whether nobody waits for the answer any more.
func (k *Call) Gone() bool { return k.gone }

// OnGone lets f be called, at the server, when nobody waits for the answer any more; at once if that is so already. Its caller has the request and has
// not answered it, on whichever goroutine; f is called on it or on the endpoint's owner's, and must not block.
func (k *Call) OnGone(f func()) {
	if !k.leaving.CompareAndSwap(nil, &f) {
		f()
	}
}

// TellGone calls what OnGone was given. The owner calls it for an event RequestGone.
func (k *Call) TellGone() {
	if f := k.leaving.Swap(&nothing); f != nil {
		(*f)()
	}
}

var nothing = func() {}

// Lease returns a number that names this life of the call; EndLease ends it once. Both may be used from any goroutine.
func (k *Call) Lease() uint32 { return k.lease.Load() }

// EndLease is false when the lease has ended before.
func (k *Call) EndLease(lease uint32) bool { return k.lease.CompareAndSwap(lease, lease+1) }

// Buffer is where a request (client, before Start) or a reply (server, before Reply) of one packet is built in place. At a server it is nil
// while too many calls hold a frame; Reply then carries nothing, and ReplyBytes any message.
func (k *Call) Buffer() []byte {
	if k.out.frame == noFrame {
		return nil
	}
	n := min(k.conn.SmallMessage(), int(k.conn.maxMessage()))
	return k.conn.e.bufs[k.out.frame].data[wire.Overhead : wire.Overhead+n]
}

// callPool hands out Call records.
type callPool struct {
	free        *Call
	made        int
	limit       int
	held        int // records that are not free
	outstanding int // client calls that were started and have not ended
}

const callChunk = 64

func (p *callPool) get() *Call {
	if p.free == nil && !p.grow() {
		return nil
	}
	k := p.free
	p.free, k.next = k.next, nil
	p.held++
	return k
}

// grow makes more records; false when there are as many as there may be.
func (p *callPool) grow() bool {
	chunk := make([]Call, min(callChunk, p.limit-p.made))
	p.made += len(chunk)
	for i := range chunk {
		chunk[i].out.call, chunk[i].out.frame, chunk[i].in.frame = &chunk[i], noFrame, noFrame
		chunk[i].next, p.free = p.free, &chunk[i]
	}
	return len(chunk) > 0
}

func (p *callPool) put(k *Call) {
	k.conn, k.Tag, k.err = nil, nil, nil
	k.role, k.state, k.gone, k.acked, k.metadata, k.probes, k.flags, k.code = callFree, callNew, false, false, false, 0, 0, OK
	k.deadline, k.probeAt = 0, 0
	if k.leaving.Load() != nil {
		k.leaving.Store(nil)
	}
	k.out.sentOnce = false
	p.held--
	k.next, p.free = p.free, k
}

// newCall takes a record from the pool; nil when all are in use.
func (e *Endpoint) newCall() *Call {
	k := e.calls.get()
	if k == nil && e.retired != nil {
		e.bury()
		k = e.calls.get()
	}
	return k
}

// retire is recycle put off until packets have gone and frames are given back: the next request does not wait for the last one's end.
func (e *Endpoint) retire(k *Call) {
	if k.out.queued {
		k.conn.unqueue(&k.out)
	}
	k.out.epoch++ // what was sent of it means nothing any more
	k.in.release(k.conn)
	k.next, e.retired = e.retired, k
}

// bury recycles what is retired.
func (e *Endpoint) bury() {
	for e.retired != nil {
		k := e.retired
		e.retired, k.next = k.next, nil
		e.recycle(k)
	}
}

// recycle gives back all that a call holds, and itself.
func (e *Endpoint) recycle(k *Call) {
	if o := &k.out; o.queued || o.data != nil {
		k.conn.retract(o)
	} else {
		e.dropOut(o)
		o.epoch++
	}
	k.in.release(k.conn)
	if k.stream != nil {
		k.stream.release(k.conn)
		k.stream = nil
	}
	e.calls.put(k)
}

// callQueue is a list of calls, each in it at most once.
type callQueue struct{ head, tail *Call }

func (q *callQueue) push(k *Call) {
	if q.tail == nil {
		q.head = k
	} else {
		q.tail.next = k
	}
	q.tail = k
}

func (q *callQueue) pop() {
	k := q.head
	q.head = k.next
	if q.head == nil {
		q.tail = nil
	}
	k.next = nil
}

func (q *callQueue) remove(k *Call) {
	var prev *Call
	for x := q.head; x != k; x = x.next {
		if x == nil {
			return
		}
		prev = x
	}
	if prev == nil {
		q.pop()
		return
	}
	prev.next = k.next
	if q.tail == k {
		q.tail = prev
	}
	k.next = nil
}
