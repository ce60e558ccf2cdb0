package session

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// helloState is what a client needs until its session is established.
type helloState struct {
	echo     uint64 // a random number that every answer has to return
	token    [tokenBytes]byte
	hasToken bool
	said     int
	firstAt  transport.Time
	at       transport.Time // when to say it again
}

// Dial opens a session. It is established, or over, with an event; until then calls wait in it.
func (e *Endpoint) Dial(now transport.Time, path transport.Path, s wire.Security) (*Conn, *Error) {
	if s != wire.Insecure {
		return nil, &Error{Code: FailedPrecondition, Outcome: NotExecuted, Reason: fmt.Sprintf("security mode %d is not known", s)}
	}
	if n := e.packetBytes(&path); n < minPacketBytes {
		return nil, &Error{Code: FailedPrecondition, Outcome: NotExecuted,
			Reason: fmt.Sprintf("the path carries packets of %d bytes, at least %d are needed: raise the MTU", n, minPacketBytes)}
	}
	c := e.newConn(path, true, now)
	if c == nil {
		return nil, ErrTooManySessions
	}
	c.packetBytes, c.messageBytes = e.packetBytes(&path), e.cfg.MaxMessage
	c.hello = &helloState{echo: e.random.Uint64(), firstAt: now}
	c.enqueue()
	return c, nil
}

// sendHello says Hello and sets the time to say it again.
func (c *Conn) sendHello(now transport.Time) {
	h := c.hello
	p := c.e.offer(wire.Hello, c)
	p.Session, p.Echo = 0, h.echo
	if h.hasToken {
		p.Payload = h.token[:]
	}
	c.e.sendHandshake(&p, &c.path)
	h.at = now.Add(min(c.e.cfg.HelloTimeout<<min(h.said, 16), helloTimeoutMax))
	h.said++
	c.e.wheel.arm(&c.timer, h.at)
}

// helloTimeout says Hello again; whoever dialled decides how long.
func (c *Conn) helloTimeout(now transport.Time) {
	if c.hello.at != 0 && c.hello.at <= now {
		c.hello.at = 0
		c.enqueue()
	}
}

// offer fills in what this end offers or grants in a handshake packet.
func (e *Endpoint) offer(kind wire.Kind, c *Conn) wire.Handshake {
	return wire.Handshake{
		Kind:         kind,
		Calls:        uint32(e.cfg.CallsPerSession),
		Session:      c.remoteID,
		Source:       c.id,
		Incarnation:  e.cfg.Incarnation,
		MaxMessage:   e.cfg.MaxMessage,
		MaxPacket:    uint16(e.packetBytes(&c.path)),
		IdleSeconds:  uint16(min((e.cfg.IdleTimeout+time.Second-1)/time.Second, 1<<16-1)),
		AckDelay:     uint32(e.ackDelay() / time.Microsecond),
		StreamWindow: uint16(e.cfg.StreamWindow),
	}
}

// ackDelay is the longest that this end puts an acknowledgement off for which the peer waits.
func (e *Endpoint) ackDelay() time.Duration {
	if e.caps.Reliable {
		return e.cfg.LazyAckDelay
	}
	return e.cfg.AckDelay
}

// sendHandshake builds a handshake packet. Without a free frame, or behind too many others, it is lost as on the way.
func (e *Endpoint) sendHandshake(h *wire.Handshake, p *transport.Path) {
	if len(e.pending) >= 4*e.caps.Burst {
		e.stats.AnswersDropped++
		return
	}
	id, data := e.alloc()
	if id == noFrame {
		return
	}
	e.queue(id, h.Put(data), p)
	e.drop(id)
}

// handleHandshake takes a packet that Handshake.Parse found to be whole; false when it is of no session here.
func (e *Endpoint) handleHandshake(now transport.Time, f *transport.Frame, h *wire.Handshake) bool {
	switch h.Kind {
	case wire.Hello:
		e.handleHello(now, f, h)
	case wire.Reset:
		return e.handleReset(now, f, h)
	default:
		c := e.lookup(h.Session)
		if c == nil || c.state != connecting || c.hello.echo != h.Echo || c.path.RemoteIP != f.Path.RemoteIP || c.path.RemotePort != f.Path.RemotePort {
			e.stats.Stale++
			return true
		}
		c.handleAnswer(now, h)
	}
	return true
}

