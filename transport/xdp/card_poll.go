package xdp

import (
	"errors"
	"time"

	"github.com/fastrpc/fastrpc/internal/nic"
)

// polledNAPI leaves the interrupts of a queue off while it is polled by system calls (Documentation/networking/af_xdp.rst, SO_PREFER_BUSY_POLL):
// after so many polls that found nothing they may come back, and only if nobody has polled for so long. A caller that has parked waits that
// much longer for a packet, at most.
const (
	polledDeferHardIRQs   = 2
	polledGROFlushTimeout = 200 * time.Microsecond
)

// learnNAPI asks which NAPI instance receives the Link's packets, and has its interrupts deferred. It belongs to the owner; what may block is done
// by the refresher. The kernel may know at once, and otherwise from the first packet on, or never.
func (l *Link) learnNAPI() {
	if l.napi != 0 {
		return
	}
	if l.napi, _ = l.socket.NAPI(); l.napi != 0 {
		l.dev.card.polled <- l.napi // has room for one of each Link
	}
}

// beginPolling is for a Link that nobody uses yet.
func (l *Link) beginPolling() {
	if c := &l.dev.card; c.nic != nil {
		l.polledFrom, _ = c.nic.PollCounts(l.queue, 0)
	}
	l.learnNAPI()
}

// polling defers the interrupts of a NAPI instance, or before Linux 6.13 of the whole device.
func (c *card) polling(id uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.claim == nil || c.closed {
		return
	}
	n, err := c.nic.NAPI(id)
	if err == nil {
		err = c.claim.SetNAPI(id, deferred(n.NAPISettings))
	}
	if errors.Is(err, errors.ErrUnsupported) {
		var all nic.NAPISettings
		if all, err = c.nic.NAPIDefaults(); err == nil {
			err = c.claim.SetNAPI(0, deferred(all))
		}
	}
	c.refuse(err)
}

// deferred leaves alone what somebody has set already.
func deferred(s nic.NAPISettings) nic.NAPISettings {
	if s.DeferHardIRQs == 0 && s.GROFlushTimeout == 0 {
		s.DeferHardIRQs, s.GROFlushTimeout = polledDeferHardIRQs, polledGROFlushTimeout
	}
	return s
}

// Polling says whether the queue is polled by system calls, which the setting busypoll asks for, instead of interrupting.
type Polling struct {
	NAPI       uint32 // the kernel's NAPI instance, as the socket tells it; 0: not known, then nothing is polled
	Interrupts uint64 // of the queue since it was opened, where its line is known
	SoftIRQs   uint64 // NET_RX softirqs of the whole machine since then
	Works      bool   // measured: next to none of them for the packets that came
	Why        string // why it does not, or cannot be told
}

// measurePolling compares with what was counted when the Link was opened. It may be called from any goroutine; what it is given is the owner's.
func (l *Link) measurePolling(napi uint32, received uint64) (p Polling) {
	if !l.busyPoll {
		return Polling{Why: "not asked for: busypoll=0"}
	}
	c := &l.dev.card
	p.NAPI = napi
	if c.nic == nil {
		p.Why = "the device's counters cannot be read"
		return p
	}
	now, err := c.nic.PollCounts(l.queue, p.NAPI)
	if err != nil {
		p.Why = err.Error()
		return p
	}
	p.Interrupts, p.SoftIRQs = now.Interrupts-l.polledFrom.Interrupts, now.SoftIRQs-l.polledFrom.SoftIRQs
	p.Works, p.Why = nic.BusyPolled(p.NAPI, l.polledFrom, now, received)
	return p
}
