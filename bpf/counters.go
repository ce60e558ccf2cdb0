package bpf

import "fmt"

// Counters says what became of the packets that the interface received since the program was attached. Each packet counts once, by what was
// found first on the way from its Ethernet header inwards. All but the redirected ones went to the kernel.
type Counters struct {
	Redirected uint64 // to the socket of their queue; it may still have dropped them (see XDP_STATISTICS)
	NoSocket   uint64 // ours, on a queue without a socket
	Denied     uint64 // for our port, from outside of the allowed prefixes
	NotOurPort uint64 // UDP for other ports, or on a queue beyond those that can have a socket
	NotUDP     uint64 // another protocol, a second VLAN tag, or an IPv6 extension header
	Fragment   uint64 // of IPv4 or IPv6, first ones included, of any protocol
	Malformed  uint64 // truncated, or lengths that disagree
	Group      uint64 // to a multicast or broadcast MAC or IP address
}

// fields lists them in the order of enum verdict of steer.c.
func (c *Counters) fields() [8]*uint64 {
	return [...]*uint64{&c.Redirected, &c.NoSocket, &c.Denied, &c.NotOurPort, &c.NotUDP, &c.Fragment, &c.Malformed, &c.Group}
}

// Counters reads the counters, summed over all CPUs. It is no snapshot: packets that arrive meanwhile may be in one field and not yet in
// another. A pinned program counts for all that share it, and another's program ([UseSocketMap]) not at all.
func (p *Program) Counters() (Counters, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var c Counters
	if err := p.checkOpen(); err != nil {
		return c, err
	}
	if p.objs.Verdicts == nil {
		return c, nil
	}
	var perCPU []uint64
	for verdict, sum := range c.fields() {
		if err := p.objs.Verdicts.Lookup(uint32(verdict), &perCPU); err != nil {
			return Counters{}, fmt.Errorf("bpf: reading the counters: %w", err)
		}
		for _, n := range perCPU {
			*sum += n
		}
	}
	return c, nil
}
