//go:build linux

package conform

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

// patience is how long nothing may happen before a row fails: long, for emulated machines. A row that works never waits that long.
const patience = 30 * time.Second

// shape is what rows change of an end before it is opened.
type shape struct {
	chunks, chunkBytes, headroom int
	unaligned, multiBuffer       bool
	rxEntries, txEntries         uint32 // 0: it does not receive, does not transmit
	fillEntries, completions     uint32
	filled                       int  // chunks in the fill ring at the start; they are the first ones
	keepRx                       bool // received chunks do not go back into the fill ring
}

// end is a UMEM with the sockets that share it on one queue, and who owns which of its chunks.
type end struct {
	shape
	t       *testing.T
	port    *port
	umem    *afxdp.Umem
	sockets []*afxdp.Socket // the fill and completion rings are the first one's

	free     []uint64          // chunks to transmit from
	inFlight map[uint64]uint64 // transmitted address: its chunk
	refused  map[uint64]int    // transmitted addresses that the kernel may complete, so many times, and need not
	fill     map[uint64]bool   // chunks that the kernel receives into
	invalid  uint64            // descriptors put into the first socket's TX ring that the kernel must refuse
}

// What stands for a descriptor's chunk when a row wrote it itself.
const (
	noChunk = ^uint64(0) - iota // it must be completed; its chunk is not used again
	refused                     // the kernel must refuse it; whether it completes it as well differs between versions
)

// put puts descriptors into a socket's TX ring, as far as it has room, and follows the chunks they are in.
func (e *end) put(socket int, descs []unix.XDPDesc, chunks []uint64) (n int) {
	e.t.Helper()
	n = e.sockets[socket].Transmit(descs)
	for i, d := range descs[:n] {
		if chunks[i] == refused {
			e.invalid++
			e.refused[d.Addr]++
			continue
		}
		if _, twice := e.inFlight[d.Addr]; twice {
			e.t.Fatalf("address %#x is in flight already", d.Addr)
		}
		e.inFlight[d.Addr] = chunks[i]
	}
	return n
}

// kick has the kernel look at a TX ring.
func (e *end) kick(socket int) {
	e.t.Helper()
	if err := e.sockets[socket].Kick(); err != nil && !errors.Is(err, afxdp.ErrRetry) {
		e.t.Fatalf("Kick: %v", err)
	}
}

// complete takes completions. Each must be of an address in flight, once.
func (e *end) complete() (n int) {
	e.t.Helper()
	var addrs [batchPackets]uint64
	n = e.sockets[0].Complete(addrs[:])
	for _, addr := range addrs[:n] {
		if _, ok := e.inFlight[addr|1]; ok {
			addr |= 1 // Linux 6.18 clears the lowest bit, see Socket.Complete
		}
		switch chunk, ok := e.inFlight[addr]; {
		case ok:
			delete(e.inFlight, addr)
			if chunk != noChunk {
				e.free = append(e.free, chunk)
			}
		case e.refused[addr] > 0:
			e.refused[addr]--
		default:
			e.t.Fatalf("address %#x was completed, and is not in flight", addr)
		}
	}
	return n
}

// wake tells the driver that there are chunks; with busy polling it is what receives.
func (e *end) wake() {
	e.t.Helper()
	for _, s := range e.sockets {
		if err := s.WakeFill(); err != nil && !errors.Is(err, afxdp.ErrRetry) {
			e.t.Fatalf("WakeFill: %v", err)
		}
	}
}

// receive takes descriptors from a socket and gives deliver each packet, with the place of its first byte.
func (e *end) receive(socket int, deliver func(b []byte, first unix.XDPDesc)) (n int) {
	e.t.Helper()
	var descs [batchPackets]unix.XDPDesc
	n = e.sockets[socket].Receive(descs[:])
	var refill []uint64
	for from, i := 0, 0; i < n; i++ {
		d := descs[i]
		refill = append(refill, e.takeFilled(d))
		switch {
		case d.Options&^unix.XDP_PKT_CONTD != 0:
			e.t.Fatalf("a received descriptor has the options %#x", d.Options)
		case d.Options == 0:
			deliver(e.join(descs[from:i+1]), descs[from])
			from = i + 1
		case i+1 == n:
			e.t.Fatalf("Receive gave %d descriptors of a packet without its last", i+1-from)
		}
	}
	if e.keepRx || n == 0 {
		return n
	}
	if took := e.sockets[0].Fill(refill); took != n {
		e.t.Fatalf("the fill ring took %d of %d chunks that came from it", took, n)
	}
	for _, chunk := range refill {
		e.fill[chunk] = true
	}
	return n
}

func (e *end) join(descs []unix.XDPDesc) (b []byte) {
	e.t.Helper()
	for _, d := range descs {
		b = append(b, e.bytes(d)...)
	}
	return b
}

// takeFilled returns the chunk that a received descriptor names. It must be the kernel's, and the bytes must stand behind the headroom.
func (e *end) takeFilled(d unix.XDPDesc) (chunk uint64) {
	e.t.Helper()
	chunk = e.umem.Base(d.Addr)
	if !e.fill[chunk] {
		e.t.Fatalf("received into %#x, and that chunk was not in the fill ring", d.Addr)
	}
	delete(e.fill, chunk)
	offset := d.Addr - chunk
	if e.unaligned {
		offset = d.Addr >> 48 // XSK_UNALIGNED_BUF_OFFSET_SHIFT
	}
	if want := uint64(unix.XDP_PACKET_HEADROOM + e.headroom); offset != want {
		e.t.Fatalf("received at %d of the chunk, want %d", offset, want)
	}
	return chunk
}

func (e *end) bytes(d unix.XDPDesc) []byte {
	e.t.Helper()
	b := e.umem.Data(d)
	if len(b) != int(d.Len) || d.Len == 0 {
		e.t.Fatalf("descriptor %+v is not of bytes in the UMEM", d)
	}
	return b
}

// checkMetadata compares what writeMetadata put in front of a packet: how many came before it.
func (e *end) checkMetadata(p packet, first unix.XDPDesc) string {
	e.t.Helper()
	meta := e.umem.Bytes()[first.Addr-metaBytes:]
	if got := binary.NativeEndian.Uint64(meta); got != uint64(p.position) {
		return fmt.Sprintf("its metadata say %d, want %d", got, p.position)
	}
	return ""
}

// poll waits on the first socket; 0 events when the time is over.
func (e *end) poll(events int16, wait time.Duration) int16 {
	e.t.Helper()
	fds := []unix.PollFd{{Fd: int32(e.sockets[0].FD()), Events: events}}
	for deadline := time.Now().Add(wait); ; {
		_, err := unix.Poll(fds, max(int(time.Until(deadline).Milliseconds()), 0))
		if err == nil {
			return fds[0].Revents
		}
		if !errors.Is(err, unix.EINTR) {
			e.t.Fatalf("poll: %v", err)
		}
	}
}

// stats are the first socket's.
func (e *end) stats() afxdp.Stats {
	e.t.Helper()
	st, err := e.sockets[0].Stats()
	must(e.t, err)
	return st
}

// breathe lets interrupts and their threads run. It is no poll(2), which would itself move packets and so hide a missing wake-up.
func breathe() { time.Sleep(20 * time.Microsecond) }

// compare returns what is wrong with a received packet, in few words.
func compare(got, want []byte) string {
	if len(got) != len(want) {
		return "its length is another"
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Sprintf("it differs from byte %d on", i)
		}
	}
	return ""
}
