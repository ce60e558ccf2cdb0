package session

import (
	"fmt"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

type connState uint8

const (
	connecting connState = iota
	established
	closed
)

// Conn is one session: a client's with a server, or a server's with a client.
//
// What every packet touches comes first, in as few cache lines as may be: where there are thousands of sessions, each line of each is fetched
// from memory. See Endpoint.Fetch.
type Conn struct {
	e        *Endpoint
	id       uint64 // ours: the peer puts it into its packets
	remoteID uint64 // the peer's
	client   bool
	state    connState
	halfOpen bool // server: the client has not yet sent anything in the session
	proven   bool // server: its token has shown that it receives here, so that it does not count as half open
	blocked  bool // the window held something back since the last acknowledgement
	marked   bool // a packet with the mark CE was received since the last acknowledgement
	wantPing bool
	inReady  bool
	ackNow   bool
	acking   bool // in Endpoint.acking
	away     bool // server, reliable link: the connection has ended, and only the client can open another

	ptoCount        uint8
	packetThreshold uint8
	timeThreshold   uint8
	hole            blackHole
	packetBytes     int // most bytes of a packet to send, checksum or tag included
	smallerBytes    int // the next smaller step
	unacked         int
	path            transport.Path

	window    receiveWindow
	ackAt     transport.Time
	heardAt   transport.Time // of any packet
	peer      *peer
	slots     []slot
	smalls    outQueue      // small messages that wait
	gathering int32         // the frame that takes the next of them; noFrame: its own
	openEnd   int           // where it goes there
	longs     []*outMessage // long ones that are not delivered

	sent     sentLog
	topAcked uint64         // the largest packet number that was acknowledged
	lossAt   transport.Time // when a packet counts as lost unless it is acknowledged, 0: none is suspected
	elicitAt transport.Time // when the last packet was sent that the probe timeout waits for
	longAt   transport.Time // when the peer last took a part of a long message
	ackedAt  transport.Time // of the last progress in what is acknowledged
	rtt      rtt
	cwnd     int            // packets that may be unacknowledged
	gap      time.Duration  // between two packets, where the window is below one
	paceAt   transport.Time // when the next one may go
	controls []control

	outstanding  int
	callsAt      transport.Time // no call is due before; 0: none is
	messageBytes uint32
	callsAtOnce  int
	freeSlots    []uint16 // client
	waiting      callQueue
	readyNext    *Conn
	timer        timer
	owd          oneWay // server

	// The rest is touched seldom.

	// Tag is the owner's own.
	Tag any

	idle         timer
	pingAt       transport.Time // client: of the last keep-alive
	err          *Error
	incarnation  uint64        // the peer's
	streamWindow uint32        // messages that the peer takes on a new stream
	peerAckDelay time.Duration // what the peer puts its acknowledgements off for
	keepAlive    time.Duration // client: interval of heartbeats without calls
	cc           controller
	chosen       *outMessage // of the long messages, the one whose turn it is
	turn         uint
	looks        uint      // for a chosen one
	arriving     []*inLong // long messages that are not whole, oldest first
	creditOut    int64     // bytes of them that this end has granted and not received
	creditNext   *Conn     // in the queue of those that want credit
	wantsCredit  bool      // is in it
	fetchFaults  uint8     // reads that have failed

	peerNext, peerPrev *Conn
	challenge          *challenge  // server: an address that the client may have moved to
	challenged         uint64      // client: the token to answer with
	hello              *helloState // client, while connecting
}

// ID is the session's number, unique in the process and, by its random half, among its peers.
func (c *Conn) ID() uint64 { return c.id }

// Path returns the way to the peer.
func (c *Conn) Path() transport.Path { return c.path }

// Client tells whether this end opened the session.
func (c *Conn) Client() bool { return c.client }

// Established tells whether the handshake is over and the session not yet closed.
func (c *Conn) Established() bool { return c.state == established }

// RTT returns the smoothed round-trip time, 0 before there is a sample.
func (c *Conn) RTT() time.Duration { return c.rtt.smoothed }

// SmallMessage is the longest message that travels in one packet, in place, bytes.
func (c *Conn) SmallMessage() int { return c.packetBytes - wire.Overhead - wire.TagBytes }

// MaxMessage is the longest message that both ends take, bytes.
func (c *Conn) MaxMessage() uint32 { return c.messageBytes }

func (c *Conn) maxMessage() uint32 { return c.messageBytes }

func (c *Conn) key() peerKey {
	return peerKey{ip: c.path.RemoteIP, port: c.path.RemotePort, id: c.remoteID}
}

// agree takes over what the peer offers, within our own limits.
func (c *Conn) agree(h *wire.Handshake) {
	cfg := &c.e.cfg
	c.remoteID, c.incarnation = h.Source, h.Incarnation
	c.setPacketBytes(min(c.e.packetBytes(&c.path), int(h.MaxPacket)))
	c.messageBytes = min(cfg.MaxMessage, h.MaxMessage)
	c.callsAtOnce = min(cfg.CallsPerSession, int(h.Calls), wire.Slots)
	c.streamWindow = min(uint32(h.StreamWindow), maxStreamWindow)
	c.keepAlive = cfg.KeepAlive
	if h.IdleSeconds > 0 { // three pings before the server loses its patience
		c.keepAlive = min(c.keepAlive, time.Duration(h.IdleSeconds)*time.Second/3)
	}
	c.peerAckDelay = min(time.Duration(h.AckDelay)*time.Microsecond, 100*time.Millisecond)
}

// packetBytes is the most that this end sends or takes in one packet on a path.
func (e *Endpoint) packetBytes(p *transport.Path) int {
	return min(int(p.MTU), e.caps.FrameBytes, 65535)
}

// minPacketBytes is the least packet that a session can work with: a Hello, and fragments of a useful size.
const minPacketBytes = wire.Overhead + wire.TagBytes + wire.TotalBytes + 2*minPart

// Close ends the session. The peer is told once, and hears it again when it sends to the closed session.
func (c *Conn) Close(now transport.Time, code Code, reason string) {
	if c.state == closed {
		return
	}
	if c.state == established {
		p := &c.e.packet
		if p.id, p.data = c.e.alloc(); p.id != noFrame {
			n := copy(p.data[wire.Overhead:wire.Overhead+maxReason], reason)
			fr := wire.Frame{Type: wire.Close, A: uint32(code)}
			fr.Put(p.data[wire.DataHeaderBytes:], n)
			p.n, p.items, p.flies, p.timed = wire.Overhead+n, 0, false, false
			c.finish(now, p, &c.path)
		}
	}
	c.fail(now, &Error{Code: code, Outcome: MaybeExecuted, Reason: reason})
}

// fail ends the session and every call in it. A call whose request was never sent is known not to have run.
func (c *Conn) fail(now transport.Time, err *Error) {
	if c.state == closed {
		return
	}
	c.state, c.err = closed, err
	announced := !c.halfOpen
	unsent := *err
	unsent.Outcome = NotExecuted
	for i := range c.slots {
		switch k := c.slots[i].call; {
		case k == nil:
		case c.client && k.out.sentOnce:
			c.endCall(k, err.Code, err)
		case c.client:
			c.endCall(k, err.Code, &unsent)
		default:
			c.abandon(k)
		}
	}
	for c.waiting.head != nil {
		c.endCall(c.waiting.head, err.Code, &unsent)
	}
	c.e.forget(c)
	c.e.stats.SessionsClosed++
	if announced {
		c.e.emit(SessionClosed, c, nil, err)
	}
}

// closedError says, to somebody who would start a call, why he cannot.
func (c *Conn) closedError() *Error {
	if c.err == nil {
		return ErrConnClosed
	}
	err := *c.err
	err.Outcome = NotExecuted
	return &err
}

// failure is a peer's status code where it cannot be OK.
func failure(code uint32) Code {
	if Code(code) == OK {
		return Unavailable
	}
	return Code(code)
}

// handleClose takes the peer's word that the session is over.
func (c *Conn) handleClose(now transport.Time, fr *wire.Frame) {
	reason := fmt.Sprintf("the peer closed the session: %q", fr.Payload[:min(len(fr.Payload), maxReason)])
	c.fail(now, &Error{Code: failure(fr.A), Outcome: MaybeExecuted, Reason: reason})
}