// handleAnswer takes a server's answer to the Hello of a session that is being opened.
func (c *Conn) handleAnswer(now transport.Time, h *wire.Handshake) {
	switch h.Kind {
	case wire.Accept:
		if int(h.MaxPacket) < minPacketBytes || h.Calls == 0 || h.Source == 0 {
			c.e.stats.Malformed++
			return
		}
		if c.hello.said == 1 {
			c.rtt.sample(now, now.Sub(c.hello.firstAt), 0, false)
		}
		c.agree(h)
		c.hello = nil
		c.state = established
		c.heardAt = now
		c.e.peers[c.key()] = c
		c.wantPing = true // shows the server that this end receives
		c.enqueue()
		c.e.emit(SessionOpened, c, nil, nil)
		if c.outstanding > 0 {
			c.watch(now)
		}
		c.openWaiting()
		c.e.wheel.arm(&c.idle, c.keepAliveAt())
	case wire.Retry:
		if len(h.Payload) != tokenBytes || c.hello.hasToken && [tokenBytes]byte(h.Payload) == c.hello.token {
			c.e.stats.Malformed++
			return
		}
		copy(c.hello.token[:], h.Payload)
		c.hello.hasToken = true
		c.enqueue()
	case wire.Refuse:
		reason := fmt.Sprintf("the server refused the session: %s", h.Payload[:min(len(h.Payload), maxReason)])
		c.fail(now, &Error{Code: failure(h.Code), Outcome: NotExecuted, Reason: reason})
	}
}

// handleHello takes a client's wish for a session. Above half of Config.HalfOpen it has to come with a token, which shows that the client
// receives at its address; until then nothing is kept of it, and no answer is longer than what was received. With a token, only Config.Sessions
// is a limit: all clients of a server that was restarted may come at once.
func (e *Endpoint) handleHello(now transport.Time, f *transport.Frame, h *wire.Handshake) {
	l, listening := e.listening[f.Path.LocalPort]
	if !listening {
		l, listening = e.listening[0]
	}
	if !listening && e.starting(now) {
		e.stats.AnswersDropped++
		return
	}
	if !listening {
		e.refuse(f, h, Unavailable, "nobody listens on this port")
		return
	}
	key := peerKey{ip: f.Path.RemoteIP, port: f.Path.RemotePort, id: h.Source}
	if c := e.peers[key]; c != nil && !c.client && c.incarnation == h.Incarnation {
		c.accept(h.Echo) // the first answer was lost
		return
	}
	switch {
	case l.Draining:
		e.refuse(f, h, Unavailable, "the server is shutting down")
		return
	case l.Security != h.Security:
		e.refuse(f, h, Unauthenticated, "the server and the client differ in their security: use WithInsecure on both, or credentials on both")
		return
	case int(h.MaxPacket) < minPacketBytes || e.packetBytes(&f.Path) < minPacketBytes || h.Calls == 0 || h.Source == 0:
		e.refuse(f, h, InvalidArgument, "the Hello's limits are too small to work with")
		return
	}
	crowded := e.halfOpen >= e.cfg.HalfOpen/2
	if crowded && !e.checkToken(now, key, h.Payload) {
		e.stats.Retries++
		token := e.token(now, key)
		e.sendHandshake(&wire.Handshake{Kind: wire.Retry, Session: h.Source, Echo: h.Echo, Incarnation: e.cfg.Incarnation, Payload: token[:]}, &f.Path)
		return
	}
	c := e.newConn(f.Path, false, now)
	if c == nil {
		e.stats.SessionsRefused++
		e.refuse(f, h, ResourceExhausted, "the server has too many sessions")
		return
	}
	c.agree(h)
	c.state = established
	c.halfOpen, c.proven = true, crowded
	if !crowded {
		e.halfOpen++
	}
	e.stats.SessionsAccepted++
	e.peers[c.key()] = c
	e.wheel.arm(&c.idle, now.Add(halfOpenLifetime))
	c.accept(h.Echo)
}

// opened notes that a session is not half open any more, if it was.
func (e *Endpoint) opened(c *Conn) {
	if c.halfOpen && !c.proven {
		e.halfOpen--
	}
	c.halfOpen = false
}

