// Package engine polls: an [Engine] is the only owner of one link and of the sessions on it, and their only clock.
//
// Whoever polls holds the engine's token. A lone caller takes it and polls until its own reply is there, so that a call needs no hand-over
// between goroutines. Otherwise the engine's keeper, a goroutine of its own, polls, and callers hand over through the submission queue,
// spin briefly and park. See token.go for who polls when, and turn.go for what a turn does.
package engine

import (
	"context"
	crand "crypto/rand"
	"maps"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fastrpc/fastrpc/ringbuf"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
)

// Idle is what the keeper does while there is nothing to do.
type Idle uint8

// The idle strategies.
const (
	SpinThenPark Idle = iota // spin for Config.SpinFor, then park in the kernel
	Spin                     // never park: a core burns, and no packet waits for a wake-up
	Park                     // park at once
)

// Config sets up an engine. Engines are shared: the first to acquire one decides.
type Config struct {
	Session session.Config // Engine, Seed and Incarnation are filled in
	Idle    Idle
	SpinFor time.Duration // default 100 µs: some thirty round trips
}

const (
	defaultSpinFor = 100 * time.Microsecond
	submissions    = 4096                 // operations that wait for the poller; more are refused
	inboxPackets   = 256                  // packets from other queues that wait; more are dropped and counted
	tidyAfter      = 8 * time.Microsecond // without packets: longer than a round trip, so that calls one after the other are not disturbed
	maxPatience    = 256
	minPatience    = 4
	tidyPackets    = 32
)

// incarnation names this process to its peers.
var incarnation = rand.Uint64()

// Handler answers the requests that come to a port. Its methods are called by whoever polls and must not block.
type Handler interface {
	// Serve takes a request: it, or somebody later by way of Engine.Reply, answers it.
	Serve(now transport.Time, k *session.Call)
	// Gone tells that nobody waits for k's answer any more; it is still due.
	Gone(k *session.Call)
}

// Ender is told, by whoever polls, that a call with it as Tag has ended. It must not block.
type Ender interface {
	CallEnded(k *session.Call)
}

// Engine owns a link.
type Engine struct {
	link    transport.Link
	fetcher transport.Fetcher // the link, if it is one
	core    *session.Endpoint
	cfg     Config
	id      uint16

	token   token
	keeper  keeper
	submit  *ringbuf.Queue[operation]
	returns *ringbuf.Queue[*session.Call]
	inbox   *ringbuf.Queue[foreign]

	// The token's holder's alone.
	now      transport.Time
	rx, tx   []transport.Frame
	events   []transport.Event
	copied   transport.Frame      // of a foreign packet
	patience int                  // empty turns before keepHouse
	patient  int                  // what it is set to: see adapt
	settled  bool                 // the last keepHouse found nothing to do
	untidied int                  // packets since keepHouse
	tidyAt   int                  // so many at most
	inFlight int                  // frames sent and not completed
	fetching int                  // reads of parts of messages under way
	readied  bool                 // this turn ended calls that others wait for
	waiters  int                  // goroutines that wait for a call each, or for their session, and do not poll
	batched  int                  // calls that begin left unsent
	handlers handlers             // by local port
	unread   map[*Stream]struct{} // ended streams of clients of which something is not read, or not released
	fault    error                // why the link stopped working
	from     uint16               // the engine whose queue received what is being handled
	followed bool                 // a call was handed over since the keeper took the token
	slow     map[string]uint64
	holder   int64 // the goroutine that holds the token; 0: not asked yet

	inlineAt   transport.Time // when the first inline handler began that watch has not judged; 0: none
	inlineName string         // of the last one

	batches    atomic.Uint32 // odd while batched is not 0; grows with each change
	collectors atomic.Int32  // of queues, that have parked: somebody has to poll
	wanted     atomic.Int32  // collectors that would poll themselves

	poller atomic.Int64 // holder, for others to see; 0: not asked, so it has run no inline handler

	listening atomic.Int32
	stopped   atomic.Bool    // set first: nothing is taken on any more
	dead      chan struct{}  // closed last: nothing that was submitted is looked at any more
	searches  sync.WaitGroup // goroutines that look for paths, until dead
	searching context.Context
	endSearch context.CancelFunc
	closing   sync.Mutex // once dead: guards closed, and core in the token's place
	closed    bool       // the link is
	stats     Stats
}

