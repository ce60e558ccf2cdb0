//go:build linux

package conform

import (
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

// jumbo has the row send packets of several descriptors.
func jumbo(run func(*trial)) func(*trial) {
	return func(c *trial) {
		c.mtu = jumboPacket
		c.tx.multiBuffer, c.rx.multiBuffer = true, true
		run(c)
	}
}

// jumboPackets are fewer than the kernel's 4,096: they wrap every ring and the UMEM all the same.
const jumboPackets = 1024

// jumboRows are the rows of packets of several descriptors. They come last, because many a driver resets its link when the MTU changes.
var jumboRows = []row{
	{"SEND_RECEIVE_9K_PACKETS", jumbo(func(c *trial) { c.exchange(newStream(jumboPackets, jumboPacket, 0, 1)) })},
	{"SEND_RECEIVE_UNALIGNED_9K_PACKETS", jumbo(unaligned(func(c *trial) { c.exchange(newStream(jumboPackets, jumboPacket, 0, 1)) }))},
	{"UNALIGNED_INV_DESC_MULTI_BUFF", jumbo(unaligned(invalidParts))},
	{"ALIGNED_INV_DESC_MULTI_BUFF", jumbo(invalidParts)},
	{"TOO_MANY_FRAGS", jumbo(tooManyFrags)},
	{"XDP_METADATA_COPY_MULTI_BUFF", jumbo(xdpMetadata)},
	{"XDP_ADJUST_TAIL_SHRINK_MULTI_BUFF", jumbo(func(c *trial) { xdpAdjustTail(c, -4096, 2*largePart) })},
	{"XDP_ADJUST_TAIL_GROW_MULTI_BUFF", jumbo(func(c *trial) { xdpAdjustTail(c, 4096/2-1, 2*largePart) })},
}

const largePart = 3 * 1024 // XSK_UMEM__LARGE_FRAME_SIZE

// parts numbers the descriptors' chunks from first on, and marks all but the last as continued.
func (c *trial) parts(first int, lengths ...uint32) (descs []unix.XDPDesc) {
	for i, n := range lengths {
		descs = append(descs, unix.XDPDesc{Addr: uint64((first + i) * c.tx.chunkBytes), Len: n, Options: unix.XDP_PKT_CONTD})
	}
	descs[len(descs)-1].Options = 0
	return descs
}

// invalidParts: packets of which one descriptor is bad are dropped as a whole, and what follows is not. The bad one is always the last:
// older kernels take what is behind it for a new packet, newer ones for the rest of the bad one (xsk: drain continuation descs, 2026).
func invalidParts(c *trial) {
	const full = 4096
	size := uint64(c.tx.chunks * c.tx.chunkBytes)
	broken := func(first int, length uint32, spoil func(last *unix.XDPDesc)) packet {
		d := c.parts(first, largePart, largePart, length)
		spoil(&d[2])
		return invalid(d...)
	}
	across := c.parts(24, largePart, minPacket)
	across[1].Addr -= minPacket / 2
	straddling := invalid(across...)
	if c.tx.unaligned {
		straddling = valid(across...)
	}
	c.exchange(literal(
		valid(c.parts(0, minPacket)...),
		broken(1, 0, func(*unix.XDPDesc) {}),
		broken(4, largePart, func(d *unix.XDPDesc) { d.Addr = size }),
		broken(8, jumboPacket+1, func(*unix.XDPDesc) {}),
		broken(12, largePart, func(d *unix.XDPDesc) { d.Options = 0xffff &^ unix.XDP_PKT_CONTD }),
		valid(c.parts(16, full, full)...), // two are sent, three received
		straddling,
		valid(c.parts(32, minPacket)...),
	))
}

// tooManyFrags: a packet of as many descriptors as there may be arrives, a longer one does not.
func tooManyFrags(c *trial) {
	c.open()
	most := maxSkbFrags() + 1
	if c.mode.socket == afxdp.ZeroCopy {
		features, err := afxdp.Features(c.tx.port.index)
		must(c.T, err)
		most = features.ZeroCopyMaxSegs
	}
	if got := c.tx.sockets[0].MaxSegments(); got != most {
		c.Fatalf("MaxSegments is %d, want %d", got, most)
	}
	if c.mode.socket == afxdp.Copy && c.tx.port.driver(c.T) == "virtio_net" {
		most-- // it takes no linear part (IFF_TX_SKB_NO_LINEAR), see Socket.MaxSegments
	}
	lengths := make([]uint32, most, most+1)
	for i := range lengths {
		lengths[i] = minPacket
	}
	run(c.T, c.flow(literal(
		valid(c.parts(0, minPacket)...),
		valid(c.parts(1, lengths...)...),
		invalid(c.parts(1+most, append(lengths, 0)...)...), // empty, so that no kernel takes the last for a packet by itself
		valid(c.parts(2+2*most, minPacket)...),
	)))
}
