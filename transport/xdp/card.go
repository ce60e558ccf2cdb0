package xdp

import (
	"errors"
	"fmt"
	"sync"

	"github.com/fastrpc/fastrpc/internal/nic"
)

// card is what the network card itself is asked to do for a device: to send our ports' packets to our queues, and, for busy polling, to leave
// its interrupts off. Nothing of it is needed: what a card does not have is explained in Stats, and packets on queues without a socket of ours
// come through the kernel.
type card struct {
	nic    *nic.Device             // nil when it could not be opened
	rss    *nic.RSS                // nil when it is not known
	fields map[bool]nic.HashFields // of UDP over IPv6, or not
	polled chan uint32             // NAPI instances that shall be polled, for the refresher
	thread bool                    // by a thread of the kernel's

	mu      sync.Mutex // over what follows
	claim   claim
	partial []int  // our queues, when they are not all; nil: RSS finds them by itself
	context uint32 // of RSS, over partial; 0: none
	rules   map[nic.Rule]bool
	refused uint64
	why     error // the latest refusal
	closed  bool
}

// claim is what of nic.Claim is used.
type claim interface {
	AddRule(nic.Rule) error
	DeleteRule(nic.Rule) error
	AddContext(queues []int) (uint32, error)
	SetNAPI(id uint32, want nic.NAPISettings) error
	Close() error
}

// open gives back what a killed process left changed, and gets ready. count is how many receive queues the device has.
func (c *card) open(ifindex int, queues []uint32, count int) {
	c.polled = make(chan uint32, len(queues))
	var err error
	if c.nic, err = nic.Open(ifindex); err != nil {
		c.refuse(err)
		return
	}
	c.refuse(c.nic.Recover())
	if rss, err := c.nic.RSS(); err == nil {
		c.rss = &rss
		c.fields = map[bool]nic.HashFields{}
		for _, six := range []bool{false, true} {
			if c.fields[six], err = c.nic.UDPHashFields(six); err != nil { // most hash all
				c.fields[six] = nic.HashIPSource | nic.HashIPDest | nic.HashPorts
			}
		}
	}
	c.begin(nic.NewClaim(c.nic), queues, count)
}

func (c *card) begin(made claim, queues []uint32, count int) {
	c.claim, c.rules = made, map[nic.Rule]bool{}
	if len(queues) == count {
		return
	}
	for _, q := range queues {
		c.partial = append(c.partial, int(q))
	}
	if len(c.partial) > 1 {
		var err error
		// Cards without contexts get rules to one queue for each port: not spread, but better than through the kernel.
		if c.context, err = c.claim.AddContext(c.partial); err != nil {
			c.refuse(fmt.Errorf("packets to a port come in on one of our queues only: %w", err))
		}
	}
}

// add has the packets to a port sent to our queues. Without an answer: what was refused is explained.
func (c *card) add(port uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.claim == nil || c.closed || c.partial == nil {
		return
	}
	for _, r := range c.rulesOf(port) {
		if err := c.claim.AddRule(r); err != nil {
			c.refuse(err)
			return // the other version of IP would be refused as well, or would hide that this one was
		}
		c.rules[r] = true
	}
}

func (c *card) refuse(err error) {
	if err != nil {
		c.refused++
		c.why = err
	}
}

// remove takes the rules of a port away, before nobody listens there any more.
func (c *card) remove(port uint16) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, r := range c.rulesOf(port) {
		if c.rules[r] {
			errs = append(errs, c.claim.DeleteRule(r))
			delete(c.rules, r)
		}
	}
	return errors.Join(errs...)
}

func (c *card) rulesOf(port uint16) []nic.Rule {
	if c.partial == nil {
		return nil
	}
	r := nic.Rule{Port: port, Context: c.context}
	if c.context == 0 {
		r.Queue = c.partial[int(port)%len(c.partial)]
	}
	six := r
	six.IPv6 = true
	return []nic.Rule{r, six}
}

// giveBack undoes all of it.
func (c *card) giveBack() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.claim == nil {
		return nil
	}
	c.closed = true
	clear(c.rules)
	return c.claim.Close()
}

// close comes last: Stats asks the card until then.
func (c *card) close() error {
	if c.nic == nil {
		return nil
	}
	return c.nic.Close()
}

// report is for Stats.
func (c *card) report() (rules int, refused uint64, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why != nil {
		why = c.why.Error()
	}
	return len(c.rules), c.refused, why
}