// Stats counts what an engine did beside its endpoint's Stats.
type Stats struct {
	Session      session.Stats
	Parks        uint64
	Forwarded    uint64            // packets handed to another queue's engine
	InboxDropped uint64            // packets of another queue, for want of room
	SlowHandlers map[string]uint64 // by method: inline handlers that held the poll for over SlowHandler
	LinkErrors   uint64
}

// Link returns the engine's link; use only what may be called from any goroutine.
func (e *Engine) Link() transport.Link { return e.link }

// Listen lets h answer the requests to a local port; 0 stands for every port that has no handler of its own.
func (e *Engine) Listen(port uint16, h Handler) error {
	return asError(e.do(func(transport.Time) {
		if e.handlers[port] == nil {
			e.listening.Add(1)
		}
		e.handlers[port] = h
		e.core.Listen(port, session.Listener{})
	}))
}

// Drain refuses new sessions to a port. Those that are open stay.
func (e *Engine) Drain(port uint16) error {
	return asError(e.do(func(transport.Time) { e.core.Listen(port, session.Listener{Draining: true}) }))
}

// Replying counts the replies from a local port that their clients have not acknowledged.
func (e *Engine) Replying(port uint16) (n int) {
	_ = e.do(func(transport.Time) {
		h := e.handlers[port]
		e.core.Conns(func(c *session.Conn) {
			if !c.Client() && h != nil && e.handlerOf(c) == h {
				n += c.Replying()
			}
		})
	})
	return n
}

// Unlisten closes the sessions to a local port and refuses new ones.
func (e *Engine) Unlisten(port uint16, reason string) error {
	return asError(e.do(func(now transport.Time) {
		if e.handlers[port] == nil {
			return
		}
		h := e.handlers[port]
		e.core.Unlisten(port)
		e.core.Conns(func(c *session.Conn) {
			if !c.Client() && e.handlerOf(c) == h {
				c.Close(now, session.Unavailable, reason)
			}
		})
		e.handleEvents()
		delete(e.handlers, port)
		e.listening.Add(-1)
	}))
}

// Dial opens a session from a local address. It returns when the session is established, refused, or ctx is over.
func (e *Engine) Dial(ctx context.Context, local, remote netip.AddrPort) (*Conn, error) {
	path, err := e.link.Resolve(ctx, local, remote)
	if err != nil {
		return nil, err
	}
	c := &Conn{e: e, local: local, remote: remote, opened: make(chan struct{}, 1)}
	var refused *session.Error
	var fault error
	if err := e.do(func(now transport.Time) {
		if fault = e.fault; fault != nil {
			return
		}
		if c.s, refused = e.core.Dial(now, path, 0); c.s != nil {
			c.s.Tag, c.opening = c, true
			e.waiters++ // else a keeper that stands by would not look for the answer before its tick
		}
	}); err != nil {
		return nil, err
	}
	if fault != nil {
		return nil, fault
	}
	if refused != nil {
		return nil, refused
	}
	select {
	case <-c.opened:
	case <-ctx.Done():
		c.Close("the dial was given up")
		return nil, ctx.Err()
	}
	if err := c.closed.Load(); err != nil {
		return nil, *err
	}
	return c, nil
}

// Stats returns the counters.
func (e *Engine) Stats() (s Stats) {
	_ = e.do(func(transport.Time) {
		s = e.stats
		s.Session = e.core.Stats()
		s.SlowHandlers = maps.Clone(e.slow)
	})
	return s
}

