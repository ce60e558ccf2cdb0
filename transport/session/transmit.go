package session

import "github.com/fastrpc/fastrpc/transport"

// longBurst is how many parts of long messages go in one burst: what comes meanwhile, a small call, say, waits for no more.
const longBurst = 16

// PollTransmit builds packets until the link's burst is full, or as many parts of long messages are in it as may be, and returns all that are
// built and not yet sent, in order.
func (e *Endpoint) PollTransmit(now transport.Time) []transport.Frame {
	for c := e.ready.head; c != nil && len(e.pending) < e.caps.Burst && e.parts < longBurst; c = e.ready.head {
		e.ready.pop()
		sent := len(e.pending)
		if c.transmit(now) {
			c.enqueue() // more to send: behind the other sessions
			if len(e.pending) == sent {
				break // no free frame: again in the next turn
			}
		}
	}
	return e.pending[e.taken:]
}

// queue hands a built packet of n bytes to the link's burst.
func (e *Endpoint) queue(id int32, n int, p *transport.Path) {
	b := &e.bufs[id]
	b.flight, b.fresh = true, false
	f := grow(&e.pending)
	f.ID, f.Data, f.Path, f.ECN = uint32(id), b.data[:n], *p, e.ecn
}

// grow lengthens fs by one frame, to be filled in field by field: a whole frame that is built elsewhere and copied takes longer than all else
// that is done with it.
func grow(fs *[]transport.Frame) *transport.Frame {
	n := len(*fs)
	if n == cap(*fs) {
		*fs = append(*fs, transport.Frame{})
	}
	*fs = (*fs)[:n+1]
	return &(*fs)[n]
}

// Sent tells that the link took the first n of the packets that PollTransmit returned.
func (e *Endpoint) Sent(n int) {
	e.stats.Sent += uint64(n)
	e.taken += n
	if e.taken == len(e.pending) {
		e.pending, e.taken, e.parts = e.pending[:0], 0, 0
	}
}

// Unsendable tells that the link refused the first of the packets that PollTransmit returned. It counts as lost on the way.
func (e *Endpoint) Unsendable() {
	e.stats.Unsendable++
	f := e.pending[e.taken]
	e.Sent(1)
	e.stats.Sent--
	e.HandleCompleted([]transport.Frame{f})
}

// connQueue is a list of sessions, each in it at most once. A session that closes stays until its turn comes.
type connQueue struct{ head, tail *Conn }

func (q *connQueue) push(c *Conn) {
	c.inReady = true
	if q.tail == nil {
		q.head = c
	} else {
		q.tail.readyNext = c
	}
	q.tail = c
}

func (q *connQueue) pop() {
	c := q.head
	q.head = c.readyNext
	if q.head == nil {
		q.tail = nil
	}
	c.readyNext, c.inReady = nil, false
}

// enqueue marks a session as having something to send.
func (c *Conn) enqueue() {
	if !c.inReady && c.state != closed {
		c.e.ready.push(c)
	}
}
