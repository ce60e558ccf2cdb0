package engine

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
)

// Conn is a client's session, usable from any goroutine.
type Conn struct {
	e      *Engine
	s      *session.Conn
	opened chan struct{}
	closed atomic.Pointer[error]
}

func (c *Conn) ready() {
	select {
	case c.opened <- struct{}{}:
	default:
	}
}

// Engine returns the engine that the session lives on.
func (c *Conn) Engine() *Engine { return c.e }

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
	})
}

// Call calls a method and waits for its end: a reply, a passed deadline, or ctx canceled. The ended call is the caller's until Release.
// body is not touched any more when Call returns. The error is about calls that were not even begun.
func (c *Conn) Call(ctx context.Context, method uint32, body []byte, deadline transport.Time) (*session.Call, *session.Error) {
	e := c.e
	if !e.token.acquire() {
		if e.insideHandler() {
			return nil, errInside
		}
		return c.follow(ctx, method, body, deadline)
	}
	e.keeper.leads.Add(1)
	k, err := c.begin(transport.Now(), method, body, deadline)
	if err != nil {
		e.release()
		return nil, err
	}
	return c.leadFor(ctx, k)
}

// begin starts a call, as the token's holder.
func (c *Conn) begin(now transport.Time, method uint32, body []byte, deadline transport.Time) (*session.Call, *session.Error) {
	c.e.now = now // which transmit sends with
	k, err := c.s.NewCall()
	if err != nil {
		return nil, err
	}
	if err := k.StartBytes(now, method, body, deadline); err != nil {
		k.Discard()
		return nil, err
	}
	c.e.transmit()
	return k, nil
}

// leadFor polls, as the token's holder, until k has ended. After some time without news it leaves that to the keeper.
func (c *Conn) leadFor(ctx context.Context, k *session.Call) (*session.Call, *session.Error) {
	e, done := c.e, ctx.Done()
	since := e.now
	for empty := uint(1); !k.Ended(); empty++ {
		if e.turn() {
			since, empty = e.now, 0
			continue
		}
		if empty%yieldEvery == 0 || e.core.Answering() > 0 {
			runtime.Gosched()
		}
		if done != nil {
			select {
			case <-done:
				k.Cancel(e.now)
				e.handleEvents()
				continue
			default:
			}
		}
		if e.stopped.Load() || e.cfg.Idle != Spin && e.now.Sub(since) > e.cfg.SpinFor {
			w := newWaiter(c)
			w.call = k
			k.Tag = w
			e.release()
			return w.wait(ctx)
		}
	}
	e.handleEvents()
	e.release()
	return k, nil
}

// follow hands the call to whoever polls.
func (c *Conn) follow(ctx context.Context, method uint32, body []byte, deadline transport.Time) (*session.Call, *session.Error) {
	w := newWaiter(c)
	w.method, w.body, w.deadline = method, body, deadline
	if !c.e.push(operation{kind: opStart, waiter: w}) {
		w.free()
		if c.e.stopped.Load() {
			return nil, errStopped
		}
		return nil, errBusy
	}
	c.e.lead()
	return w.wait(ctx)
}

// waiter is somebody who waits for a call that another goroutine polls for.
type waiter struct {
	conn     *Conn
	method   uint32
	body     []byte
	deadline transport.Time
	call     *session.Call
	err      *session.Error
	ended    atomic.Bool
	signal   chan struct{}
}

var waiters = sync.Pool{New: func() any { return &waiter{signal: make(chan struct{}, 1)} }}

func newWaiter(c *Conn) *waiter {
	w := waiters.Get().(*waiter)
	w.conn = c
	return w
}

func (w *waiter) free() {
	signal := w.signal
	*w = waiter{signal: signal}
	waiters.Put(w)
}

// start begins the call, in the poll.
func (w *waiter) start(now transport.Time) {
	k, err := w.conn.s.NewCall()
	if err == nil {
		k.Tag = w
		w.call = k
		if err = k.StartBytes(now, w.method, w.body, w.deadline); err == nil {
			return
		}
		k.Tag, w.call = nil, nil
		k.Discard()
	}
	w.err = err
	w.end()
}

// cancel ends the call, in the poll.
func (w *waiter) cancel(now transport.Time) {
	if w.call != nil && !w.call.Ended() {
		w.call.Cancel(now)
	}
}

// CallEnded is called in the poll.
func (w *waiter) CallEnded(*session.Call) { w.end() }

func (w *waiter) end() {
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
	select {
	case <-w.signal:
	case <-ctx.Done():
		for !w.ended.Load() && !e.stopped.Load() && !e.push(operation{kind: opCancel, waiter: w}) {
			e.lead()
		}
		e.lead()
		select {
		case <-w.signal:
		case <-e.dead:
			return nil, errStopped
		}
	case <-e.dead:
		if !w.ended.Load() { // submitted while the engine stopped: nobody will look at w any more
			return nil, errStopped
		}
		<-w.signal
	}
	k, err := w.call, w.err
	w.free()
	return k, err
}