// Sessions counts the open sessions, and the requests in their handlers.
func (e *Engine) Sessions() (open, answering int) {
	_ = e.do(func(transport.Time) { open, answering = e.core.Sessions(), e.core.Answering() })
	return open, answering
}

// do runs f as the token's holder and waits for it: for what is rare.
func (e *Engine) do(f func(now transport.Time)) *session.Error {
	if e.insideHandler() {
		return errInside
	}
	done := make(chan struct{})
	for op := (operation{kind: opFunc, do: func(now transport.Time) { f(now); close(done) }}); !e.push(op); {
		if e.stopped.Load() {
			return errStopped
		}
		e.lead() // until there is room
		runtime.Gosched()
	}
	for {
		select {
		case <-done:
			return nil
		default:
		}
		select {
		case <-e.dead:
			select {
			case <-done: // by the last turn
				return nil
			default:
				return errStopped
			}
		default:
		}
		if e.token.acquire() {
			e.turn()
			e.release()
		} else {
			runtime.Gosched()
		}
	}
}

// asError keeps nil what is nil.
func asError(err *session.Error) error {
	if err == nil {
		return nil
	}
	return err
}

// start begins polling.
func start(link transport.Link, id uint16, cfg Config) *Engine {
	e := newEngine(link, id, cfg)
	go e.keep()
	return e
}

func newEngine(link transport.Link, id uint16, cfg Config) *Engine {
	caps := link.Caps()
	cfg.Session.Engine, cfg.Session.Incarnation = id, incarnation
	_, _ = crand.Read(cfg.Session.Seed[:]) // never fails
	if cfg.SpinFor == 0 {
		cfg.SpinFor = defaultSpinFor
	}
	e := &Engine{
		link:     link,
		cfg:      cfg,
		id:       id,
		from:     id,
		submit:   ringbuf.NewQueue[operation](submissions),
		inbox:    ringbuf.NewQueue[foreign](inboxPackets),
		rx:       make([]transport.Frame, caps.Burst),
		tx:       make([]transport.Frame, caps.Burst),
		events:   make([]transport.Event, 16),
		handlers: handlers{},
		unread:   map[*Stream]struct{}{},
		patient:  maxPatience,
		tidyAt:   max(min(tidyPackets, caps.Frames/16), 1),
		dead:     make(chan struct{}),
	}
	if f, ok := link.(transport.Fetcher); ok && caps.FetchLeast > 0 {
		e.fetcher = f
	}
	cfg.Session.Reclaim = e.takeReturns // with small calls, one after the other, housekeeping is dozens of packets late
	e.core = session.New(link, cfg.Session)
	e.searching, e.endSearch = context.WithCancel(context.Background())
	e.returns = ringbuf.NewQueue[*session.Call](powerOfTwo(e.core.CallLimit()))
	e.keeper.init()
	return e
}

func powerOfTwo(n int) int {
	p := 2
	for p < n {
		p *= 2
	}
	return p
}

// stop ends polling, closes the sessions, and gives the link time to take what was sent. The link stays open.
func (e *Engine) stop() {
	e.stopped.Store(true)
	e.keeper.wake(e.link)
	<-e.keeper.gone
	for !e.token.acquire() { // a caller polls; it leaves when its call has ended, or sees that the engine has stopped
		runtime.Gosched()
	}
	e.core.Conns(func(c *session.Conn) { c.Close(transport.Now(), session.Unavailable, "the program closed the session") })
	e.turn()
	e.drain() // those who submitted meanwhile learn that their session is closed
	e.handleEvents()
	e.transmit()
	e.drainFlight()
	e.core.FreeFrames()
	close(e.dead)
	e.endSearch()
	e.searches.Wait()
}

// drainFlight waits, for a bounded time, until the device has taken the last packets, so that the peers hear of the end.
func (e *Engine) drainFlight() {
	for end := transport.Now().Add(drainFor); e.inFlight > 0 && transport.Now() < end; {
		e.complete()
		_ = e.link.Flush()
		runtime.Gosched()
	}
}

const drainFor = 10 * time.Millisecond
