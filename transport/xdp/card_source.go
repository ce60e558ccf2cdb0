package xdp

import (
	"net/netip"
	"slices"

	"github.com/fastrpc/fastrpc/internal/nic"
)

// sourceTries bounds the search for a source port whose answers come in on one of our queues: with one queue of 64 it is found two times out of
// three, and otherwise the last one is taken, whose answers come through the kernel.
const sourceTries = 64

// arrival calculates the queue that packets from remote to local come in on, by the card's hash key and indirection table, or by our own rule.
// It is a guess: whoever uses it looks where packets really come.
func (c *card) arrival(local, remote netip.AddrPort) (queue int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	six := local.Addr().Is6()
	rss := c.rss
	for r := range c.rules {
		switch {
		case r.Port != local.Port() || r.IPv6 != six:
		case r.Context == 0:
			return r.Queue, true
		case rss != nil:
			rss = &nic.RSS{Key: rss.Key, Hash: rss.Hash, Symmetric: rss.Symmetric, Table: make([]uint32, len(rss.Table))}
			for i := range rss.Table {
				rss.Table[i] = uint32(c.partial[i%len(c.partial)])
			}
		}
	}
	if rss == nil {
		return 0, false
	}
	return rss.Queue(c.fields[six], remote, local)
}

// dialled is where the packets of a Port of Dial go, and the address that they leave from.
type dialled struct {
	source netip.Addr
	remote netip.AddrPort
}

// suits tells whether a source port will do: answers to it come in on one of our queues, or nobody knows.
func (d *device) suits(port uint16, to *dialled) bool {
	queue, ok := d.card.arrival(netip.AddrPortFrom(to.source, port), to.remote)
	return !ok || slices.Contains(d.settings.queues, uint32(queue))
}

// expect puts that Link first on which answers from remote are expected. Where nobody knows, the port decides, so that the
// clients of a process spread over the queues.
func (p *port) expect(remote netip.AddrPort) {
	first := int(p.local.Port()) % len(p.links)
	if queue, ok := p.dev.card.arrival(p.Local(), remote); ok {
		if i := slices.Index(p.dev.settings.queues, uint32(queue)); i >= 0 {
			first = i
		}
	}
	p.links = slices.Concat(p.links[first:], p.links[:first])
}
