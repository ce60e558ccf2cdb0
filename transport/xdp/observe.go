package xdp

import (
	"slices"
	"time"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bpf"
	"github.com/fastrpc/fastrpc/internal/tap"
	"github.com/fastrpc/fastrpc/transport"
)

// InterfaceStats is what a process tells 'fastrpc stats' of an interface that it has open, first of all; a QueueStats for each of its Links
// follows.
type InterfaceStats struct {
	Interface string
	Mode      string       // of the steering program: native or generic
	Ports     []uint16     // UDP ports that are steered to this process
	Steering  bpf.Counters // see Stats
}

// QueueStats is what a process tells of a Link.
type QueueStats struct {
	// Current is false when the Link's owner did not come by, because nobody polls it or a handler holds it up. What only the owner knows is
	// then what it told last: all but Stats.Socket and Stats.Steering.
	Current bool
	Stats   Stats // without errors
	Frames  transport.FrameCounts
	Rings   afxdp.Levels
}

// ownerPatience is how long the owner of a Link may take to come by: a polling one takes microseconds, and a parked one is woken.
const ownerPatience = 200 * time.Millisecond

// observe lets 'fastrpc capture' and 'fastrpc stats' look at the device. Packets do not need it, so that its failure is only noted.
func (d *device) observe() {
	c := tap.Config{Ifindex: d.key.ifindex, Stats: d.tellStats}
	for _, l := range d.links {
		c.Queues = append(c.Queues, tap.Queue{Number: l.queue, Name: l.caps.Name, Point: &l.tap})
	}
	d.observers, d.whyUnseen = tap.Listen(c)
}

// attend is the part of the Link's owner in that, after each Receive while somebody looks.
func (l *Link) attend(w *tap.Watch, received int) {
	w.Packets(tap.In, l.memory, l.descs[:received])
	w.Attend()
}

// tellStats is the Config.Stats of the device's Server, in a goroutine of that.
func (d *device) tellStats(stop <-chan struct{}) []any {
	about := InterfaceStats{Interface: d.name, Mode: d.prog.Mode().String()}
	for _, s := range *d.sockets.Load() {
		about.Ports = append(about.Ports, s.port)
	}
	slices.Sort(about.Ports)
	about.Ports = slices.Compact(about.Ports)
	about.Steering, _ = d.prog.Counters()
	parts := []any{about}
	for _, l := range d.links {
		told := new(QueueStats) // of its own: an owner that comes too late still writes to it
		if l.tap.Do(func() { *told = l.ownStats() }, l.Wake, ownerPatience, stop) {
			l.told = *told
		} else {
			l.told.Current = false
			l.told.Stats.Interface, l.told.Stats.Queue = d.name, l.queue
			l.told.Stats.Mode, l.told.Stats.ZeroCopy = d.prog.Mode(), l.zeroCopy
		}
		st := &l.told.Stats
		st.Socket, _ = l.socket.Stats()
		st.Steering = about.Steering
		st.Rules, st.RulesRefused, st.WhyRefused = d.card.report()
		st.Polling = l.measurePolling(st.Polling.NAPI, st.Received)
		parts = append(parts, l.told)
	}
	return parts
}

// ownStats is what only the Link's owner can tell. It makes no system call.
func (l *Link) ownStats() QueueStats {
	q := QueueStats{Current: true, Stats: l.stats, Frames: l.frames.counts(), Rings: l.socket.Levels()}
	q.Stats.Interface, q.Stats.Queue, q.Stats.Mode, q.Stats.ZeroCopy = l.dev.name, l.queue, l.dev.prog.Mode(), l.zeroCopy
	q.Stats.EventsLost = l.events.lostCount()
	q.Stats.Polling.NAPI = l.napi
	return q
}
