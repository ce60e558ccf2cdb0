package sim

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// Faults is what a Network does to the packets of one direction. Probabilities lie between 0 and 1; the zero value is a perfect wire.
type Faults struct {
	Delay  time.Duration // of every packet
	Jitter time.Duration // added to Delay, uniform in [0, Jitter]; it never reorders

	Loss      float64
	Duplicate float64 // a second copy comes up to ReorderDelay later, with its own luck in corruption
	Corrupt   float64 // bits or bytes change, or the end is cut off

	Reorder      float64       // the packet comes late and those behind it may overtake
	ReorderDelay time.Duration // how late at most. Default twice Delay+Jitter, at least 100 µs

	Spike      float64 // the packet, and all behind it, come SpikeDelay later: a paused switch, a full buffer
	SpikeDelay time.Duration
}

func (f Faults) withDefaults() Faults {
	for _, p := range [...]float64{f.Loss, f.Duplicate, f.Corrupt, f.Reorder, f.Spike} {
		if !(p >= 0 && p <= 1) {
			panic("sim: Faults: a probability is not between 0 and 1")
		}
	}
	if f.Delay < 0 || f.Jitter < 0 || f.ReorderDelay < 0 || f.SpikeDelay < 0 {
		panic("sim: Faults: a delay is negative")
	}
	if f.ReorderDelay == 0 {
		f.ReorderDelay = max(2*(f.Delay+f.Jitter), 100*time.Microsecond)
	}
	return f
}

// Counters is what a Network did to packets. Sent + Duplicated = Lost + Partitioned + Delivered + Overrun + NoListener + TooBig + InTransit.
type Counters struct {
	Sent        uint64
	Duplicated  uint64
	Lost        uint64 // by Faults.Loss
	Partitioned uint64 // lost to a partition
	Delivered   uint64
	Overrun     uint64 // arrived, and the receiver had no frame
	NoListener  uint64 // arrived where no Link is open
	TooBig      uint64 // arrived, and is beyond the receiver's MTU
	InTransit   uint64 // still under way, now
	Reordered   uint64
	Corrupted   uint64
	Spiked      uint64

	EventsDropped uint64 // because Events was not asked in time
}

// Network joins Links in virtual time. It and all its Links belong to one goroutine at a time; only Wake may be called from others.
type Network struct {
	now        transport.Time
	rng        *rand.Rand
	faults     Faults
	nodes      map[netip.AddrPort]*node
	directions map[[2]netip.AddrPort]*direction
	queue      queue
	counters   Counters
}

// node is an address; it stays when its Link crashes, so that what is under way reaches the next Link there.
type node struct {
	addr netip.AddrPort
	link *Link
}

// direction is the way from one address to another.
type direction struct {
	from, to *node
	back     transport.Path // as the receiver sees it, without the MTU
	faults   Faults
	own      bool // faults were set for this direction
	cut      bool
	last     transport.Time // arrival of the latest packet that kept its place
}

// NewNetwork makes a network whose packets all suffer f, unless SetFaults says otherwise. The same seed and the same calls give the same
// packets at the same times.
func NewNetwork(seed uint64, f Faults) *Network {
	return &Network{
		now:        transport.Time(time.Second),
		rng:        rand.New(rand.NewPCG(seed, 0x5eed)),
		faults:     f.withDefaults(),
		nodes:      map[netip.AddrPort]*node{},
		directions: map[[2]netip.AddrPort]*direction{},
	}
}

// Now is the virtual time. It begins at one second.
func (n *Network) Now() transport.Time { return n.now }

// Next says when something is due: a packet, or the end of a frame's flight. False when nothing is under way.
func (n *Network) Next() (transport.Time, bool) {
	if len(n.queue.heap) == 0 {
		return 0, false
	}
	return max(n.queue.heap[0].due, n.now), true
}

// Advance moves the time, delivering on the way all that is due, in order of time and, at one instant, in the order sent. A time that has
// passed delivers only what is due now.
func (n *Network) Advance(to transport.Time) {
	to = max(to, n.now)
	for len(n.queue.heap) > 0 && n.queue.heap[0].due <= to {
		it := n.queue.pop()
		n.now = max(n.now, it.due)
		n.arrive(it.record)
	}
	n.now = to
}

// SetFaults changes what happens to packets from one address to another, from now on; those under way keep their fate.
func (n *Network) SetFaults(from, to netip.AddrPort, f Faults) {
	d := n.direction(from, to)
	d.faults, d.own = f.withDefaults(), true
}

// SetAllFaults changes what happens to the packets of all directions for which SetFaults was not called.
func (n *Network) SetAllFaults(f Faults) {
	n.faults = f.withDefaults()
	for _, d := range n.directions {
		if !d.own {
			d.faults = n.faults
		}
	}
}

// Partition cuts the way from one address to another, or mends it. While it is cut nothing is taken and nothing arrives. The way back
// is a partition of its own.
func (n *Network) Partition(from, to netip.AddrPort, on bool) { n.direction(from, to).cut = on }

// Counters says what was done to packets.
func (n *Network) Counters() Counters { return n.counters }

// Inject sends bytes that no Link sent, as from address from: garbage, forgeries, replays. They suffer the direction's faults.
func (n *Network) Inject(from, to netip.AddrPort, packet []byte) {
	n.send(n.direction(from, to), packet, 0, false)
}

func (n *Network) node(a netip.AddrPort) *node {
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	nd := n.nodes[a]
	if nd == nil {
		if !a.IsValid() || a.Addr().IsUnspecified() || a.Port() == 0 {
			panic("sim: " + a.String() + " is not one host's address and port")
		}
		nd = &node{addr: a}
		n.nodes[a] = nd
	}
	return nd
}

func (n *Network) direction(from, to netip.AddrPort) *direction {
	src, dst := n.node(from), n.node(to)
	key := [2]netip.AddrPort{src.addr, dst.addr}
	d := n.directions[key]
	if d == nil {
		d = &direction{from: src, to: dst, faults: n.faults, back: pathOf(dst.addr, src.addr)}
		n.directions[key] = d
	}
	return d
}

func pathOf(local, remote netip.AddrPort) transport.Path {
	return transport.Path{RemoteIP: remote.Addr().As16(), RemotePort: remote.Port(), LocalIP: local.Addr().As16(), LocalPort: local.Port()}
}
