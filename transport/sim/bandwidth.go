package sim

import "github.com/fastrpc/fastrpc/transport"

// Bandwidth is a bottleneck: a wire of so many bits a second behind a FIFO queue. The zero value is infinitely fast.
//
// A packet takes on the wire what Ethernet, IP and UDP add to its Frame.Data: 66 bytes with IPv4 (preamble 8, header 14, FCS 4 and gap 12 of
// IEEE 802.3; 20; 8), 86 with IPv6, and at least 84 in all. Queue lengths are in such bytes, and what is on the wire counts until its last bit
// has left. Time on the wire is exact: a thousand packets back to back take as long as their sum says, to the nanosecond.
type Bandwidth struct {
	BitsPerSecond int64 // 0: no limit, and nothing else of this applies
	QueueBytes    int   // a packet that would make the queue longer is dropped, unless the wire is idle. Default, and at most, 1 GiB
	MarkBytes     int   // an ECN-capable packet that finds the queue longer than this is marked CE, as in RFC 8257, section 3.1. 0: never
}

const (
	maxQueueBytes = 1 << 30 // times byteUnits fits an int64
	maxRate       = 1e15
	minWireBytes  = 8 + 64 + 12
	overhead4     = 8 + 14 + 4 + 12 + 20 + 8
	overhead6     = overhead4 + 20
)

func (b Bandwidth) withDefaults() Bandwidth {
	if b.QueueBytes == 0 {
		b.QueueBytes = maxQueueBytes
	}
	if b.BitsPerSecond < 0 || b.BitsPerSecond > maxRate || min(b.QueueBytes, b.MarkBytes) < 0 || max(b.QueueBytes, b.MarkBytes) > maxQueueBytes {
		panic("sim: Bandwidth out of range")
	}
	return b
}

// bottleneck is a Bandwidth at work. When it becomes idle says all about its queue, so that nothing needs to happen when a packet leaves it.
type bottleneck struct {
	Bandwidth
	idle transport.Time // when the last bit will have left, rounded down
	part int64          // and what that lacks, in nanoseconds divided by BitsPerSecond
	most transport.Time // how long maxQueueBytes take; beyond it queues are not told apart, so that nothing overflows
}

// byteUnits is a byte in the unit of work here, bits times nanoseconds a second, which makes time times rate.
const byteUnits = 8e9

// set changes the rate and the limits. What is in the queue leaves at the times that it was given; nothing overtakes it.
func (b *bottleneck) set(to Bandwidth) {
	if to.BitsPerSecond != b.BitsPerSecond && b.part > 0 {
		b.idle, b.part = b.idle+1, 0
	}
	b.Bandwidth = to
	if to.BitsPerSecond > 0 {
		b.most = maxQueueBytes*byteUnits/transport.Time(to.BitsPerSecond) + 1
	}
}

// busy says whether a packet has to go through pass.
func (b *bottleneck) busy(now transport.Time) bool { return b.BitsPerSecond > 0 || b.idle > now }

// pass queues a packet of so many bytes on the wire: when its last bit leaves, and whether it is to be marked. False: the queue is full, which
// it never is for a patient packet.
func (b *bottleneck) pass(now transport.Time, wireBytes int64, patient bool) (leaves transport.Time, mark, ok bool) {
	if b.idle < now {
		b.idle, b.part = now, 0
	}
	rate := b.BitsPerSecond
	if rate == 0 { // what was queued before the limit was lifted is still to leave
		return b.idle, false, true
	}
	queued := int64(min(b.idle-now, b.most))*rate + b.part
	if queued > 0 && queued+wireBytes*byteUnits > int64(b.QueueBytes)*byteUnits && !patient {
		return 0, false, false
	}
	b.part += wireBytes * byteUnits
	b.idle += transport.Time(b.part / rate)
	b.part %= rate
	leaves = b.idle
	if b.part > 0 {
		leaves++
	}
	return leaves, b.MarkBytes > 0 && queued > int64(b.MarkBytes)*byteUnits, true
}

// squeeze takes a packet through bottleneck b: when it leaves; false: it was dropped.
func (n *Network) squeeze(b *bottleneck, r *record) (leaves transport.Time, ok bool) {
	wireBytes := max(minWireBytes, int64(len(r.packet)+r.dir.overhead))
	leaves, mark, ok := b.pass(n.now, wireBytes, r.reliable)
	if !ok {
		n.note(QueueDropped, r)
		return 0, false
	}
	if mark && (r.ecn == ect0 || r.ecn == ect1) {
		r.ecn = ce
		n.note(Marked, r)
	}
	return leaves, true
}

// The ECN codepoints of RFC 3168, section 5.
const (
	ect1 = 1
	ect0 = 2
	ce   = 3
)
