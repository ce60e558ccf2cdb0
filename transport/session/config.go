package session

import (
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// Config sizes an endpoint and sets its times. A zero field takes its default.
type Config struct {
	Engine      uint16   // this endpoint's number in the process, below Engines; it stands in every session ID
	Seed        [32]byte // of session IDs and tokens, by ChaCha8: secret and random in production, fixed in a simulation
	Incarnation uint64   // of the process: drawn anew at each start

	// Reclaim is called while a packet is handled, before a message is refused for want of room: the owner releases the ended calls that it has
	// been done with for some time and has put off releasing, and does nothing else. nil: there are none.
	Reclaim func()

	Sessions        int    // open at once
	Calls           int    // calls and requests at once, over all sessions
	CallsPerSession int    // requests at once that a server takes from one session
	MaxMessage      uint32 // bytes of a request or reply
	MaxMetadata     uint32 // bytes of a metadata block that is taken
	Reassembly      int64  // bytes of messages being put together from fragments, over all sessions
	HalfOpen        int    // sessions whose client has not yet shown that it receives at its address; above half of it, tokens are asked for
	ResetsPerSecond int    // answers to packets of sessions that are not known

	StreamWindow int   // messages that the reader of a stream may be behind
	Credit       int64 // bytes of long messages that senders may have on their way here, over all sessions. Default: half of what the link's receiving frames hold

	Congestion   Congestion    // a reliable link has its own: there it is Fixed
	Window       int           // unacknowledged packets of one session, at most
	TargetDelay  time.Duration // that Swift lets the queues of the path have. Default: 50 µs, and what the link itself takes: Caps.BurstDelay
	MinPTO       time.Duration // least probe timeout
	AckDelay     time.Duration // longest that an acknowledgement waits for company
	LazyAckDelay time.Duration // the same for replies, whose sender waits for nothing
	Heartbeat    time.Duration // interval while calls are outstanding
	KeepAlive    time.Duration // interval while none are; at most a third of the server's IdleTimeout
	Phi          PhiConfig     // when a silence is suspicious
	Misses       int           // heartbeats without an answer after which the peer counts as dead, while Phi has too few samples
	IdleTimeout  time.Duration // a server closes a session that it has not heard from for this long
	HelloTimeout time.Duration // before a Hello is said again; doubles up to HelloTimeoutMax
}

// Defaults, each with its reason.
const (
	defaultSessions        = 4096             // a session costs under 4 KiB while idle
	defaultCalls           = 4096             // as many frames as the AF_XDP link has a queue: each call holds one
	defaultCallsPerSession = 1024             // one session cannot take all
	defaultMaxMessage      = 16 << 20         // larger ones are better sent as streams
	defaultMaxMetadata     = 64 << 10         // eight times what web servers take
	defaultReassembly      = 64 << 20         // four of the largest; taken only when needed
	defaultHalfOpen        = 512              // at 1 s each: 512 handshakes a second before tokens are asked for at 256
	defaultResets          = 1000             // a restarted server tells its clients at once, and is no amplifier
	defaultMinPTO          = time.Millisecond // a datacentre's round trip and a scheduler's hiccup
	defaultAckDelay        = 200 * time.Microsecond
	defaultLazyAckDelay    = 20 * time.Millisecond
	defaultHeartbeat       = 50 * time.Millisecond
	defaultKeepAlive       = 10 * time.Second // below the usual 30 s of a NAT's or firewall's UDP state
	defaultMisses          = 8                // 450 ms at the default heartbeat: longer than a collection, or a pause by a quota or a busy host
	defaultIdleTimeout     = time.Minute      // six keep-alives
	defaultHelloTimeout    = 10 * time.Millisecond
	defaultWindow          = 256 // packets: well below the 2,048 of a receive ring

	helloTimeoutMax  = 500 * time.Millisecond
	halfOpenLifetime = time.Second
	minPart          = 256 // bytes of a long message's first part: less would only be an attack on the reassembly's memory
	maxReason        = 256 // bytes of text in Refuse and Close
)

func (c Config) withDefaults() Config {
	def(&c.Sessions, defaultSessions)
	def(&c.Calls, defaultCalls)
	def(&c.CallsPerSession, defaultCallsPerSession)
	def(&c.MaxMessage, defaultMaxMessage)
	def(&c.MaxMetadata, defaultMaxMetadata)
	def(&c.Reassembly, defaultReassembly)
	def(&c.HalfOpen, defaultHalfOpen)
	def(&c.ResetsPerSecond, defaultResets)
	def(&c.MinPTO, defaultMinPTO)
	def(&c.AckDelay, defaultAckDelay)
	def(&c.LazyAckDelay, defaultLazyAckDelay)
	def(&c.Heartbeat, defaultHeartbeat)
	def(&c.KeepAlive, defaultKeepAlive)
	c.Phi = c.Phi.withDefaults(c.Heartbeat)
	def(&c.Misses, defaultMisses)
	def(&c.IdleTimeout, defaultIdleTimeout)
	def(&c.HelloTimeout, defaultHelloTimeout)
	def(&c.Window, defaultWindow)
	def(&c.StreamWindow, defaultStreamWindow)
	c.Window = min(c.Window, sentRingMax/2)
	c.StreamWindow = min(c.StreamWindow, maxStreamWindow)
	c.Sessions = min(c.Sessions, 1<<indexBits)
	return c
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// bucket is a token bucket that holds one second's worth.
type bucket struct {
	rate   int
	tokens int
	filled transport.Time
}

func (b *bucket) take(now transport.Time) bool {
	if now.Sub(b.filled) >= time.Second {
		b.tokens, b.filled = b.rate, now
	}
	if b.tokens == 0 {
		return false
	}
	b.tokens--
	return true
}
