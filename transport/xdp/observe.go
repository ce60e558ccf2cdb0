package xdp

import (
	"time"

	"github.com/fastrpc/fastrpc/internal/tap"
	"github.com/fastrpc/fastrpc/transport"
)

// ownerPatience is how long the owner of a Link may take to tell its counters: a parked one is woken, a polling one comes by in microseconds,
// and one that nobody polls, or that an inline handler holds up, does not come.
const ownerPatience = 200 * time.Millisecond

// InterfaceStats is what a process tells of an interface that it has open, to 'fastrpc stats'; a QueueStats for each queue follows.
type InterfaceStats struct {
	Interface string
	Driver    string // where the steering program runs: native or generic
	ZeroCopy  bool
	Ports     []uint16 // UDP ports that are steered to this process
	Stats     Stats
}

// observe opens the device to 'fastrpc capture' and 'fastrpc stats'. Packets do not need it: without it, those two alone do not work.
func (d *device) observe() {
	c := tap.Config{Ifindex: d.key.ifindex, Stats: d.tellStats}
	for _, l := range d.links {
		c.Queues = append(c.Queues, tap.Queue{Name: l.caps.Name, Point: &l.tap})
	}
	d.server, d.whyUnseen = tap.Listen(c)
}
