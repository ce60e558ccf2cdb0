// Package session is the protocol's core, sans-IO: handshake, packet numbers and acknowledgements, loss recovery, congestion control, calls
// that run at most once, streams, long messages and the credit for them, heartbeats and failure detection, paths that change.
// docs/protocol.md tells what goes over the wire, and every constant with its reason.
//
// An [Endpoint] does no I/O, reads no clock, starts no goroutine and takes no lock. Its owner calls, from one goroutine at a time and in
// this order a turn:
//
//	Fetch          if it has many sessions, with a burst of received frames: it changes nothing and saves time
//	HandlePacket   for every received frame; the endpoint keeps the frame or gives it back by itself
//	PollFetch      if the link is a transport.Fetcher, at once after that: reads that it is to begin
//	HandleFetched  for those that have ended
//	HandleCompleted for every frame whose flight ended
//	HandleTimeout  when NextTimeout has come
//	PollEvent      until there is none: requests to answer, calls that ended, sessions that opened and closed
//	PollTransmit   and Sent: packets for the link
//	FreeFrames     now and then, and before NextTimeout is relied on: it gives back frames, and acknowledgements put off get their timers
//
// Between these it may start calls (Start), answer requests (Reply), dial and close. Time is an argument everywhere and never goes back;
// randomness comes from Config.Seed. Network input never panics. Once a session is established, small calls allocate nothing; memory grows
// with what is under way, up to Config's bounds.
package session