func (c *Conn) accept(echo uint64) {
	p := c.e.offer(wire.Accept, c)
	p.Echo = echo
	c.e.sendHandshake(&p, &c.path)
}

func (e *Endpoint) refuse(f *transport.Frame, h *wire.Handshake, code Code, reason string) {
	e.stats.HandshakesRefused++
	e.sendHandshake(&wire.Handshake{Kind: wire.Refuse, Session: h.Source, Echo: h.Echo, Incarnation: e.cfg.Incarnation,
		Code: uint32(code), Payload: []byte(reason)}, &f.Path)
}

// startGrace is how long an endpoint that has never listened leaves Hellos unanswered: it may be a server's that is just being set up, and whose
// client, the one of its predecessor perhaps, had better ask again than give up.
const startGrace = time.Second

// starting tells whether the endpoint has heard its first Hello less than startGrace ago, and never listened.
func (e *Endpoint) starting(now transport.Time) bool {
	if e.helloAt == 0 {
		e.helloAt = now
	}
	return !e.listened && now.Sub(e.helloAt) < startGrace
}

// closePredecessors ends the sessions of an earlier process at the client's address: it was restarted. c's client has shown that it receives
// there; a Hello alone, which anyone can forge, ends nothing.
func (c *Conn) closePredecessors(now transport.Time) {
	p := c.peer
	if p.incarnation == c.incarnation {
		return // there is none: its sessions ended when the first of this process came
	}
	p.incarnation = c.incarnation
	for other := p.first; other != nil; {
		next := other.peerNext
		if !other.client && other.incarnation != c.incarnation && !other.halfOpen {
			other.fail(now, errRestarted)
		}
		other = next
	}
}

// Tokens are tokenBytes long: the second they were made in, and a keyed hash of it and the address.
const (
	tokenBytes    = 4 + 16
	tokenLifetime = 5 // seconds
)

func (e *Endpoint) token(now transport.Time, key peerKey) [tokenBytes]byte {
	return e.tokenAt(uint32(uint64(now)/uint64(time.Second)), key)
}

func (e *Endpoint) tokenAt(second uint32, key peerKey) (t [tokenBytes]byte) {
	var in [32 + 4 + 16 + 2 + 8]byte // of fixed length, so a plain keyed hash is a sound code
	copy(in[:], e.secret[:])
	binary.LittleEndian.PutUint32(in[32:], second)
	copy(in[36:], key.ip[:])
	binary.LittleEndian.PutUint16(in[52:], key.port)
	binary.LittleEndian.PutUint64(in[54:], key.id)
	sum := sha256.Sum256(in[:])
	binary.LittleEndian.PutUint32(t[:], second)
	copy(t[4:], sum[:])
	return t
}

func (e *Endpoint) checkToken(now transport.Time, key peerKey, token []byte) bool {
	if len(token) != tokenBytes {
		return false
	}
	second := binary.LittleEndian.Uint32(token)
	age := uint32(uint64(now)/uint64(time.Second)) - second
	want := e.tokenAt(second, key)
	return age <= tokenLifetime && subtle.ConstantTimeCompare(want[:], token) == 1
}

// unknownSession answers a sound packet of a session that is not known here, so that a client learns at once that its server was restarted.
func (e *Endpoint) unknownSession(now transport.Time, f *transport.Frame) {
	e.stats.UnknownSession++
	if !e.sound(f.Data) || !e.resets.take(now) {
		return
	}
	e.sendHandshake(&wire.Handshake{Kind: wire.Reset, Source: wire.SessionOf(f.Data), Incarnation: e.cfg.Incarnation}, &f.Path)
}

// handleReset takes a peer's word that it does not know the session; false when that is none of ours. The ID's random half shows that the peer
// saw a packet of ours.
func (e *Endpoint) handleReset(now transport.Time, f *transport.Frame, h *wire.Handshake) bool {
	c := e.peers[peerKey{ip: f.Path.RemoteIP, port: f.Path.RemotePort, id: h.Source}]
	if c == nil || c.state != established {
		e.stats.Stale++
		return !e.strays.take(now) // anyone can send such packets
	}
	if h.Incarnation != c.incarnation {
		c.fail(now, errRestarted)
	} else {
		c.fail(now, errForgotten)
	}
	return true
}
