package session

import "github.com/fastrpc/fastrpc/transport"

// HandlePeerClosed takes a reliable link's word that its connection with a peer has ended: what was sent last may be lost. Nobody knows what,
// so nothing is sent again before the peer has told. A client asks, by a ping over the next connection; a server, which cannot open one, holds
// everything back until the client has.
func (e *Endpoint) HandlePeerClosed(p *transport.Path) {
	e.eachOf(p, func(c *Conn) {
		c.concealAll() // nobody can read it any more
		switch {
		case c.state != established:
		case !c.client:
			c.away = true
		case c.ptoCount == 0 && (c.sent.flying > 0 || c.outstanding > 0):
			c.ptoCount = 1 // the next ones keep to the probe timeout, should the peer close every connection at once
			c.wantPing = true
			c.enqueue()
		}
	})
}

// HandlePeerConnected takes a reliable link's word that there is a connection with a peer, after one that has ended perhaps.
func (e *Endpoint) HandlePeerConnected(p *transport.Path) {
	e.eachOf(p, func(c *Conn) {
		if c.away {
			c.reconnected()
		}
	})
}

// reconnected goes on after a connection has ended, and asks what of the packets before has arrived: the acknowledgement of the ping shows it.
func (c *Conn) reconnected() {
	c.away = false
	if c.sent.flying > 0 && c.e.caps.Reliable {
		c.wantPing = true
	}
	c.enqueue()
}

// eachOf calls f with every session of a path's peer.
func (e *Endpoint) eachOf(p *transport.Path, f func(*Conn)) {
	if h := e.hosts[hostKey{p.RemoteIP, p.RemotePort}]; h != nil {
		for c := h.first; c != nil; c = c.peerNext {
			f(c)
		}
	}
}
