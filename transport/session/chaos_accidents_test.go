package session_test

import (
	"net/netip"
	"slices"
	"time"
)

func (c *chaos) pause(end int, d time.Duration) {
	n := c.nodeOf(end)
	n.pausedUntil = max(n.pausedUntil, c.net.Now().Add(d))
}

// cut takes the way from an end to the other away.
func (c *chaos) cut(end int, d time.Duration) {
	c.net.Partition(addrs[end], addrs[1-end], true)
	c.in(d, func() { c.net.Partition(addrs[end], addrs[1-end], false) })
}

func (c *chaos) jump(end int, d time.Duration) {
	c.nodeOf(end).ahead += d
	c.jumped = true
}

// replay repeats the last n packets of an end, later.
func (c *chaos) replay(end, n int, after time.Duration) {
	w := c.nodeOf(end).link.(*watched)
	for i := len(w.sent) - min(n, len(w.sent), len(w.recent)); i < len(w.sent); i++ {
		packet := slices.Clone(w.recent[i%len(w.recent)])
		c.in(after, func() { c.net.Inject(addrs[end], addrs[1-end], packet) })
	}
}

// movedAddr is where the client may come to be.
var movedAddr = netip.MustParseAddrPort("198.18.0.1:50001")

// rebind changes the client's address, as a NAT does that forgets.
func (c *chaos) rebind() {
	if !c.client.dead {
		c.net.Rebind(clientAddr, movedAddr)
	}
}

func (c *chaos) crashServer(down time.Duration) {
	if c.server == nil {
		return
	}
	c.crash(c.server)
	c.in(down, func() { c.startEnd(1) })
}

// crashClient takes the calls under way with it: nobody hears how they end.
func (c *chaos) crashClient(down time.Duration) {
	if c.client.dead {
		return
	}
	c.crash(c.client)
	for _, k := range c.calls {
		if k.call != nil && !k.ended {
			c.finish(k, nil)
		}
	}
	c.in(down, func() {
		c.startEnd(0)
		if !c.over {
			c.dial()
		}
	})
}
