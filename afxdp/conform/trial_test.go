//go:build linux

package conform

import (
	"testing"

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

// openEnd makes the end's UMEM and socket, and puts it first in the XSKMAP if it receives.
func (c *trial) openEnd(e *end) {
	c.Helper()
	u, err := afxdp.NewUmem(e.umemConfig())
	must(c.T, err)
	c.Cleanup(func() { must(c.T, u.Close()) })
	e.umem = u
	e.reset()
	s, err := afxdp.Open(u, c.socketConfig(e))
	if err != nil {
		c.judge(e, err)
	}
	c.Cleanup(func() { must(c.T, s.Close()) })
	e.Socket = s
	if e.rxEntries > 0 {
		must(c.T, e.port.maps.sockets.Put(uint32(0), uint32(e.FD())))
	}
	if want := c.mode.socket == afxdp.ZeroCopy; e.ZeroCopy() != want {
		c.Fatalf("ZeroCopy is %v in %s mode", e.ZeroCopy(), c.mode.name)
	}
}

func (c *trial) socketConfig(e *end) afxdp.SocketConfig {
	s := afxdp.SocketConfig{Ifindex: e.port.index, RxEntries: e.rxEntries, TxEntries: e.txEntries, FillEntries: e.fillEntries,
		CompletionEntries: e.completions, Mode: c.mode.socket, MultiBuffer: e.multiBuffer}
	for i := range e.filled {
		s.Fill = append(s.Fill, uint64(i*e.chunkBytes))
	}
	if c.busyPoll {
		s.BusyPoll = afxdp.BusyPoll{Micros: 20, Budget: batchPackets, Prefer: true} // enable_busy_poll of the kernel's test
	}
	return s
}

func (e *end) umemConfig() afxdp.UmemConfig {
	return afxdp.UmemConfig{Chunks: e.chunks, ChunkBytes: e.chunkBytes, HeadroomBytes: e.headroom}
}

// reset deals the chunks out: the first ones to the fill ring, the rest to the sender.
func (e *end) reset() {
	e.free, e.partial, e.invalid = nil, nil, 0
	e.inFlight, e.refused, e.fill = map[uint64]uint64{}, map[uint64]int{}, map[uint64]bool{}
	for i := range e.chunks {
		if addr := uint64(i) * uint64(e.chunkBytes); i < e.filled {
			e.fill[addr] = true
		} else {
			e.free = append(e.free, addr)
		}
	}
}

// flow is a stream from the first end to the second; all of it that is valid must arrive.
func (c *trial) flow(sent []packet) *flow {
	return &flow{from: c.tx, to: c.rx, sent: sent, want: arriving(sent, isValid), batch: batchPackets}
}

// exchange opens the ends and runs the stream.
func (c *trial) exchange(sent []packet) {
	c.Helper()
	c.open()
	run(c.T, c.flow(sent))
}
