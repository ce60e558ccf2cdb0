package engine

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
)

// Conn is a client's session, usable from any goroutine.
type Conn struct {
	e      *Engine
	s      *session.Conn
	via    *Engine // where the answer to the Hello arrived
	local  netip.AddrPort
	remote netip.AddrPort
	moving atomic.Bool // findPath is at work
	opened chan struct{}
	closed atomic.Pointer[error]

	opening bool // Dial waits, and is one of Engine.waiters; of the token's holder
}

// ready ends Dial's wait, in the poll.
func (c *Conn) ready() {
	if c.opening {
		c.opening = false
		c.e.waiters--
	}
	select {
	case c.opened <- struct{}{}:
	default:
	}
}

// Engine returns the engine that the session lives on.
func (c *Conn) Engine() *Engine { return c.e }

// Via returns the engine of the queue on which the server's first answer arrived; its later packets come the same way.
func (c *Conn) Via() *Engine { return c.via }

// findPath looks whether another path leads to the server by now: this host's address may have changed, or its route. Finding one may block,
// so a goroutine does it; heartbeats bound how often.
func (c *Conn) findPath() {
	if !c.moving.CompareAndSwap(false, true) {
		return
	}
	c.e.searches.Go(func() {
		defer c.moving.Store(false)
		ctx, cancel := context.WithTimeout(c.e.searching, findPathFor)
		defer cancel()
		anywhere := netip.AddrPortFrom(netip.IPv6Unspecified(), c.local.Port())
		if c.remote.Addr().Unmap().Is4() {
			anywhere = netip.AddrPortFrom(netip.IPv4Unspecified(), c.local.Port())
		}
		path, err := c.e.link.Resolve(ctx, anywhere, c.remote)
		if err != nil {
			return // heartbeats decide
		}
		_ = c.e.do(func(now transport.Time) { c.s.Move(now, path) })
	})
}

// findPathFor bounds the search for a path: beyond it the session has been given up.
const findPathFor = time.Second

// Phi reads how suspicious the peer's silence is.
func (c *Conn) Phi() (phi float64) {
	_ = c.e.do(func(now transport.Time) { phi = c.s.Phi(now) })
	return phi
}

// Err returns why the session is over, nil while it is not.
func (c *Conn) Err() error {
	if err := c.closed.Load(); err != nil {
		return *err
	}
	return nil
}

// Close ends the session; its calls end as canceled.
func (c *Conn) Close(reason string) {
	_ = c.e.do(func(now transport.Time) {
		c.s.Close(now, session.Canceled, reason)
		c.e.handleEvents()
		c.e.abandonUnread(c.s)
	})
}

// Call calls a method and waits for its end: a reply, a passed deadline, or ctx canceled. The ended call is the caller's until Release.
// body is not touched any more when Call returns; it ends in metadata where that is said. now is a reading of the clock just before. The error is
// about calls that were not even begun.
func (c *Conn) Call(ctx context.Context, now transport.Time, method uint32, body []byte, metadata bool, deadline transport.Time) (*session.Call, *session.Error) {
	e := c.e
	if !e.token.acquire() {
		w := newWaiter(c, nil)
		w.method, w.body, w.metadata, w.deadline = method, body, metadata, deadline
		return w.follow(ctx)
	}
	e.now = max(e.now, now)
	k, err := c.newCall()
	if err == nil {
		if metadata {
			k.MarkMetadata()
		}
		if err = k.StartBytes(e.now, method, body, deadline); err != nil {
			k.Discard()
		}
	}
	if err != nil {
		e.release()
		return nil, err
	}
	return c.leadFor(ctx, k)
}

// NewCall takes a call whose request is to be built in place, in its Buffer. CallBuilt or Discard follows.
func (c *Conn) NewCall() (k *session.Call, err *session.Error) {
	if c.e.token.acquire() {
		k, err = c.newCall()
		c.e.release()
		return k, err
	}
	if doErr := c.e.do(func(transport.Time) { k, err = c.newCall() }); doErr != nil {
		return nil, doErr
	}
	return k, err
}

// newCall takes a call, in the poll. Where there is none, what was released meanwhile may be in its way.
func (c *Conn) newCall() (*session.Call, *session.Error) {
	k, err := c.s.NewCall()
	if err == session.ErrTooManyCalls || err == session.ErrNoFrame { // what was given back may not have been seen to
		c.e.takeReturns()
		c.e.complete()
		c.e.core.FreeFrames()
		k, err = c.s.NewCall()
	}
	return k, err
}

// CallBuilt calls with the first n bytes of k's Buffer as the request, and goes on as Call does. k may have been marked for metadata.
func (c *Conn) CallBuilt(ctx context.Context, now transport.Time, k *session.Call, method uint32, n int, deadline transport.Time) (*session.Call, *session.Error) {
	e := c.e
	if !e.token.acquire() {
		w := newWaiter(c, nil)
		w.call, w.method, w.built, w.deadline = k, method, n, deadline
		return w.follow(ctx)
	}
	e.now = max(e.now, now)
	k.Start(e.now, method, n, deadline)
	return c.leadFor(ctx, k)
}

// Discard gives back a call that was not started.
func (c *Conn) Discard(k *session.Call) {
	if c.e.do(func(transport.Time) { k.Discard() }) != nil {
		c.e.Release(k)
	}
}

