//go:build linux

package afxdp

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/ringbuf"
)

// Fill gives chunks to the kernel to receive into and returns how many it took, from the front; fewer than all when the ring is full.
// Any address within a chunk stands for the chunk; in an unaligned UMEM one that Alloc, At or Receive gave. Follow it with WakeFill.
//
// In copy mode a packet can be received an instant before the slot that its chunk came from is free again (net/xdp/xsk.c, xsk_flush, publishes
// the RX ring first). A ring that was full may refuse such a chunk: give it again later, or make the ring hold all chunks twice.
func (s *Socket) Fill(addrs []uint64) int { return s.fill.Push(addrs) }

// Receive copies up to len(d) descriptors of received packets into d and returns how many; their ring slots are free at once, their chunks
// the caller's. Look at the bytes with Umem.Data.
//
// With MultiBuffer a packet may have several descriptors: all but its last have XDP_PKT_CONTD in their options. Receive gives whole packets
// only, unless d is shorter than the first one, which then comes in parts: a d of MaxSegments descriptors holds every packet that can be sent.
func (s *Socket) Receive(d []unix.XDPDesc) int {
	n := s.rx.Acquire(clampBurst(len(d)))
	if n == 0 {
		return 0
	}
	whole := n
	for whole > 0 && s.rx.Slot(whole-1).Options&unix.XDP_PKT_CONTD != 0 {
		whole--
	}
	if whole == 0 {
		whole = n
	}
	if whole == 1 {
		d[0] = *s.rx.Slot(0)
		s.rx.Release(1)
		return 1
	}
	return s.rx.Pop(d[:whole])
}

// Transmit puts packets into the TX ring and returns how many it took, from the front; fewer than all when the ring is full. Their chunks
// are the kernel's until Complete returns them. Nothing moves before Kick.
//
// With MultiBuffer, a packet of several descriptors has XDP_PKT_CONTD in the options of all but its last. It is taken as a whole or not at
// all: Transmit takes nothing of a packet for which the ring has no room, or whose last descriptor is not in d. No packet may have more
// than MaxSegments descriptors, nor more than the TX and the completion ring hold.
//
// A descriptor must lie within one chunk, be at least one byte long and have no other options than XDP_PKT_CONTD and that of
// Umem.SetTxRequest. The kernel skips and counts others (Stats.TxInvalid), with what came before them of the same packet; what comes after
// may go out as a packet of its own, and whether they are completed differs between versions: they are a mistake of the program that may
// cost it the chunks.
func (s *Socket) Transmit(d []unix.XDPDesc) int {
	n := s.tx.Acquire(clampBurst(len(d)))
	for n > 0 && d[n-1].Options&unix.XDP_PKT_CONTD != 0 {
		n--
	}
	if n == 1 {
		*s.tx.Slot(0) = d[0]
		s.tx.Release(1)
		return 1
	}
	return s.tx.Push(d[:n])
}

// clampBurst keeps a length inside uint32; no ring is as large as its limit.
func clampBurst(n int) uint32 { return uint32(min(n, 1<<31)) }

// Complete copies up to len(addrs) addresses of transmitted packets, as they were in their descriptors, and returns how many; the chunks are
// the caller's again. Linux 6.18 clears the lowest bit of an odd address in copy mode (net/xdp/xsk.c, xsk_skb_destructor_set_addr): an
// address names its chunk all the same. In copy mode that may be long after Kick: when the receiver's kernel has freed the packet.
func (s *Socket) Complete(addrs []uint64) int { return s.completion.Pop(addrs) }

// ring is one mapped kernel ring before it gets its end.
type ring[T any] struct {
	ringbuf.Ring[T]
	flags *atomic.Uint32
}

// mapRings makes the rings in the kernel and maps them. Rings that were not asked for stay unplugged.
func (s *Socket) mapRings(c *SocketConfig) error {
	off, err := mmapOffsets(s.fd)
	if err != nil {
		return err
	}
	if c.FillEntries > 0 {
		fill, err := openRing[uint64](s.fd, unix.XDP_UMEM_FILL_RING, unix.XDP_UMEM_PGOFF_FILL_RING, c.FillEntries, off.Fr, &s.maps[0])
		if err != nil {
			return err
		}
		s.fill, s.fillFlags = ringbuf.NewProducer(fill.Ring), fill.flags
	}
	if c.CompletionEntries > 0 {
		completion, err := openRing[uint64](s.fd, unix.XDP_UMEM_COMPLETION_RING, unix.XDP_UMEM_PGOFF_COMPLETION_RING, c.CompletionEntries, off.Cr,
			&s.maps[1])
		if err != nil {
			return err
		}
		s.completion = ringbuf.NewConsumer(completion.Ring)
	}
	if c.RxEntries > 0 {
		rx, err := openRing[unix.XDPDesc](s.fd, unix.XDP_RX_RING, unix.XDP_PGOFF_RX_RING, c.RxEntries, off.Rx, &s.maps[2])
		if err != nil {
			return err
		}
		s.rx = ringbuf.NewConsumer(rx.Ring)
	}
	if c.TxEntries > 0 {
		tx, err := openRing[unix.XDPDesc](s.fd, unix.XDP_TX_RING, unix.XDP_PGOFF_TX_RING, c.TxEntries, off.Tx, &s.maps[3])
		if err != nil {
			return err
		}
		s.tx, s.txFlags = ringbuf.NewProducer(tx.Ring), tx.flags
	}
	return nil
}

func openRing[T any](fd, option int, pageOffset int64, entries uint32, off unix.XDPRingOffset, mapping *[]byte) (ring[T], error) {
	if err := unix.SetsockoptInt(fd, unix.SOL_XDP, option, int(entries)); err != nil {
		return ring[T]{}, err
	}
	var entry T
	bytes := int(off.Desc) + int(entries)*int(unsafe.Sizeof(entry))
	m, err := unix.Mmap(fd, pageOffset, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return ring[T]{}, err
	}
	*mapping = m
	return ring[T]{
		Ring: ringbuf.Ring[T]{
			Producer: (*atomic.Uint32)(unsafe.Pointer(&m[off.Producer])),
			Consumer: (*atomic.Uint32)(unsafe.Pointer(&m[off.Consumer])),
			Entries:  unsafe.Slice((*T)(unsafe.Pointer(&m[off.Desc])), entries),
		},
		flags: (*atomic.Uint32)(unsafe.Pointer(&m[off.Flags])),
	}, nil
}

// unplugRings gives the socket rings in private memory through which nothing passes: full to a producer, empty to a consumer. So a ring
// that was not asked for, and those of a closed socket, need no test on the packet's way.
func (s *Socket) unplugRings() {
	s.fill, s.completion = fullRing[uint64](), emptyRing[uint64]()
	s.rx, s.tx = emptyRing[unix.XDPDesc](), fullRing[unix.XDPDesc]()
	s.fillFlags, s.txFlags = new(atomic.Uint32), new(atomic.Uint32)
	s.kickAlways, s.wakeAlways, s.preferBusyPoll = false, false, false
}

func fullRing[T any]() *ringbuf.Producer[T] {
	r := ringbuf.Ring[T]{Producer: new(atomic.Uint32), Consumer: new(atomic.Uint32), Entries: make([]T, 1)}
	r.Producer.Store(1)
	return ringbuf.NewProducer(r)
}

func emptyRing[T any]() *ringbuf.Consumer[T] {
	return ringbuf.NewConsumer(ringbuf.Ring[T]{Producer: new(atomic.Uint32), Consumer: new(atomic.Uint32), Entries: make([]T, 1)})
}
