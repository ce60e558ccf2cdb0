package sim

import (
	"fmt"
	"syscall"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// send decides a packet's fate and puts what is left of it under way.
func (n *Network) send(d *direction, packet []byte, ecn uint8, reliable bool) {
	n.counters.Sent++
	f := &d.faults
	switch {
	case d.cut:
		n.counters.Partitioned++
		return
	case reliable:
		n.post(d, packet, ecn, n.inOrder(d), true)
		return
	case n.chance(f.Loss):
		n.counters.Lost++
		return
	}
	var due transport.Time
	if n.chance(f.Reorder) {
		n.counters.Reordered++
		due = n.late(f)
	} else {
		due = n.inOrder(d)
	}
	n.post(d, packet, ecn, due, false)
	if n.chance(f.Duplicate) {
		n.counters.Duplicated++
		n.post(d, packet, ecn, n.late(f), false)
	}
}

// inOrder is the arrival of a packet that overtakes none.
func (n *Network) inOrder(d *direction) transport.Time {
	due := n.now.Add(d.faults.Delay + n.upTo(d.faults.Jitter))
	if n.chance(d.faults.Spike) {
		n.counters.Spiked++
		due = due.Add(d.faults.SpikeDelay)
	}
	d.last = max(d.last, due)
	return d.last
}

// late is the arrival of a packet that others may overtake.
func (n *Network) late(f *Faults) transport.Time {
	return n.now.Add(f.Delay + n.upTo(f.Jitter) + 1 + n.upTo(f.ReorderDelay-1))
}

func (n *Network) post(d *direction, packet []byte, ecn uint8, due transport.Time, reliable bool) {
	i, r := n.queue.record()
	r.dir, r.ecn, r.reliable = d, ecn, reliable
	r.packet = append(r.packet[:0], packet...)
	if !reliable && n.chance(d.faults.Corrupt) {
		n.corrupt(r)
	}
	n.counters.InTransit++
	n.queue.push(due, i)
}

func (n *Network) chance(p float64) bool { return p > 0 && n.rng.Float64() < p }

func (n *Network) upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(n.rng.Int64N(int64(d) + 1))
}

// corrupt changes a packet so that it surely differs from what was sent.
func (n *Network) corrupt(r *record) {
	size := len(r.packet)
	if size == 0 {
		return
	}
	n.counters.Corrupted++
	at := n.rng.IntN(size)
	switch n.rng.IntN(4) {
	case 0: // one bit
		r.packet[at] ^= 1 << n.rng.IntN(8)
	case 1: // bits here and there
		for ; at < size; at += 1 + n.rng.IntN(size) {
			r.packet[at] ^= 1 << n.rng.IntN(8)
		}
	case 2: // a run of bytes
		for end := min(size, at+1+n.rng.IntN(16)); at < end; at++ {
			r.packet[at] ^= byte(1 + n.rng.IntN(255))
		}
	case 3: // the end is missing
		r.packet = r.packet[:at]
	}
}

// arrive ends what record i stands for.
func (n *Network) arrive(i int32) {
	r := &n.queue.records[i]
	if r.dir == nil {
		r.sender.land(r.frame)
		n.queue.recycle(i)
		return
	}
	switch to := r.dir.to.link; {
	case r.dir.cut:
		n.counters.Partitioned++
	case to == nil:
		n.counters.NoListener++
		n.refuse(r, transport.Event{Kind: transport.Unreachable,
			Err: fmt.Errorf("sim: nobody listens on %v: %w", r.dir.to.addr, syscall.ECONNREFUSED)})
	case len(r.packet) > to.mtu:
		n.counters.TooBig++
		n.refuse(r, transport.Event{Kind: transport.MTUChanged, Path: transport.Path{MTU: uint16(to.mtu)}, Err: syscall.EMSGSIZE})
	case to.deliver(r):
		n.counters.Delivered++
	case r.reliable:
		to.waiting = append(to.waiting, i)
		return // neither recycled nor counted yet
	default:
		n.counters.Overrun++
	}
	n.counters.InTransit--
	n.queue.recycle(i)
}

// refuse tells the sender of r, if it wants to know and the way back is open.
func (n *Network) refuse(r *record, e transport.Event) {
	from := r.dir.from.link
	if from == nil || !from.options.Unreachable || n.direction(r.dir.to.addr, r.dir.from.addr).cut {
		return
	}
	mtu := e.Path.MTU
	if mtu == 0 {
		mtu = uint16(from.mtu)
	}
	e.Path = pathOf(r.dir.from.addr, r.dir.to.addr)
	e.Path.MTU = mtu
	from.report(e)
}
