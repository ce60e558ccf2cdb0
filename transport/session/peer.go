package session

import (
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// peer is another process, by its address and port: what its sessions share. One heartbeat and one detector watch it, however many sessions
// there are, and only while this end's clients wait for it: nobody suspects a peer that owes him nothing.
type peer struct {
	key         hostKey
	first       *Conn // its sessions, in no order
	sessions    int
	outstanding int // of this end's calls
	incarnation uint64

	watched  bool
	heardAt  transport.Time // of any packet
	beatAt   transport.Time // from then on a packet counts as an answer to a heartbeat; 0: at once
	pingAt   transport.Time // of the last heartbeat sent
	dueAt    transport.Time // of the next look
	misses   int
	refused  bool // the network says that nobody is there
	detector *detector
	timer    timer
}

type hostKey struct {
	ip   [16]byte
	port uint16
}

const never = transport.Time(1<<63 - 1)

// joinPeer puts a session under its peer.
func (e *Endpoint) joinPeer(c *Conn) {
	key := hostKey{c.path.RemoteIP, c.path.RemotePort}
	p := e.hosts[key]
	if p == nil {
		p = &peer{key: key, beatAt: never}
		p.timer.peer = p
		e.hosts[key] = p
	}
	c.peer, c.peerNext, c.peerPrev = p, p.first, nil
	if p.first != nil {
		p.first.peerPrev = c
	}
	p.first = c
	p.sessions++
	p.outstanding += c.outstanding
}

// leavePeer takes a session out again. A peer without sessions is forgotten.
func (e *Endpoint) leavePeer(c *Conn) {
	p := c.peer
	if p == nil {
		return
	}
	if c.peerPrev == nil {
		p.first = c.peerNext
	} else {
		c.peerPrev.peerNext = c.peerNext
	}
	if c.peerNext != nil {
		c.peerNext.peerPrev = c.peerPrev
	}
	c.peer, c.peerNext, c.peerPrev = nil, nil, nil
	p.sessions--
	p.outstanding -= c.outstanding
	if p.sessions == 0 {
		e.wheel.remove(&p.timer)
		delete(e.hosts, p.key)
	}
}

// watch begins to look after the peer: a call is outstanding.
func (c *Conn) watch(now transport.Time) {
	e, p := c.e, c.peer
	if p.watched || c.state != established {
		return
	}
	if p.detector == nil {
		d := newDetector(e.cfg.Phi, e.cfg.Heartbeat)
		p.detector = &d
	}
	p.watched, p.misses, p.refused = true, 0, false
	p.heardAt, p.pingAt = max(p.heardAt, now), 0
	p.detector.start(now)
	p.beatAt = now.Add(e.cfg.Heartbeat)
	p.dueAt = p.beatAt
	e.wheel.arm(&p.timer, p.dueAt)
}

// heard notes a sign of life.
func (p *peer) heard(e *Endpoint, now transport.Time) {
	p.heardAt = now
	if now >= p.beatAt {
		p.answered(e, now)
	}
}

// answered takes a packet as the answer to a heartbeat.
func (p *peer) answered(e *Endpoint, now transport.Time) {
	p.detector.beat(now)
	p.misses, p.refused = 0, false
	p.beatAt = now.Add(e.cfg.Heartbeat)
}

// handleTimeout looks whether the peer has been heard, asks it for a sign of life if not, and gives it up when the silence is suspicious.
func (p *peer) handleTimeout(e *Endpoint, now transport.Time) {
	interval := e.cfg.Heartbeat
	if p.outstanding == 0 {
		p.watched, p.beatAt = false, never
		p.detector.stop()
		return
	}
	if late := now.Sub(p.dueAt); late > interval/2 { // this process was paused, or its host: the silence is not the peer's
		p.detector.forgive(late)
		p.beatAt = p.beatAt.Add(late)
		p.heardAt = max(p.heardAt, now.Add(-interval))
		p.pingAt = 0
	}
	if now.Sub(p.heardAt) < interval {
		p.due(e, p.heardAt.Add(interval))
		return
	}
	if p.pingAt > p.heardAt && now.Sub(p.pingAt) >= interval {
		p.misses++
		if p.misses == quietMisses {
			p.quiet(e)
		}
		p.pingAt = 0
	}
	if p.silent(e, now) {
		e.stats.PeersSilent++
		p.fail(e, now, errPeerSilent)
		return
	}
	if p.pingAt <= p.heardAt {
		p.pingAt = now
		p.ping()
	}
	next := p.pingAt.Add(interval)
	if p.detector.judged() {
		next = min(next, p.detector.suspectAt())
	}
	p.due(e, max(next, now.Add(minHeartbeatWait)))
}

// quietMisses is after how many heartbeats without an answer the owner is told, who may know of another path.
const quietMisses = 2

// quiet tells the owner that nothing is heard of the peer.
func (p *peer) quiet(e *Endpoint) {
	for c := p.first; c != nil; c = c.peerNext {
		if c.client && c.state == established {
			e.emit(PathQuiet, c, nil, nil)
		}
	}
}

// minHeartbeatWait keeps the timer from running in circles around an instant that the wheel's ticks do not hit.
const minHeartbeatWait = 100 * time.Microsecond

func (p *peer) due(e *Endpoint, at transport.Time) {
	p.dueAt = at
	e.wheel.arm(&p.timer, at)
}

// silent decides: by phi once there are samples to judge by, else by the number of heartbeats that brought nothing.
func (p *peer) silent(e *Endpoint, now transport.Time) bool {
	switch {
	case p.misses == 0:
		return false
	case p.refused:
		return true
	case p.detector.judged():
		return p.detector.phi(now) >= e.cfg.Phi.Threshold
	}
	return p.misses >= e.cfg.Misses
}

// ping asks for a sign of life, in a session that waits for something.
func (p *peer) ping() {
	for c := p.first; c != nil; c = c.peerNext {
		if c.client && c.state == established && c.outstanding > 0 {
			c.wantPing = true
			c.enqueue()
			return
		}
	}
}

// unreachable takes the network's word that nobody is there. Anyone can forge it, so it only asks for a sign of life that has to come within
// a heartbeat.
func (p *peer) unreachable(e *Endpoint, now transport.Time) {
	if !p.watched || p.refused {
		return
	}
	p.refused = true
	p.pingAt, p.misses = now, 0
	p.heardAt = min(p.heardAt, now.Add(-e.cfg.Heartbeat))
	p.ping()
	p.due(e, now.Add(e.cfg.Heartbeat))
}

// fail ends this end's sessions with the peer.
func (p *peer) fail(e *Endpoint, now transport.Time, err *Error) {
	for c := p.first; c != nil; {
		next := c.peerNext
		if c.client && c.state == established {
			c.fail(now, err)
		}
		c = next
	}
}

// Phi is how suspicious the peer's present silence is: the tenth power of which one silence is expected to be as long by chance (Hayashibara
// and others, 2004). 0 while nothing is outstanding, because nobody listens.
func (c *Conn) Phi(now transport.Time) float64 {
	if p := c.peer; p != nil && p.watched {
		return p.detector.phi(now)
	}
	return 0
}
