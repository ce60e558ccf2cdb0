package engine

import (
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
)

type handlers map[uint16]Handler

// turn is one round of the loop. Its caller holds the token. It returns whether there was anything to do.
//
// What others wait for comes first: received packets are handled, and what answers them is sent. The rest, taking back frames, timers, the
// link's events, is seen to after some time without packets, after a number of packets, and whenever something was submitted: done for each
// packet, it would push the code that matters out of the processor's caches.
func (e *Engine) turn() bool {
	n, err := e.link.Recv(e.rx)
	if err != nil {
		e.linkError(err)
	}
	if n > 0 {
		e.receive(n)
	} else {
		e.patience--
	}
	if e.fetching > 0 {
		e.takeFetched()
	}
	if e.patience > 0 && e.submit.Empty() && e.inbox.Empty() {
		return n > 0
	}
	return e.keepHouse(n == 0) || n > 0
}

// receive handles the n packets in rx.
func (e *Engine) receive(n int) {
	e.now = e.rx[0].Stamp // one clock reading a turn: the link's
	if e.inlineAt != 0 {
		e.watch()
	}
	e.readied = false
	if n > 1 {
		e.core.Fetch(e.rx[:n])
	}
	for i := range n {
		if owner, ours := e.core.HandlePacket(e.now, &e.rx[i]); !ours {
			e.forward(owner, &e.rx[i])
		}
	}
	if e.fetcher != nil {
		e.fetch()
	}
	e.handleEvents()
	if e.core.Unsent() {
		e.transmit()
	}
	if e.untidied += n; e.untidied < e.tidyAt && !e.core.Unsent() {
		e.patience = e.patient
	} else {
		e.patience = 0
	}
}

// keepHouse does all that need not come first; it returns whether there was anything to do.
func (e *Engine) keepHouse(readClock bool) (worked bool) {
	if readClock {
		before := e.now
		e.now = transport.Now()
		if e.inlineAt != 0 {
			e.watch()
		}
		e.adapt(e.now.Sub(before))
		e.readied = false
	}
	e.linkEvents()
	if e.inFlight > 0 {
		e.complete()
	}
	worked = e.drain()
	if at := e.core.NextTimeout(); at != 0 && at <= e.now {
		e.core.HandleTimeout(e.now)
		worked = true
	}
	e.handleEvents()
	worked = e.transmit() || worked
	e.core.FreeFrames()
	e.untidied, e.patience = 0, e.patient
	e.settled = !worked
	return worked
}

// fetch begins the reads that the packets of this turn told of, over the connection that they came by.
func (e *Engine) fetch() {
	if fs := e.core.PollFetch(); len(fs) > 0 {
		e.fetching += len(fs)
		e.fetcher.Fetch(fs)
	}
}

// takeFetched takes the reads that have ended. What that brings about is seen to in this turn.
func (e *Engine) takeFetched() {
	var fs [16]transport.Fetch
	n := e.fetcher.Fetched(fs[:])
	if n == 0 {
		return
	}
	e.fetching -= n
	e.now = max(e.now, transport.Now())
	e.core.HandleFetched(e.now, fs[:n])
	e.patience, e.settled = 0, false
}

// tidy tells whether the last turn, an empty one, kept house: every tidyAfter while nothing comes.
func (e *Engine) tidy() bool { return e.patience == e.patient }

// adapt finds how many empty turns make up tidyAfter: a turn costs some 25 ns where packets lie in memory, and a system call's time where a
// socket has to be asked.
func (e *Engine) adapt(took time.Duration) {
	if !e.settled || took <= 0 { // there was more than empty turns since the clock was read
		return
	}
	e.patient = min(max(int(tidyAfter*time.Duration(e.patient)/took), minPatience), maxPatience)
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

// transmit hands a burst of what is to be sent to the link, with one kick. The rest goes in the next turn, after what came meanwhile.
func (e *Engine) transmit() (sent bool) {
	if e.batched > 0 {
		e.batched = 0
		if e.batch() {
			e.batches.Add(1)
		}
	}
	fs := e.core.PollTransmit(e.now)
	if len(fs) == 0 {
		return false
	}
	n, err := e.link.Send(fs[:min(len(fs), len(e.tx))])
	e.core.Sent(n)
	e.inFlight += n
	if err != nil {
		e.stats.LinkErrors++
		e.core.Unsendable()
	}
	if ferr := e.link.Flush(); ferr != nil {
		e.linkError(ferr)
	}
	return n > 0
}

// handleEvents passes on what the sessions have to tell.
func (e *Engine) handleEvents() {
	for {
		ev := e.core.PollEvent()
		if ev == nil {
			return
		}
		switch ev.Kind {
		case session.RequestArrived:
			e.serve(ev.Call)
		case session.RequestGone:
			if s, ok := ev.Call.Tag.(*Stream); ok {
				s.gone()
			}
			ev.Call.TellGone()
			if h := e.handlerOf(ev.Conn); h != nil {
				h.Gone(ev.Call)
			}
		case session.CallEnded:
			if ev.Call.Tag != nil {
				e.readied = true
				ev.Call.Tag.(Ender).CallEnded(ev.Call)
			}
		case session.StreamReadable:
			if s, ok := ev.Call.Tag.(*Stream); ok { // else its server's end is not taken up yet
				s.collect()
			}
		case session.StreamWritable:
			if s, ok := ev.Call.Tag.(*Stream); ok {
				s.writable()
			}
		case session.SessionOpened:
			if c, ok := ev.Conn.Tag.(*Conn); ok {
				c.via = e
				if from := byID[e.from].Load(); from != nil {
					c.via = from
				}
				c.ready()
			}
		case session.PathQuiet:
			if c, ok := ev.Conn.Tag.(*Conn); ok {
				c.findPath()
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
		case transport.MTUChanged:
			e.core.HandleMTU(&ev.Path)
		case transport.PeerClosed:
			e.core.HandlePeerClosed(&ev.Path)
		case transport.PeerConnected:
			e.core.HandlePeerConnected(&ev.Path)
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
