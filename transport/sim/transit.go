package sim

import (
	"fmt"
	"syscall"

	"github.com/fastrpc/fastrpc/transport"
)

// send decides a packet's fate and puts what is left of it under way.
func (n *Network) send(d *direction, packet []byte, ecn uint8, reliable bool) {
	p := record{dir: d, packet: packet, number: n.counts[Sent] + 1, ecn: ecn, reliable: reliable}
	n.note(Sent, &p)
	f := &d.faults
	switch {
	case d.cut:
		n.note(Partitioned, &p)
		return
	case f.MTU > 0 && len(packet) > f.MTU:
		n.note(BlackHoled, &p)
		if f.ReportMTU {
			n.refuse(&p, transport.MTUChanged, f.MTU)
		}
		return
	}
	from := n.now
	if d.wire.busy(n.now) {
		var ok bool
		if from, ok = n.squeeze(&d.wire, &p); !ok {
			return
		}
	}
	switch {
	case reliable:
		n.post(&p, n.inOrder(&p, from))
		return
	case n.chance(f.Loss), n.burst(d):
		n.note(Lost, &p)
		return
	}
	if n.chance(f.Reorder) {
		n.note(Reordered, &p)
		n.post(&p, n.late(f, from))
	} else {
		n.post(&p, n.inOrder(&p, from))
	}
	if n.chance(f.Duplicate) {
		n.note(Duplicated, &p)
		n.post(&p, n.late(f, from))
	}
}

// inOrder is the arrival of a packet that overtakes none.
func (n *Network) inOrder(p *record, from transport.Time) transport.Time {
	d := p.dir
	due := from.Add(d.faults.Delay + n.jitter(&d.faults))
	if n.chance(d.faults.Spike) {
		n.note(Spiked, p)
		due = due.Add(d.faults.SpikeDelay)
	}
	d.last = max(d.last, due)
	return d.last
}

// late is the arrival of a packet that others may overtake.
func (n *Network) late(f *Faults, from transport.Time) transport.Time {
	return from.Add(f.Delay + n.jitter(f) + 1 + n.upTo(f.ReorderDelay-1))
}

// post puts a copy of p under way.
func (n *Network) post(p *record, due transport.Time) {
	i, r := n.queue.record()
	bytes := append(r.packet[:0], p.packet...)
	*r = *p
	r.packet = bytes
	if !r.reliable {
		n.damage(r, &r.dir.faults)
	}
	n.inTransit++
	n.queue.push(due, i)
}

// arrive ends what record i stands for, or sends it on from the end of its direction through the receiver's bottleneck.
func (n *Network) arrive(i int32) {
	r := &n.queue.records[i]
	if r.read != nil {
		read := r.read
		n.queue.recycle(i)
		n.step(read)
		return
	}
	if r.dir == nil {
		r.sender.land(r.frame)
		n.queue.recycle(i)
		return
	}
	to := r.dir.to
	switch {
	case r.dir.cut:
		n.note(Partitioned, r)
	case !r.through && to.ingress.busy(n.now):
		if leaves, ok := n.squeeze(&to.ingress, r); ok {
			r.through = true
			n.queue.push(leaves, i)
			return
		}
	case to.link == nil:
		n.note(NoListener, r)
		n.refuse(r, transport.Unreachable, 0)
	case len(r.packet) > to.link.mtu:
		n.note(TooBig, r)
		n.refuse(r, transport.MTUChanged, to.link.mtu)
	case to.link.deliver(r):
		n.note(Delivered, r)
	case r.reliable:
		to.link.waiting = append(to.link.waiting, i)
		return // neither recycled nor counted yet
	default:
		n.note(Overrun, r)
	}
	n.end(i)
}

// end takes record i, a packet whose fate is noted, off the books.
func (n *Network) end(i int32) {
	n.inTransit--
	n.queue.recycle(i)
}

// refuse tells the sender of r, if it wants to know and the way back is open. An mtu of 0 is its own.
func (n *Network) refuse(r *record, kind transport.EventKind, mtu int) {
	from, to := r.dir.from.link, r.dir.to.addr
	if from == nil || !from.options.Unreachable || n.direction(to, r.dir.from.addr).cut {
		return
	}
	e := transport.Event{Kind: kind, Path: pathOf(from.home.addr, to)}
	if kind == transport.MTUChanged {
		e.Err = syscall.EMSGSIZE
	} else {
		e.Err = fmt.Errorf("sim: nobody listens on %v: %w", to, syscall.ECONNREFUSED)
		mtu = from.mtu
	}
	e.Path.MTU = uint16(mtu)
	from.report(e)
}
