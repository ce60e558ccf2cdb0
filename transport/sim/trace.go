package sim

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// Fate is what happened to a packet.
type Fate uint8

// The fates of packets. Each packet is Sent, and each second copy Duplicated; each of both then ends in one of those from Lost to TooBig.
// Those from Reordered on happen on the way.
const (
	Sent Fate = iota
	Duplicated
	Lost         // by Faults.Loss or Faults.Burst
	Partitioned  // lost to a partition
	BlackHoled   // beyond Faults.MTU
	QueueDropped // the queue of a Bandwidth was full
	Delivered
	Overrun    // arrived, and the receiver had no frame
	NoListener // arrived where no Link is open
	TooBig     // arrived, and is beyond the receiver's MTU
	Reordered
	Corrupted
	Spiked
	Marked // the codepoint CE took the place of an ECN-capable one
	fates
)

func (f Fate) String() string {
	return [...]string{"sent", "duplicated", "lost", "partitioned", "black-holed", "queue-dropped", "delivered", "overrun", "no listener", "too big",
		"reordered", "corrupted", "spiked", "marked"}[f]
}

// Counters says how many packets met which Fate, each of them counted in the field of its name. At any moment
//
//	Sent + Duplicated = Lost + Partitioned + BlackHoled + QueueDropped + Delivered + Overrun + NoListener + TooBig + InTransit
type Counters struct {
	Sent, Duplicated                                                                    uint64
	Lost, Partitioned, BlackHoled, QueueDropped, Delivered, Overrun, NoListener, TooBig uint64
	Reordered, Corrupted, Spiked, Marked                                                uint64

	InTransit     uint64 // packets still under way, now
	EventsDropped uint64 // because Link.Events was not asked in time
}

// Counters says what was done to packets.
func (n *Network) Counters() Counters {
	c := &n.counts
	return Counters{
		Sent: c[Sent], Duplicated: c[Duplicated],
		Lost: c[Lost], Partitioned: c[Partitioned], BlackHoled: c[BlackHoled], QueueDropped: c[QueueDropped],
		Delivered: c[Delivered], Overrun: c[Overrun], NoListener: c[NoListener], TooBig: c[TooBig],
		Reordered: c[Reordered], Corrupted: c[Corrupted], Spiked: c[Spiked], Marked: c[Marked],
		InTransit: n.inTransit, EventsDropped: n.eventsDropped,
	}
}

// TraceRecord is one turn of a packet's way.
type TraceRecord struct {
	At       transport.Time
	Fate     Fate
	Number   uint64 // counts the packets sent, from 1; a duplicate has its original's
	From, To netip.AddrPort
	ECN      uint8
	Packet   []byte // as it is now, the session's part; valid during the call only
}

// String is the record in one line, without the packet's bytes, such as
//
//	1.000020s #17 198.18.0.1:7 > 198.18.0.2:9 1400 bytes: delivered
func (r TraceRecord) String() string {
	return fmt.Sprintf("%v #%d %v > %v %d bytes: %v", time.Duration(r.At), r.Number, r.From, r.To, len(r.Packet), r.Fate)
}

// Trace makes the Network call f at every turn of a packet's way, from now on; nil ends that. f must not use the Network or its Links. While
// nothing traces, it costs nothing.
func (n *Network) Trace(f func(TraceRecord)) { n.trace = f }

func (n *Network) note(f Fate, r *record) {
	n.counts[f]++
	if n.trace != nil {
		n.trace(TraceRecord{At: n.now, Fate: f, Number: r.number, From: r.dir.from.addr, To: r.dir.to.addr, ECN: r.ecn, Packet: r.packet})
	}
}
