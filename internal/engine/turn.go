package engine

import (
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
)

type handlers map[uint16]Handler

// turn is one round of the loop: receive, take what was submitted, let time pass, hand out, send. Its caller holds the token. It returns
// whether there was anything to do.
func (e *Engine) turn() bool {
	n, err := e.link.Recv(e.rx)
	if err != nil {
		e.linkError(err)
	}
	if n > 0 {
		e.now = e.rx[0].Stamp // one clock reading a turn: the link's
	} else {
		e.idle++
		if e.idle%clockEvery != 0 && e.submit.Empty() && e.inbox.Empty() {
			return false
		}
		e.now = transport.Now()
	}
	for i := range n {
		if owner, ours := e.core.HandlePacket(e.now, &e.rx[i]); !ours {
			e.forward(owner, &e.rx[i])
		}
	}
	if e.inFlight > 0 {
		e.complete()
	}
	worked := e.drain()
	if n == 0 {
		e.linkEvents()
	}
	if at := e.core.NextTimeout(); at != 0 && at <= e.now {
		e.core.HandleTimeout(e.now)
	}
	e.readied = false
	e.handleEvents()
	worked = e.transmit() || worked || n > 0
	if worked {
		e.idle = 0
		e.stats.Turns++
	}
	return worked
}

// complete takes back the frames whose flight ended.
func (e *Engine) complete() {
	for {
		n := e.link.Completed(e.tx)
		e.inFlight -= n
		e.core.HandleCompleted(e.tx[:n])
		if n < len(e.tx) {
			return
		}
	}
}

// transmit hands what is to be sent to the link, with one kick at the end.
func (e *Engine) transmit() (sent bool) {
	for {
		fs := e.core.PollTransmit(e.now)
		if len(fs) == 0 {
			break
		}
		n, err := e.link.Send(fs[:min(len(fs), len(e.tx))])
		e.core.Sent(n)
		e.inFlight += n
		sent = sent || n > 0
		if err != nil {
			e.stats.LinkErrors++
			e.core.Unsendable()
		} else if n == 0 {
			break // the device is full: in the next turn
		}
	}
	if sent || e.core.Unsent() {
		if err := e.link.Flush(); err != nil {
			e.linkError(err)
		}
	}
	return sent
}

// handleEvents passes on what the sessions have to tell.
func (e *Engine) handleEvents() {
	for {
		ev, ok := e.core.PollEvent()
		if !ok {
			return
		}
		switch ev.Kind {
		case session.RequestArrived:
			e.serve(ev.Call)
		case session.RequestGone:
			if h := e.handlerOf(ev.Conn); h != nil {
				h.Gone(ev.Call)
			}
		case session.CallEnded:
			if ev.Call.Tag != nil {
				e.readied = true
				ev.Call.Tag.(Ender).CallEnded(ev.Call)
			}
		case session.SessionOpened:
			if c, ok := ev.Conn.Tag.(*Conn); ok {
				c.ready()
			}
		case session.SessionClosed:
			if c, ok := ev.Conn.Tag.(*Conn); ok {
				err := ev.Err // a copy, so that events stay off the heap
				c.closed.Store(&err)
				c.ready()
			}
		}
	}
}

func (e *Engine) serve(k *session.Call) {
	h := e.handlerOf(k.Conn())
	if h == nil { // the port was closed in this very turn
		k.ReplyBytes(e.now, session.Unavailable, session.NotExecuted, []byte("the server is shutting down"))
		return
	}
	h.Serve(e.now, k)
}

// handlerOf finds the handler of a server's session and keeps it there.
func (e *Engine) handlerOf(c *session.Conn) Handler {
	if h, ok := c.Tag.(Handler); ok {
		return h
	}
	path := c.Path()
	h := e.handlers[path.LocalPort]
	if h == nil {
		h = e.handlers[0]
	}
	if h != nil {
		c.Tag = h
	}
	return h
}

func (e *Engine) linkEvents() {
	for _, ev := range e.events[:e.link.Events(e.events)] {
		switch ev.Kind {
		case transport.Unreachable:
			e.core.HandleUnreachable(e.now, &ev.Path, ev.Err)
		case transport.LinkDown:
			if ev.Err != nil {
				e.linkError(ev.Err)
			}
		}
	}
}

// linkError ends every session when the link is gone for good. Heartbeats judge the rest.
func (e *Engine) linkError(err error) {
	e.stats.LinkErrors++
	if e.fault != nil || !gone(err) {
		return
	}
	e.fault = err
	e.core.Conns(func(c *session.Conn) {
		c.Close(e.now, session.Unavailable, err.Error())
	})
}
