//go:build linux

package conform

import (
	"testing"
	"time"

	"github.com/cilium/ebpf/link"

	"github.com/fastrpc/fastrpc/afxdp"
)

// mode is how packets get from the device to the socket.
type mode struct {
	name   string
	attach link.XDPAttachFlags
	socket afxdp.Mode
}

var modes = []mode{
	{"generic", link.XDPGenericMode, afxdp.Copy},
	{"native", link.XDPDriverMode, afxdp.Copy},
	{"zero-copy", link.XDPDriverMode, afxdp.ZeroCopy},
}

// trial is one row in one mode. It changes what it likes of the ends, opens them, and runs its flows.
type trial struct {
	*testing.T
	pair     *pair
	mode     mode
	busyPoll bool
	mtu      int

	tx, rx *end

	unlisted bool // the kernel's test does not run this row in this mode
}

func newTrial(t *testing.T, p *pair, m mode, busyPoll bool) *trial {
	c := &trial{T: t, pair: p, mode: m, busyPoll: busyPoll, mtu: defaultMTU}
	c.tx = &end{t: t, port: p.ports[0], shape: shape{chunks: 1024, chunkBytes: 4096, txEntries: 2048}}
	c.rx = &end{t: t, port: p.ports[1], shape: shape{chunks: 1024, chunkBytes: 4096, rxEntries: 2048, filled: 1024}}
	return c
}

// notWithZeroCopy ends a row that the kernel's test does not run in zero-copy mode, for the reason given.
func (c *trial) notWithZeroCopy(reason string) {
	c.Helper()
	if c.mode.socket == afxdp.ZeroCopy {
		c.unlisted = true
		c.Skip("not in the kernel's list for zero-copy: " + reason)
	}
}

// open opens both ends as they are shaped.
func (c *trial) open() {
	c.Helper()
	c.pair.setMTU(c.T, c.mtu)
	c.openEnd(c.rx)
	c.openEnd(c.tx)
}

// openEnd makes the end's UMEM and its first socket, which is the first in the XSKMAP if it receives.
func (c *trial) openEnd(e *end) {
	c.Helper()
	u, err := afxdp.NewUmem(afxdp.UmemConfig{Chunks: e.chunks, ChunkBytes: e.chunkBytes, HeadroomBytes: e.headroom, Unaligned: e.unaligned,
		HugePages: e.unaligned})
	must(c.T, err)
	c.Cleanup(func() { must(c.T, u.Close()) })
	if c.mode.socket == afxdp.ZeroCopy && e.unaligned && !u.HugePages() {
		refuse(c.T, "zero-copy of unaligned chunks needs huge pages, and mmap with MAP_HUGETLB", hugePagesAnswer(e))
	}
	e.umem, e.sockets, e.invalid = u, nil, 0
	e.inFlight, e.refused, e.fill = map[uint64]uint64{}, map[uint64]int{}, map[uint64]bool{}
	frames, err := afxdp.NewFrameStack(u, 0, e.chunks)
	must(c.T, err)
	chunks := make([]uint64, frames.Size())
	frames.AllocBurst(chunks)
	e.filled = min(e.filled, len(chunks))
	fill := chunks[:e.filled]
	for _, chunk := range fill {
		e.fill[chunk] = true
	}
	e.free = chunks[e.filled:]
	c.openSocket(e, fill)
}

// openSocket opens the end's next socket: the first, or one that shares the UMEM and the queue with it.
func (c *trial) openSocket(e *end, fill []uint64) {
	c.Helper()
	config := afxdp.SocketConfig{Ifindex: e.port.index, RxEntries: e.rxEntries, TxEntries: e.txEntries, Mode: c.mode.socket,
		MultiBuffer: e.multiBuffer}
	if len(e.sockets) == 0 {
		config.FillEntries, config.CompletionEntries, config.Fill = e.fillEntries, e.completions, fill
	} else {
		config.Shared = e.sockets[0]
	}
	if c.busyPoll {
		config.BusyPoll = afxdp.BusyPoll{Micros: 20, Budget: batchPackets, Prefer: true} // enable_busy_poll of the kernel's test
	}
	s, err := afxdp.Open(e.umem, config)
	if err != nil {
		c.judge(e, err)
	}
	c.Cleanup(func() { must(c.T, s.Close()) })
	if want := c.mode.socket == afxdp.ZeroCopy; s.ZeroCopy() != want {
		c.Fatalf("ZeroCopy is %v in %s mode", s.ZeroCopy(), c.mode.name)
	}
	if e.rxEntries > 0 {
		must(c.T, e.port.maps.sockets.Put(uint32(len(e.sockets)), uint32(s.FD())))
	}
	e.sockets = append(e.sockets, s)
}

// openSecond opens a second socket on both ends.
func (c *trial) openSecond() {
	c.Helper()
	c.openSocket(c.rx, nil)
	c.openSocket(c.tx, nil)
}

// flow is a stream from the first end to the second; all of it that is valid must arrive.
func (c *trial) flow(sent []packet) *flow {
	return &flow{from: c.tx, to: c.rx, sent: sent, want: arriving(sent, isValid), batch: oddBatch}
}

// exchange opens the ends and runs the stream.
func (c *trial) exchange(sent []packet) {
	c.Helper()
	c.open()
	run(c.T, c.flow(sent))
}

// await moves what is in the rings until a counter of the receiver has come to want.
func (c *trial) await(name string, want int, counter func() int) {
	c.Helper()
	for deadline := time.Now().Add(patience); counter() < want; breathe() {
		c.tx.kick(0)
		c.tx.complete()
		c.rx.wake()
		if time.Now().After(deadline) {
			c.Fatalf("%s is %d, want %d: %+v", name, counter(), want, c.rx.stats())
		}
	}
}
