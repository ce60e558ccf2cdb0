//go:build linux

package conform

import (
	"slices"
	"time"

	"github.com/safchain/ethtool"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

// row is a case of the kernel's test, by its name there (test_xsk.h, tests and ci_skip_tests).
type row struct {
	name string
	run  func(*trial)
}

var rows = []row{
	{"SEND_RECEIVE", func(c *trial) { c.exchange(newStream(streamPackets, minPacket, 0, 1)) }},
	{"SEND_RECEIVE_2K_FRAME", sendReceive2K},
	{"SEND_RECEIVE_SINGLE_PKT", func(c *trial) { c.exchange(newStream(1, minPacket, 0, 1)) }},
	{"POLL_RX", pollRx},
	{"POLL_TX", pollTx},
	{"POLL_RXQ_FULL", pollRxTimeout},
	{"POLL_TXQ_FULL", pollTxTimeout},
	{"ALIGNED_INV_DESC", invalidDescs},
	{"ALIGNED_INV_DESC_2K_FRAME_SIZE", invalidDescs2K},
	{"SEND_RECEIVE_UNALIGNED", unaligned(sendReceiveUnaligned)},
	{"UNALIGNED_INV_DESC", unaligned(invalidDescs)},
	{"UNALIGNED_INV_DESC_4001_FRAME_SIZE", unaligned(invalidDescs4001)},
	{"UMEM_HEADROOM", headroom},
	{"BIDIRECTIONAL", bidirectional},
	{"STAT_RX_DROPPED", statRxDropped},
	{"STAT_TX_INVALID", statTxInvalid},
	{"STAT_RX_FULL", statRxFull},
	{"STAT_FILL_EMPTY", statFillEmpty},
	{"XDP_PROG_CLEANUP", xdpProgCleanup},
	{"XDP_DROP_HALF", xdpDropHalf},
	{"XDP_SHARED_UMEM", xdpSharedUmem},
	{"XDP_METADATA_COPY", xdpMetadata},
	{"XDP_ADJUST_TAIL_SHRINK", func(c *trial) { xdpAdjustTail(c, -4, 2*minPacket) }},
	// Not the kernel's 128: a copied packet has room behind it only as far as the next cache line (skb_pp_cow_data), which is why its CI
	// has this one among the flaky.
	{"XDP_ADJUST_TAIL_GROW", func(c *trial) { xdpAdjustTail(c, 4, 2*minPacket-8) }},
	{"TX_QUEUE_CONSUMER", txQueueConsumer},
	{"TEARDOWN", teardown},
	{"HW_SW_MIN_RING_SIZE", minRings},
	{"HW_SW_MAX_RING_SIZE", maxRings},
}

func sendReceive2K(c *trial) {
	c.tx.chunkBytes, c.rx.chunkBytes = 2048, 2048
	c.exchange(newStream(streamPackets, minPacket, 0, 1))
}

// pollRx: poll(2) says when a packet is there, each time.
func pollRx(c *trial) {
	c.open()
	f := c.flow(newStream(streamPackets, minPacket, 0, 1))
	f.pollRx = true
	run(c.T, f)
}

// pollTx: poll(2) says when there is room to send, and sends by itself what is in the ring.
func pollTx(c *trial) {
	c.open()
	f := c.flow(newStream(streamPackets, minPacket, 0, 1))
	f.pollTx = true
	run(c.T, f)
}

// nothing is how long poll(2) waits where it must wait in vain.
const nothing = 50 * time.Millisecond

// pollRxTimeout: without a sender poll(2) waits in vain.
func pollRxTimeout(c *trial) {
	c.open()
	if got := c.rx.poll(unix.POLLIN, nothing); got != 0 {
		c.Fatalf("poll says %#x, and nobody sent", got)
	}
	run(c.T, c.flow(newStream(1, minPacket, 0, 1))) // and it did no harm
}

// pollTxTimeout: while nobody takes completions the TX ring stays full, and poll(2) waits in vain; afterwards it does not.
func pollTxTimeout(c *trial) {
	c.tx.txEntries, c.tx.completions = 64, 64
	c.open()
	f := c.flow(newStream(128, minPacket, 0, 1))
	f.push(64) // as many as both rings hold go in
	for deadline := time.Now().Add(patience); f.out < 128; f.push(1) {
		c.tx.kick(0)
		if time.Now().After(deadline) {
			c.Fatalf("%d packets found room, want 128", f.out)
		}
	}
	c.tx.kick(0)
	if got := c.tx.poll(unix.POLLOUT, nothing); got != 0 {
		c.Fatalf("poll says %#x, and the TX ring is full", got)
	}
	run(c.T, f) // takes the completions
	if c.tx.poll(unix.POLLOUT, patience)&unix.POLLOUT == 0 {
		c.Fatal("poll does not say that there is room again")
	}
}

func invalidDescs2K(c *trial) {
	c.tx.chunkBytes, c.rx.chunkBytes = 2048, 2048
	invalidDescs(c)
}

// unaligned has the row use chunks that may lie anywhere.
func unaligned(run func(*trial)) func(*trial) {
	return func(c *trial) {
		c.tx.unaligned, c.rx.unaligned = true, true
		run(c)
	}
}

// sendReceiveUnaligned: every second packet straddles the border of a page; the others say their place as chunk and offset.
func sendReceiveUnaligned(c *trial) {
	sent := newStream(streamPackets, minPacket, 0, 1)
	for i := range sent {
		if sent[i].offset = 128; i%2 == 1 {
			sent[i].offset = -minPacket / 2
		}
	}
	c.open()
	c.tx.free = slices.DeleteFunc(c.tx.free, func(chunk uint64) bool { return chunk == 0 }) // nothing is below it
	run(c.T, c.flow(sent))
}

// invalidDescs4001: the UMEM ends within a page.
func invalidDescs4001(c *trial) {
	for _, e := range []*end{c.tx, c.rx} {
		e.chunks, e.chunkBytes, e.filled = 1000, 4001, min(e.filled, 1000)
	}
	invalidDescs(c)
	if end := len(c.tx.umem.Bytes()) % 4096; end <= minPacket || end >= 4096-minPacket {
		c.Fatalf("the UMEM ends %d bytes behind a page's border: choose other numbers", end)
	}
}

// invalidDescs: descriptors at and beyond every border; the kernel sends the valid ones, skips and counts the others.
func invalidDescs(c *trial) {
	c.open()
	size := uint64(len(c.tx.umem.Bytes()))
	at := func(addr uint64, bytes uint32) unix.XDPDesc { return unix.XDPDesc{Addr: addr, Len: bytes} }
	across := func(border uint64, allowed bool) packet {
		d := at(border-minPacket/2, minPacket)
		if allowed {
			return valid(d)
		}
		return invalid(d)
	}
	const page = 4096
	run(c.T, c.flow(literal(
		valid(at(0, minPacket)),
		valid(at(uint64(c.tx.chunkBytes), minPacket)),
		invalid(at(^uint64(0)-1, minPacket)), // straddles the start of the UMEM
		invalid(at(0, jumboPacket+1)),
		valid(at(size-minPacket, minPacket)), // up to the end
		invalid(at(size, minPacket)),
		invalid(at(size-minPacket/2, minPacket)),         // straddles the end
		across(8*page, c.tx.unaligned),                   // 8 pages are whole chunks of 2K and of 4K
		across(9*page+page/2, c.tx.chunkBytes > page/2),  // the middle of a page
		valid(at(16*uint64(c.tx.chunkBytes), minPacket)), // the last arrives, so what came before it was looked at
	)))
}

// headroom: received packets stand behind it.
func headroom(c *trial) {
	c.rx.headroom = 128 // UMEM_HEADROOM_TEST_SIZE
	c.exchange(newStream(streamPackets, minPacket, 0, 1))
}

// bidirectional: both ends send and receive at once.
func bidirectional(c *trial) {
	for _, e := range []*end{c.tx, c.rx} {
		e.rxEntries, e.txEntries, e.filled = 2048, 2048, e.chunks/2
	}
	c.open()
	there := c.flow(newStream(streamPackets, minPacket, 0, 1))
	back := c.flow(newStream(streamPackets, 2*minPacket, 0, 1))
	back.from, back.to = c.rx, c.tx
	run(c.T, there, back)
}

// statRxDropped: every second packet is larger than what the headroom leaves of a chunk.
func statRxDropped(c *trial) {
	c.notWithZeroCopy("the device drops, and the socket does not see it")
	const room = 512 // newer kernels want 128 for a packet and 320 for an skb's trailer, whether or not there will be one
	c.rx.headroom = c.rx.chunkBytes - unix.XDP_PACKET_HEADROOM - room
	sent := newStream(streamPackets, minPacket, 0, 1)
	for i := 1; i < len(sent); i += 2 {
		sent[i].bytes = room + minPacket
	}
	c.open()
	f := c.flow(sent)
	f.want = arriving(sent, isEven)
	run(c.T, f)
	if got := c.rx.stats().RxDropped; got != streamPackets/2 {
		c.Fatalf("RxDropped is %d, want %d", got, streamPackets/2)
	}
}

// statTxInvalid: every second descriptor is too long.
func statTxInvalid(c *trial) {
	var packets []packet
	for i := range 256 {
		d := unix.XDPDesc{Addr: uint64(i * c.tx.chunkBytes), Len: minPacket}
		if i%2 == 0 {
			packets = append(packets, valid(d))
		} else {
			d.Len = jumboPacket + 1
			packets = append(packets, invalid(d))
		}
	}
	c.exchange(literal(packets...)) // which compares Stats.TxInvalid
	if got := c.tx.stats().TxInvalid; got != 128 {
		c.Fatalf("TxInvalid is %d, want 128", got)
	}
}

// statRxFull: nobody takes packets out of the RX ring. What found room in it is intact, the rest is counted.
func statRxFull(c *trial) {
	const ring, more = 1024, batchPackets
	c.rx.chunks, c.rx.filled, c.rx.rxEntries, c.rx.fillEntries = 2*ring, 2*ring, ring, 2*ring
	c.open()
	f := c.flow(newStream(ring+more, minPacket, 0, 1))
	for f.out < ring {
		f.push(batchPackets)
		c.await("Levels.Rx.Used", f.out, func() int { return int(c.rx.sockets[0].Levels().Rx.Used) })
	}
	f.push(more)
	f.want = f.want[:ring]
	full := func() int { return int(c.rx.stats().RxRingFull) }
	if c.mode.socket == afxdp.ZeroCopy { // a driver may stop at the first, and come with the others when there is room
		c.await("RxRingFull", 1, full)
		for f.in < ring {
			f.receive()
		}
		return
	}
	c.await("RxRingFull", more, full)
	run(c.T, f)
	if got := full(); got != more {
		c.Fatalf("RxRingFull is %d, want %d", got, more)
	}
}

// statFillEmpty: chunks are given once. As many packets arrive intact, the rest is counted.
func statFillEmpty(c *trial) {
	const chunks, more = 1024, 64
	c.rx.keepRx = true
	c.open()
	f := c.flow(newStream(chunks, minPacket, 0, 1))
	run(c.T, f)
	if len(c.rx.fill) != 0 {
		c.Fatalf("%d chunks are still in the fill ring", len(c.rx.fill))
	}
	rest := c.flow(newStream(more, minPacket, chunks, 1))
	rest.want = nil
	rest.push(more)
	empty := func() int { return int(c.rx.stats().FillRingEmpty) }
	if c.mode.socket == afxdp.ZeroCopy { // a driver looks for chunks when it likes, and the wire may wait for it
		c.await("FillRingEmpty", 1, empty)
		return
	}
	c.await("FillRingEmpty", more, empty)
	run(c.T, rest)
	if got := c.rx.stats(); got.FillRingEmpty != more || got.RxDropped != more {
		c.Fatalf("FillRingEmpty is %d and RxDropped %d, want %d", got.FillRingEmpty, got.RxDropped, more)
	}
}

// xdpProgCleanup: of two sockets on one queue the second takes the first one's place in the XSKMAP, and gets its packets from then on.
func xdpProgCleanup(c *trial) {
	c.open()
	c.openSecond()
	run(c.T, c.flow(newStream(streamPackets, minPacket, 0, 1)))
	must(c.T, c.rx.port.maps.sockets.Put(uint32(0), uint32(c.rx.sockets[1].FD())))
	second := c.flow(newStream(streamPackets, minPacket, 0, 1))
	second.socket = 1
	run(c.T, second)
}

// xdpSharedUmem: two sockets share UMEM and queue at both ends; the program tells the packets of the two apart.
func xdpSharedUmem(c *trial) {
	c.open()
	c.openSecond()
	c.rx.port.use(c.T, bySource)
	even, odd := c.flow(newStream(streamPackets/2, minPacket, 0, 2)), c.flow(newStream(streamPackets/2, minPacket, 1, 2))
	odd.socket = 1
	run(c.T, even, odd)
}

// xdpDropHalf: the program drops every second packet.
func xdpDropHalf(c *trial) {
	c.open()
	c.rx.port.use(c.T, dropHalf)
	f := c.flow(newStream(streamPackets, minPacket, 0, 1))
	f.want = arriving(f.sent, isEven)
	run(c.T, f)
}

// xdpMetadata: what the program writes in front of a packet comes along.
func xdpMetadata(c *trial) {
	size := minPacket
	if c.rx.multiBuffer {
		size = jumboPacket
	}
	c.open()
	c.rx.port.use(c.T, writeMetadata)
	f := c.flow(newStream(streamPackets, size, 0, 1))
	f.check = c.rx.checkMetadata
	f.helper = "bpf_xdp_adjust_meta"
	run(c.T, f)
}

// xdpAdjustTail: the program makes packets shorter, or longer by zeros.
func xdpAdjustTail(c *trial, by, size int) {
	c.open()
	c.rx.port.use(c.T, adjustTail(by))
	f := c.flow(newStream(batchPackets, size, 0, 1))
	for i := range f.want {
		f.want[i].bytes += by
		f.want[i].zeros = max(by, 0)
	}
	f.helper = "bpf_xdp_adjust_tail"
	run(c.T, f)
}

// txQueueConsumer: a kick takes more than the kernel's batch of 32, and says so in the ring's consumer index.
func txQueueConsumer(c *trial) {
	c.notWithZeroCopy("the batch is the driver's")
	const batch, entries = 32 + 1, 64
	c.tx.txEntries = entries
	c.open()
	f := c.flow(newStream(batch+entries, minPacket, 0, 1))
	f.push(batch)
	c.tx.kick(0)
	if took := f.push(entries); took != entries {
		c.Fatalf("the ring of %d took %d after a kick of %d: the kick did not take all, or did not say so", entries, took, batch)
	}
	run(c.T, f)
}

// teardown: open, run, close, ten times over.
func teardown(c *trial) {
	for range 10 {
		c.exchange(newStream(streamPackets/4, minPacket, 0, 1))
		must(c.T, c.tx.sockets[0].Close())
		must(c.T, c.rx.sockets[0].Close())
	}
}

// minRings: the device's own rings are short, and batches first of one, then of nearly the ring.
func minRings(c *trial) {
	c.pair.setHardwareRings(c.T, c.tx.port, func(r *ethtool.Ring) { r.RxPending, r.TxPending = 2*batchPackets, batchPackets })
	c.open()
	for _, batch := range []int{1, batchPackets - 1} {
		f := c.flow(newStream(streamPackets, minPacket, 0, 1))
		f.batch = batch
		run(c.T, f)
	}
}

// maxRings: the devices' own rings are as long as they can be, and so are ours. Unlike the kernel's test it makes the receiver's long too:
// a wire without speed of its own brings a whole batch at once, to a ring that the driver has not refilled to the last buffer.
func maxRings(c *trial) {
	const entries = 8192
	ring := uint32(entries)
	for _, d := range c.pair.ports {
		r := c.pair.setHardwareRings(c.T, d, func(r *ethtool.Ring) { r.RxPending, r.TxPending = r.RxMaxPending, r.TxMaxPending })
		ring = min(ring, r.RxPending, r.TxPending)
	}
	c.rx.chunks, c.rx.filled, c.rx.rxEntries, c.rx.fillEntries = entries, entries, entries, 2*entries
	c.tx.chunks, c.tx.txEntries, c.tx.completions = entries, entries, entries
	c.open()
	for _, batch := range []int{int(ring) / 2, int(ring) * 3 / 4} {
		f := c.flow(newStream(entries, minPacket, 0, 1))
		f.batch = batch
		run(c.T, f)
	}
}