import (
	"math/rand/v2"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// Frames is the part of a transport.Link that an Endpoint uses: the packet buffers.
type Frames interface {
	Caps() transport.Caps
	Alloc(f *transport.Frame) bool
	Free(fs []transport.Frame)
}

// Endpoint holds the sessions of one link.
type Endpoint struct {
	cfg    Config
	frames Frames
	caps   transport.Caps
	ecn    uint8 // the codepoint to send with
	random *rand.Rand
	secret [32]byte // keys the handshake's tokens

	bufs      []buffer // by Frame.ID
	scratch   transport.Frame
	garbage   []transport.Frame
	spare     []int32           // frames to send that are free, last used last
	pending   []transport.Frame // built, not yet taken by the link; the first taken of them are
	taken     int
	parts     int     // of long messages, in pending
	conns     []*Conn // by index of the session ID
	freeConns []uint32
	open      int
	peers     map[peerKey]*Conn
	hosts     map[hostKey]*peer
	ready     connQueue // have something to send
	fetched   byte      // see Fetch
	acking    []*Conn   // put an acknowledgement off, and have no timer for it yet
	wheel     wheel
	sweep     timer // while long messages are arriving
	sweepAt   transport.Time
	credit    credit
	buffers   buffers
	packet    packet            // that is being built
	fetcher   transport.Fetcher // nil: parts of messages come in packets
	exposed   []exposure        // parts of messages that receivers may read
	pieces    uint32            // exposed ever
	fetches   []fetch           // by transport.Fetch.Tag
	fetching  int               // of them, under way

	freeFetches []uint32
	toFetch     []transport.Fetch

	calls     callPool
	retired   *Call       // finished with, and not yet back in the pool
	outs      *outMessage // the pool of streams' messages
	incomings *Incoming
	listening map[uint16]Listener
	listened  bool           // at any time
	helloAt   transport.Time // of the first Hello that nobody listened for
	halfOpen  int
	answering int // requests handed out and not yet answered
	reasm     int64
	outHeld   int // frames that calls hold for their own message
	inHeld    int // frames that received messages are held in
	outLimit  int
	inLimit   int
	resets    bucket
	strays    bucket // Resets for others, and challenges

	events    []Event
	eventHead int
	stats     Stats
}

// Listener is what Listen accepts sessions with.
type Listener struct {
	Security wire.Security
	Draining bool // new sessions are refused
}

type peerKey struct {
	ip   [16]byte
	port uint16
	id   uint64
}

// New makes an endpoint whose packets live in frames. It panics when the configuration cannot work.
func New(frames Frames, cfg Config) *Endpoint {
	caps := frames.Caps()
	if cfg.TargetDelay == 0 {
		cfg.TargetDelay = defaultTargetDelay + caps.BurstDelay
	}
	if caps.Reliable {
		cfg.Congestion = Fixed
	}
	cfg = cfg.withDefaults()
	e := &Endpoint{
		cfg:       cfg,
		frames:    frames,
		caps:      caps,
		random:    rand.New(rand.NewChaCha8(cfg.Seed)),
		bufs:      make([]buffer, caps.Frames),
		garbage:   make([]transport.Frame, 0, caps.Frames),
		spare:     make([]int32, 0, min(spareFrames, caps.Frames/16)),
		pending:   make([]transport.Frame, 0, caps.Burst),
		peers:     make(map[peerKey]*Conn),
		hosts:     make(map[hostKey]*peer),
		listening: make(map[uint16]Listener),
		events:    make([]Event, 0, 64),
		resets:    bucket{rate: cfg.ResetsPerSecond},
		strays:    bucket{rate: cfg.ResetsPerSecond},
	}
	for i := range e.secret {
		e.secret[i] = byte(e.random.Uint32())
	}
	if caps.ECN {
		e.ecn = ecnCapable
	}
	if f, ok := frames.(transport.Fetcher); ok && caps.FetchLeast > 0 {
		e.fetcher = f
	}
	e.calls.limit = cfg.Calls
	e.limitHolds()
	return e
}

// Listen accepts sessions that clients open to a local port, 0 for every port that has no Listener of its own. A later call for the same
// port replaces the Listener.
func (e *Endpoint) Listen(port uint16, l Listener) { e.listening[port], e.listened = l, true }

// Unlisten refuses new sessions to a port. Those that are open stay.
func (e *Endpoint) Unlisten(port uint16) { delete(e.listening, port) }

// HandlePacket takes a received frame. When the packet belongs to another endpoint of the process, it returns that one's number and
// ours is false: the frame then stays the caller's. Its own number stands for a Reset, which does not name the receiver's session: any of
// the others may be meant. Otherwise the endpoint gives the frame back by itself when its last reader is done.
func (e *Endpoint) HandlePacket(now transport.Time, f *transport.Frame) (owner uint16, ours bool) {
	e.stats.Packets++
	b := &e.bufs[f.ID]
	b.refs = 1 // held while it is looked at, so that a message released meanwhile does not free it
	if c := e.session(f); c != nil {
		c.handleData(now, f)
	} else if kept := e.dispatch(now, f); kept >= 0 {
		b.refs = 0
		e.stats.Misdirected++
		return uint16(kept), false
	}
	e.drop(int32(f.ID))
	return e.cfg.Engine, true
}

// session finds the session of a data packet; nil where there is anything else to say of the packet.
func (e *Endpoint) session(f *transport.Frame) *Conn {
	b := f.Data
	if len(b) < wire.DataHeaderBytes+wire.ChecksumBytes || wire.KindOf(b) != wire.Data {
		return nil
	}
	return e.lookup(wire.SessionOf(b))
}

// dispatch sees to all but the data packets of sessions. It returns the owner of a packet that is not ours, else -1.
func (e *Endpoint) dispatch(now transport.Time, f *transport.Frame) int {
	b := f.Data
	switch kind := wire.KindOf(b); {
	case len(b) < wire.DataHeaderBytes+wire.ChecksumBytes:
		e.stats.Malformed++
	case kind == wire.Data:
		id := wire.SessionOf(b)
		if owner := engineOf(id); owner != e.cfg.Engine {
			return int(owner)
		}
		e.unknownSession(now, f)
	case kind >= wire.Hello && kind <= wire.Reset:
		var h wire.Handshake
		if !h.Parse(b) {
			e.stats.Malformed++
		} else if owner := engineOf(h.Session); h.Kind != wire.Hello && h.Kind != wire.Reset && owner != e.cfg.Engine {
			return int(owner)
		} else if !e.handleHandshake(now, f, &h) {
			return int(e.cfg.Engine)
		}
	default:
		e.stats.Malformed++
	}
	return -1
}

// HandleStray takes a packet that HandlePacket found to be of an endpoint that this process does not have: of its predecessor, probably.
// The frame stays the caller's.
func (e *Endpoint) HandleStray(now transport.Time, f *transport.Frame) {
	if wire.KindOf(f.Data) == wire.Data {
		e.unknownSession(now, f)
	}
}

// HandleUnreachable takes a link's word that the network refused a packet to a path. It ends a handshake; an established session is only
// asked for a sign of life, because anyone can forge such a message.
func (e *Endpoint) HandleUnreachable(now transport.Time, p *transport.Path, err error) {
	for _, h := range e.hosts {
		if h.key.ip != p.RemoteIP || p.RemotePort != 0 && h.key.port != p.RemotePort {
			continue
		}
		for c := h.first; c != nil; {
			next := c.peerNext
			if c.state == connecting {
				c.fail(now, &Error{Code: Unavailable, Outcome: NotExecuted, Reason: "the server's host refused the packet: nobody listens there", Err: err})
			}
			c = next
		}
		h.unreachable(e, now)
	}
}

// HandleMTU takes a link's word that a path, or every path where p names none, carries no more than p.MTU bytes a packet: sessions cut what
// they send from now on, and what comes back as lost, to that. Less than a session works with is not believed.
func (e *Endpoint) HandleMTU(p *transport.Path) {
	if int(p.MTU) < minPacketBytes {
		return
	}
	for _, c := range e.conns {
		if c != nil && (p.RemoteIP == [16]byte{} || p.RemoteIP == c.path.RemoteIP) {
			c.stepDown(int(p.MTU))
		}
	}
}

// HandleTimeout does what is due.
func (e *Endpoint) HandleTimeout(now transport.Time) {
	for {
		switch t := e.wheel.expire(now); {
		case t == nil:
			return
		case t.conn != nil && t == &t.conn.idle:
			t.conn.handleIdle(now)
		case t.conn != nil:
			t.conn.handleTimeout(now)
		case t.peer != nil:
			t.peer.handleTimeout(e, now)
		default:
			e.handleSweep(now)
		}
	}
}

// NextTimeout is when HandleTimeout wants to be called next; 0 for never.
func (e *Endpoint) NextTimeout() transport.Time {
	if len(e.acking) > 0 {
		e.armAcks()
	}
	return e.wheel.next()
}

// Busy tells whether somebody has to go on polling: calls are outstanding, requests being answered, or packets wait to be sent.
func (e *Endpoint) Busy() bool {
	return e.calls.outstanding > 0 || e.answering > 0 || e.ready.head != nil || len(e.pending) > 0
}

// Outstanding counts the calls of this endpoint's clients that have not ended.
func (e *Endpoint) Outstanding() int { return e.calls.outstanding }

// Answering counts the requests that were handed out and not yet answered.
func (e *Endpoint) Answering() int { return e.answering }

// Sessions counts the open sessions, those being opened included.
func (e *Endpoint) Sessions() int { return e.open }

// Conns calls f with every open session.
func (e *Endpoint) Conns(f func(*Conn)) {
	for _, c := range e.conns {
		if c != nil {
			f(c)
		}
	}
}

// A session ID names its endpoint, the session's place there, and 32 random bits.
const (
	engineBits = 12
	indexBits  = 20
)

// Engines is how many endpoints of a process can be told apart.
const Engines = 1 << engineBits

func engineOf(id uint64) uint16 { return uint16(id >> (64 - engineBits)) }

func indexOf(id uint64) uint32 { return uint32(id>>32) & (1<<indexBits - 1) }

func (e *Endpoint) lookup(id uint64) *Conn {
	i := indexOf(id)
	if int(i) >= len(e.conns) {
		return nil
	}
	if c := e.conns[i]; c != nil && c.id == id {
		return c
	}
	return nil
}

// newConn makes a session with an ID of its own; nil when there are too many.
func (e *Endpoint) newConn(path transport.Path, client bool, now transport.Time) *Conn {
	if e.open >= e.cfg.Sessions {
		return nil
	}
	var index uint32
	if n := len(e.freeConns); n > 0 {
		index, e.freeConns = e.freeConns[n-1], e.freeConns[:n-1]
	} else {
		index = uint32(len(e.conns))
		e.conns = append(e.conns, nil)
	}
	c := &Conn{
		e:       e,
		id:      uint64(e.cfg.Engine)<<(64-engineBits) | uint64(index)<<32 | uint64(e.random.Uint32()),
		path:    path,
		client:  client,
		heardAt: now,
	}
	c.timer.conn, c.idle.conn = c, c
	c.gathering = noFrame
	c.cc = newController(e.cfg.Congestion, e.cfg.Window, e.cfg.TargetDelay)
	c.cwnd, c.gap = c.cc.window()
	c.resetThresholds()
	e.conns[index] = c
	e.open++
	e.joinPeer(c)
	return c
}

// forget frees a closed session's place.
func (e *Endpoint) forget(c *Conn) {
	index := indexOf(c.id)
	if e.conns[index] != c {
		return
	}
	e.conns[index] = nil
	e.freeConns = append(e.freeConns, index)
	e.open--
	e.opened(c)
	if e.peers[c.key()] == c {
		delete(e.peers, c.key())
	}
	c.concealAll()
	e.wheel.remove(&c.timer)
	e.wheel.remove(&c.idle)
	e.leavePeer(c)
}

// CallLimit is the most calls and requests that there can be at once.
func (e *Endpoint) CallLimit() int { return e.cfg.Calls }

// Held counts the calls and requests that are somebody's: not ended, not answered, or not released.
func (e *Endpoint) Held() int { return e.calls.held }

// Unsent tells whether packets wait to be built or taken by the link.
func (e *Endpoint) Unsent() bool { return e.ready.head != nil || len(e.pending) > 0 }