// leadFor polls, as the token's holder, until k has ended. After some time without news it leaves that to the keeper.
func (c *Conn) leadFor(ctx context.Context, k *session.Call) (*session.Call, *session.Error) {
	e := c.e
	e.handleEvents() // it may have ended already: its deadline had passed
	e.transmit()
	e.patience = e.patient
	end := e.pollFor(ctx, func() bool { return k.Ended() })
	switch {
	case k.Ended(): // first: it may have ended in the very turn after which pollFor gave up, and its event is gone
	case end == pollCanceled:
		giveUp(k, e.now, reason(ctx))
		e.handleEvents()
		e.transmit()
	default:
		w := newWaiter(c, nil)
		w.call, k.Tag = k, w
		e.waiters++
		e.release()
		return w.wait(ctx)
	}
	e.release()
	return k, nil
}

// waiter is somebody who waits for a call that another goroutine polls for; or, with a queue, who will collect it there.
type waiter struct {
	conn     *Conn
	queue    *Completions
	id       uint64 // in the queue
	method   uint32
	body     []byte
	metadata bool
	built    int // with call set: bytes of a request that was built in place
	deadline transport.Time
	call     *session.Call
	err      *session.Error
	ended    atomic.Bool
	signal   chan struct{} // holds two: of the call's end, and of a cancellation that was seen to
}

var waiters = sync.Pool{New: func() any { return &waiter{signal: make(chan struct{}, 2)} }}

func newWaiter(c *Conn, q *Completions) *waiter {
	w := waiters.Get().(*waiter)
	w.conn, w.queue = c, q
	return w
}

func (w *waiter) free() {
	signal := w.signal
	*w = waiter{signal: signal}
	waiters.Put(w)
}

// follow hands the call to whoever polls, and waits.
func (w *waiter) follow(ctx context.Context) (*session.Call, *session.Error) {
	if err := w.submit(); err != nil {
		return nil, err
	}
	return w.wait(ctx)
}

// submit hands the call to whoever polls. On an error w is free.
func (w *waiter) submit() *session.Error {
	e := w.conn.e
	err := errBusy
	switch {
	case e.insideHandler():
		err = errInside
	case e.push(operation{kind: opStart, waiter: w}): // a collector may have freed w from here on
		e.lead()
		return nil
	case e.stopped.Load():
		err = errStopped
	}
	if w.call != nil { // built in place
		e.Release(w.call)
	}
	w.free()
	return err
}

// start begins the call, in the poll.
func (w *waiter) start(now transport.Time) {
	if w.queue == nil {
		w.conn.e.waiters++
	}
	if k := w.call; k != nil {
		k.Tag = w
		k.Start(now, w.method, w.built, w.deadline)
		return
	}
	k, err := w.conn.newCall()
	if err == nil {
		k.Tag = w
		w.call = k
		if w.metadata {
			k.MarkMetadata()
		}
		if err = k.StartBytes(now, w.method, w.body, w.deadline); err == nil {
			return
		}
		k.Tag, w.call = nil, nil
		k.Discard()
	}
	w.err = err
	w.end()
}

// submitCancel asks the poller to end the call, unless it has ended. It returns how many signals that brings: one, so that w does not
// become somebody else's while it stands in the submission queue.
func (w *waiter) submitCancel(why session.Code) (signals int) {
	e := w.conn.e
	for signals == 0 && !w.ended.Load() && !e.stopped.Load() {
		if e.push(operation{kind: opCancel, waiter: w, code: why}) {
			signals = 1
		}
		e.lead()
	}
	return signals
}

// cancel ends the call, in the poll.
func (w *waiter) cancel(now transport.Time, why session.Code) {
	if w.call != nil && !w.call.Ended() {
		giveUp(w.call, now, why)
	}
	w.signal <- struct{}{}
}

// reason is why a context that is over has ended. Its timer and the call's are two; whichever strikes first, the caller is told the same.
func reason(ctx context.Context) session.Code {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return session.DeadlineExceeded
	}
	return session.Canceled
}

func giveUp(k *session.Call, now transport.Time, why session.Code) {
	if why == session.DeadlineExceeded {
		k.Expire(now)
	} else {
		k.Cancel(now)
	}
}

// CallEnded is called in the poll.
func (w *waiter) CallEnded(*session.Call) { w.end() }

func (w *waiter) end() {
	if w.queue != nil {
		w.queue.put(w)
		return
	}
	w.conn.e.waiters--
	w.ended.Store(true)
	w.signal <- struct{}{}
}

// spins is how often a waiter yields and looks before it parks.
const spins = 4

// wait returns when the call has ended, which a canceled ctx brings about.
func (w *waiter) wait(ctx context.Context) (*session.Call, *session.Error) {
	for range spins {
		if w.ended.Load() {
			break
		}
		runtime.Gosched()
	}
	e := w.conn.e
	due := 1 // signals that are still to come to w
	select {
	case <-w.signal:
		due = 0
	case <-ctx.Done():
		due += w.submitCancel(reason(ctx))
	case <-e.dead:
	}
	for ; due > 0; due-- {
		select {
		case <-w.signal:
		case <-e.dead: // nobody will look at w any more
			if !w.ended.Load() { // submitted while the engine stopped
				return nil, errStopped
			}
			return w.call, w.err
		}
	}
	k, err := w.call, w.err
	w.free()
	return k, err
}
