package xdp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/nic"
)

// These leave the interrupts of a queue off while it is polled by system calls (Documentation/networking/af_xdp.rst, SO_PREFER_BUSY_POLL):
// after so many polls that found nothing they may come back, and only if nobody has polled for so long. A caller that has parked waits that
// much longer for a packet, at most.
const (
	polledDeferHardIRQs   = 2
	polledGROFlushTimeout = 200 * time.Microsecond
)

// beginPolling is for a Link that nobody uses yet.
func (l *Link) beginPolling() {
	if c := &l.dev.card; c.nic != nil {
		l.since.counts, _ = c.nic.PollCounts(l.queue, 0)
	}
	l.learnNAPI()
	l.askNAPI = l.napi == 0
}

// learnNAPI asks which NAPI instance receives the Link's packets, and has it polled. It belongs to the owner; what may block is done by the
// refresher. The kernel knows at once, or from the first packet on, or never.
func (l *Link) learnNAPI() {
	l.askNAPI = false
	if l.napi, _ = l.socket.NAPI(); l.napi != 0 {
		l.dev.card.polled <- l.napi // has room for one of each Link
	}
}

// napiTries bounds how often a NAPI instance is looked for, refreshPause apart: it is gone while the driver takes a queue's socket in.
const napiTries = 30

// polling sets a NAPI instance up to be polled, or before Linux 6.13 all of the device.
func (c *card) polling(ctx context.Context, id uint32) {
	var err error
	for range napiTries {
		if err = c.poll(id); !errors.Is(err, unix.ENOENT) {
			break
		}
		select {
		case <-time.After(refreshPause):
		case <-ctx.Done():
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse(err)
}

func (c *card) poll(id uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.claim == nil || c.closed {
		return nil
	}
	n, err := c.nic.NAPI(id)
	if err == nil {
		err = c.claim.SetNAPI(id, c.polledAs(n.NAPISettings))
	}
	if errors.Is(err, errors.ErrUnsupported) && !c.thread {
		var all nic.NAPISettings
		if all, err = c.nic.NAPIDefaults(); err == nil {
			err = c.claim.SetNAPI(0, c.polledAs(all))
		}
	}
	if err != nil && c.thread {
		err = fmt.Errorf("busypoll=thread takes Linux 6.19: %w", err)
	}
	return err
}

// polledAs leaves alone what somebody has set already.
func (c *card) polledAs(s nic.NAPISettings) nic.NAPISettings {
	switch {
	case c.thread:
		s.Threaded = nic.NAPIThreadBusy
	case s.DeferHardIRQs == 0 && s.GROFlushTimeout == 0:
		s.DeferHardIRQs, s.GROFlushTimeout = polledDeferHardIRQs, polledGROFlushTimeout
	}
	return s
}

// Polling says whether the queue is polled, which the setting busypoll asks for, instead of interrupting. It is measured over a window: from the
// last time that somebody asked, or from the opening, until now.
type Polling struct {
	NAPI       uint32 // the kernel's NAPI instance, as the socket tells it; 0: not known, then nothing is polled
	Packets    uint64 // received
	Interrupts uint64 // of the queue, where its line is known
	SoftIRQs   uint64 // NET_RX, of the whole machine
	Works      bool   // next to none of either for the packets that came
	Why        string // why it does not, or cannot be told
}

// polledSince is where the window begins.
type polledSince struct {
	mu      sync.Mutex
	counts  nic.PollCounts
	packets uint64
}

// measurePolling may be called from any goroutine; what it is given is the owner's.
func (l *Link) measurePolling(napi uint32, received uint64) (p Polling) {
	if !l.busyPoll && !l.dev.settings.pollThread {
		return Polling{Why: "not asked for: busypoll=0"}
	}
	p.NAPI = napi
	c, since := &l.dev.card, &l.since
	if c.nic == nil {
		p.Why = "the device's counters cannot be read"
		return p
	}
	since.mu.Lock()
	defer since.mu.Unlock()
	now, err := c.nic.PollCounts(l.queue, napi)
	if err != nil {
		p.Why = err.Error()
		return p
	}
	received = max(received, since.packets) // it may be what the owner told before somebody else asked
	p.Packets, p.Interrupts, p.SoftIRQs = received-since.packets, now.Interrupts-since.counts.Interrupts, now.SoftIRQs-since.counts.SoftIRQs
	p.Works, p.Why = nic.BusyPolled(napi, since.counts, now, p.Packets)
	if p.Packets >= nic.EnoughPackets {
		since.counts, since.packets = now, received
	}
	return p
}
