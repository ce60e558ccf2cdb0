package engine

import (
	"errors"
	"sync"
	"syscall"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
)

type opKind uint8

const (
	opStart  opKind = iota + 1 // the call of a waiter
	opCancel                   // the call of a waiter, if it has not ended
	opReply
	opFunc
	opNothing // brings a turn about
)

// operation is what somebody who does not poll asks of the poller.
type operation struct {
	kind    opKind
	call    *session.Call
	waiter  *waiter
	code    session.Code
	outcome session.Outcome
	n       int    // bytes in the call's Buffer; -1: body counts
	body    []byte // a larger reply
	do      func(now transport.Time)
}

var (
	errBusy    = &session.Error{Code: session.ResourceExhausted, Outcome: session.NotExecuted, Reason: "too many operations wait for the engine: make fewer calls at once"}
	errStopped = &session.Error{Code: session.Canceled, Outcome: session.NotExecuted, Reason: "the client is closed"} // the last user of the engine
)

// push submits; false: there is no room, or the engine is stopped. What it takes is done, or discarded.
func (e *Engine) push(op operation) bool {
	if e.stopped.Load() {
		return false
	}
	step("push")
	if !e.submit.Push(op) {
		return false
	}
	if e.stopped.Load() {
		select {
		case <-e.dead: // so it came too late for whoever stopped the engine, who left the link open if op has a call
			_ = e.closeLink()
		default: // whoever stops the engine will find it
		}
	}
	return true
}

// Reply answers a request from any goroutine: with the first n bytes of its Buffer, or, where n is negative, with body, as
// session.Call.ReplyBytes has it. A full submission queue is waited for.
func (e *Engine) Reply(k *session.Call, code session.Code, outcome session.Outcome, n int, body []byte) {
	for !e.push(operation{kind: opReply, call: k, code: code, outcome: outcome, n: n, body: body}) {
		if e.stopped.Load() {
			return
		}
		e.lead()
	}
	e.lead()
}

// lead polls one turn, unless somebody polls already.
func (e *Engine) lead() {
	if e.token.acquire() {
		e.turn()
		e.release()
	}
}

// Release gives back an ended call, from any goroutine.
func (e *Engine) Release(k *session.Call) {
	if !e.returns.Push(k) {
		panic("engine: more calls were released than there are")
	}
	if e.stopped.Load() {
		_ = e.closeLink()
	}
}

// drain does what was submitted; it returns whether there was anything.
func (e *Engine) drain() (worked bool) {
	for range submissions {
		op, ok := e.submit.Pop()
		if !ok {
			break
		}
		worked = true
		switch op.kind {
		case opStart:
			e.followed = true
			op.waiter.start(e.now)
		case opCancel:
			op.waiter.cancel(e.now, op.code)
		case opReply:
			if op.n >= 0 {
				op.call.Reply(e.now, op.code, op.outcome, op.n)
			} else {
				op.call.ReplyBytes(e.now, op.code, op.outcome, op.body)
			}
		case opFunc:
			op.do(e.now)
		}
	}
	e.takeReturns()
	for range inboxPackets {
		p, ok := e.inbox.Pop()
		if !ok {
			break
		}
		worked = true
		e.receiveForeign(&p)
	}
	return worked
}

// discardSubmitted gives back what was submitted too late, once the engine is dead. Those who wait have been told so, but for collectors.
func (e *Engine) discardSubmitted() {
	for {
		op, ok := e.submit.Pop()
		if !ok {
			break
		}
		switch {
		case op.kind == opStart && op.waiter.queue != nil:
			op.waiter.err = errStopped
			op.waiter.end()
		case op.kind == opStart && op.waiter.call != nil:
			op.waiter.call.Discard()
		case op.kind == opReply:
			op.call.Discard()
		}
	}
	e.takeReturns()
}

// takeReturns gives released calls back to the session core.
func (e *Engine) takeReturns() {
	for {
		k, ok := e.returns.Pop()
		if !ok {
			return
		}
		k.Release()
	}
}

// foreign is a packet that another queue's engine received.
type foreign struct {
	buf   *[]byte
	path  transport.Path
	stamp transport.Time
	ecn   uint8
	from  uint16 // the other engine's number
}

var foreignBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

// forward hands a packet to the engine whose session it names, and one that could be any other's to all of them. The frame is given back: the
// packet travels as a copy, because a frame belongs to one link.
func (e *Engine) forward(owner uint16, f *transport.Frame) {
	e.stats.Forwarded++
	if owner == e.id {
		for i := range byID {
			e.hand(byID[i].Load(), f)
		}
	} else if o := byID[owner].Load(); o != nil {
		e.hand(o, f)
	} else {
		e.core.HandleStray(e.now, f)
	}
	e.link.Free([]transport.Frame{{ID: f.ID}})
}

// hand puts a copy of a packet into another engine's inbox.
func (e *Engine) hand(o *Engine, f *transport.Frame) {
	if o == nil || o == e {
		return
	}
	buf := foreignBuffers.Get().(*[]byte)
	*buf = append((*buf)[:0], f.Data...)
	if o.inbox.Push(foreign{buf: buf, path: f.Path, stamp: f.Stamp, ecn: f.ECN, from: e.id}) {
		o.lead()
	} else {
		e.stats.InboxDropped++
		foreignBuffers.Put(buf)
	}
}

func (e *Engine) receiveForeign(p *foreign) {
	defer foreignBuffers.Put(p.buf)
	f := &e.copied
	ok := e.link.Alloc(f)
	if !ok || len(*p.buf) > len(f.Data) {
		e.stats.InboxDropped++
		if ok {
			e.link.Free([]transport.Frame{*f})
		}
		return
	}
	f.Data = f.Data[:copy(f.Data, *p.buf)]
	f.Path, f.Stamp, f.ECN = p.path, p.stamp, p.ecn
	if _, ours := e.core.HandlePacket(e.now, f); !ours {
		e.link.Free([]transport.Frame{*f})
	}
	if e.fetcher != nil {
		e.fetch()
	}
	e.from = p.from // of what the packet brought about
	e.handleEvents()
	e.from = e.id
}

// gone tells whether a link's error means that it will not work again.
func gone(err error) bool {
	return errors.Is(err, transport.ErrClosed) || errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.ENODEV)
}
