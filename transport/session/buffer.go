package session

import "github.com/fastrpc/fastrpc/transport"

// noFrame stands for no frame where a Frame.ID is kept.
const noFrame = -1

// buffer is what the endpoint knows of one of the link's frames. A frame goes back to the link when nobody holds it and it is not in
// flight: a frame with sent messages is held by each of them until the peer acknowledged it, a received one until its last message is
// released.
type buffer struct {
	data   []byte // to send: the whole capacity
	refs   int32
	flight bool
	ours   bool // taken by Alloc, and not given back yet
	fresh  bool // not sent yet: more may be written behind what is in it
	holder holder
}

// holder tells whose limit a held frame counts against.
type holder uint8

const (
	nobody   holder = iota
	sending         // it holds messages of calls on their way out
	received        // it holds received messages
)

// alloc takes a frame to send, held once: of those that were used last, whose memory is in the processor's caches, or else of the link's.
func (e *Endpoint) alloc() (id int32, data []byte) {
	if n := len(e.spare); n > 0 {
		id = e.spare[n-1]
		e.spare = e.spare[:n-1]
		b := &e.bufs[id]
		b.refs, b.fresh = 1, true
		return id, b.data
	}
	f := &e.scratch
	if !e.frames.Alloc(f) {
		e.FreeFrames()
		if !e.frames.Alloc(f) {
			e.stats.NoFrame++
			return noFrame, nil
		}
	}
	b := &e.bufs[f.ID]
	b.data, b.refs, b.ours, b.fresh = f.Data, 1, true, true
	return int32(f.ID), f.Data
}

// spareFrames is how many frames to send the endpoint keeps to itself.
const spareFrames = 32

// outReserve is how many frames to send are left for acknowledgements, heartbeats and fragments: a burst of every session that may have them.
const outReserve = 64

// limitHolds sets how many frames calls may hold, so that those who keep their replies, or are slow to answer, cannot make the link deaf
// and dumb. Half of the frames are to send, half to receive.
func (e *Endpoint) limitHolds() {
	half := e.caps.Frames / 2
	e.outLimit = half - min(outReserve, half/4)
	e.inLimit = half / 2
	e.credit.limit = e.cfg.Credit
	if e.credit.limit == 0 {
		e.credit.limit = int64(max(half/2, 1)) * int64(e.caps.FrameBytes)
	}
}

// allocOut takes a frame for a call's own message; noFrame when there is none to be had.
func (e *Endpoint) allocOut() int32 {
	if e.outHeld >= e.outLimit {
		e.stats.NoFrame++
		return noFrame
	}
	id, _ := e.alloc()
	if id != noFrame {
		e.count(id)
	}
	return id
}

// count makes a frame to send count as held by messages.
func (e *Endpoint) count(id int32) {
	e.bufs[id].holder = sending
	e.outHeld++
}

// holdReceived lets a message stay in the frame that it was received in; false when too many frames are held already.
func (e *Endpoint) holdReceived(id uint32) bool {
	b := &e.bufs[id]
	if b.holder == nobody {
		if e.inHeld >= e.inLimit {
			return false
		}
		b.holder = received
		e.inHeld++
	}
	b.refs++
	return true
}

// drop gives up one hold on a frame.
func (e *Endpoint) drop(id int32) {
	b := &e.bufs[id]
	if b.refs--; b.refs == 0 {
		e.freed(b, id)
	}
}

// freed sees to a frame that nobody holds any more.
func (e *Endpoint) freed(b *buffer, id int32) {
	switch b.holder {
	case sending:
		e.outHeld--
	case received:
		e.inHeld--
	}
	b.holder = nobody
	if !b.flight {
		e.discard(uint32(id))
	}
}

// HandleCompleted takes frames whose flight ended.
func (e *Endpoint) HandleCompleted(fs []transport.Frame) {
	for i := range fs {
		b := &e.bufs[fs[i].ID]
		b.flight = false
		if b.refs == 0 {
			e.discard(fs[i].ID)
		}
	}
}

// discard notes a frame that goes back to the link, unless it is soon used again.
func (e *Endpoint) discard(id uint32) {
	if b := &e.bufs[id]; b.ours {
		if len(e.spare) < cap(e.spare) {
			e.spare = append(e.spare, int32(id))
			return
		}
		b.ours = false
	}
	grow(&e.garbage).ID = id
}

// FreeFrames gives the frames that nobody needs any more back to the link, finished calls to the pool, and acknowledgements that were put off
// their timers. It comes after the packets of a turn, because they go first.
func (e *Endpoint) FreeFrames() {
	e.bury()
	e.armAcks()
	if e.open == 0 {
		for _, id := range e.spare {
			e.bufs[id].ours = false
			grow(&e.garbage).ID = uint32(id)
		}
		e.spare = e.spare[:0]
	}
	if len(e.garbage) > 0 {
		e.frames.Free(e.garbage)
		e.garbage = e.garbage[:0]
	}
}
