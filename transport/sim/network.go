package sim

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// Network joins Links in virtual time. It and all its Links belong to one goroutine at a time; only Wake may be called from others.
type Network struct {
	now           transport.Time
	rng           *rand.Rand
	faults        Faults
	nodes         map[netip.AddrPort]*node
	directions    map[[2]netip.AddrPort]*direction
	queue         queue
	trace         func(TraceRecord)
	counts        [fates]uint64
	inTransit     uint64
	eventsDropped uint64
	reads         Reads
	keys          uint32 // of what Links expose, so far
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

// Next says when something is due: a packet, at a bottleneck or at its receiver, or the end of a frame's flight. False when nothing is under way.
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

// Inject sends bytes that no Link sent, as from address from: garbage, forgeries, replays. They suffer the direction's faults.
func (n *Network) Inject(from, to netip.AddrPort, packet []byte) {
	n.send(n.direction(from, to), packet, 0, false)
}
