package session

import "fmt"

// Audit is what an endpoint holds at this moment; the zero value for one that has no session, no call and no packet to send.
type Audit struct {
	Records    int   // calls taken from the pool
	Held       int   // frames that something refers to
	OutHeld    int   // of these, as calls count them: for their own messages
	InHeld     int   // and for received ones
	Flying     int   // frames handed to the link and not completed
	Reassembly int64 // bytes
	Peers      int
	Hosts      int
	Credit     int64 // bytes granted and not received
	HalfOpen   int
	Ready      int // sessions queued to send
	Timers     int // sessions in the wheel
	Exposed    int // parts of messages
	Fetching   int // the same
}

// Audit counts. Calls of an unbalanced endpoint (a record in the pool twice, say) panic.
func (e *Endpoint) Audit() Audit {
	a := Audit{Records: e.calls.made, Reassembly: e.reasm, Peers: len(e.peers), HalfOpen: e.halfOpen}
	seen := map[*Call]bool{}
	for k := e.calls.free; k != nil; k = k.next {
		if seen[k] {
			panic("session: a call is in the pool twice")
		}
		seen[k] = true
		a.Records--
	}
	for id := range e.bufs {
		if refs := e.bufs[id].refs; refs < 0 {
			panic(fmt.Sprintf("session: frame %d has %d holders", id, refs))
		} else if refs > 0 {
			a.Held++
		}
		if e.bufs[id].flight {
			a.Flying++
		}
	}
	for c := e.ready.head; c != nil; c = c.readyNext {
		a.Ready++
	}
	for _, c := range e.conns {
		if c != nil && c.timer.linked {
			a.Timers++
		}
		if c != nil && c.idle.linked {
			a.Timers++
		}
	}
	for _, p := range e.hosts {
		if p.timer.linked {
			a.Timers++
		}
	}
	a.Hosts, a.Credit = len(e.hosts), e.credit.out
	a.Exposed, a.Fetching = len(e.exposed), e.fetching
	a.OutHeld, a.InHeld = e.outHeld, e.inHeld
	return a
}

// SetSeq sets the sequence number of a slot's last call.
func (c *Conn) SetSeq(slot int, seq uint32) { c.slots[slot].seq = seq }
