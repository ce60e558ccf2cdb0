//go:build linux

package afxdp_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

// port is a socket with the partition of chunks that goes with it.
type port struct {
	*afxdp.Socket
	umem   *afxdp.Umem
	frames *afxdp.FrameStack
}

// ringEntries is the size of all rings of a test's sockets unless it says otherwise.
const ringEntries = 1024

// config is a socket with all its rings and a half of the partition's chunks in the fill ring.
func (h *host) config(queue int, frames *afxdp.FrameStack) afxdp.SocketConfig {
	fill := make([]uint64, frames.Size()/2)
	frames.AllocBurst(fill)
	return afxdp.SocketConfig{Ifindex: h.ifindex, Queue: queue, FillEntries: 2 * ringEntries, CompletionEntries: ringEntries,
		RxEntries: ringEntries, TxEntries: ringEntries, Fill: fill}
}

func newUmem(t testing.TB, chunks int) *afxdp.Umem {
	t.Helper()
	u, err := afxdp.NewUmem(afxdp.UmemConfig{Chunks: chunks, ChunkBytes: chunkBytes})
	must(t, err)
	t.Cleanup(func() {
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	})
	return u
}

func newFrames(t testing.TB, u *afxdp.Umem, first, chunks int) *afxdp.FrameStack {
	t.Helper()
	f, err := afxdp.NewFrameStack(u, first, chunks)
	must(t, err)
	return f
}

// open opens a socket in the host's namespace.
func (h *host) open(t testing.TB, u *afxdp.Umem, c afxdp.SocketConfig) (s *afxdp.Socket, err error) {
	t.Helper()
	h.do(t, func() { s, err = afxdp.Open(u, c) })
	return s, err
}

// newPort opens a socket on queue 0 with 512 chunks of its own, changed by edit (if any), and steers packets to it.
func (h *host) newPort(t testing.TB, edit func(*afxdp.SocketConfig)) *port {
	t.Helper()
	return h.newPortOn(t, newUmem(t, 2*ringEntries), edit)
}

// newPortOn is newPort over a UMEM that nobody else uses.
func (h *host) newPortOn(t testing.TB, u *afxdp.Umem, edit func(*afxdp.SocketConfig)) *port {
	t.Helper()
	p := &port{umem: u, frames: newFrames(t, u, 0, u.Chunks())}
	c := h.config(0, p.frames)
	if edit != nil {
		edit(&c)
	}
	var err error
	p.Socket, err = h.open(t, u, c)
	must(t, err)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if c.RxEntries > 0 {
		must(t, h.sockets.Put(uint32(c.Queue), uint32(p.FD())))
	}
	return p
}

// put writes a packet of so many bytes, told apart by number, into a chunk of its own and into the TX ring.
func (p *port) put(t testing.TB, number uint64, bytes int) {
	t.Helper()
	addr, ok := p.frames.Alloc()
	if !ok {
		t.Fatal("no free chunk")
	}
	d := unix.XDPDesc{Addr: addr, Len: uint32(bytes)}
	writePacket(p.umem.Data(d), number)
	if n := p.Transmit([]unix.XDPDesc{d}); n != 1 {
		t.Fatalf("packet %d: TX ring is full", number)
	}
}

// writePacket fills b with an Ethernet header, the number and a pattern that follows from both and the length.
func writePacket(b []byte, number uint64) {
	for i := range b {
		b[i] = byte(uint64(i)*7 + number*13 + uint64(len(b)))
	}
	copy(b, "\x02\x00\x00\x00\x00\x0b\x02\x00\x00\x00\x00\x0a")
	binary.BigEndian.PutUint16(b[12:], testType)
	binary.BigEndian.PutUint64(b[14:], number)
}

// checkPacket compares every byte with what writePacket wrote and returns the number.
func checkPacket(b []byte) (number uint64, err error) {
	if len(b) < minPacket {
		return 0, fmt.Errorf("a packet of %d bytes", len(b))
	}
	number = binary.BigEndian.Uint64(b[14:])
	want := make([]byte, len(b))
	writePacket(want, number)
	if string(want) != string(b) {
		return number, fmt.Errorf("packet %d of %d bytes: the bytes differ", number, len(b))
	}
	return number, nil
}

// kickAll kicks until the TX ring is drained; it takes completions in between, as a caller does.
func (p *port) kickAll(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		err := p.Kick()
		if err == nil {
			return
		}
		if !errors.Is(err, afxdp.ErrRetry) || time.Now().After(deadline) {
			t.Fatalf("Kick: %v", err)
		}
		p.complete()
		runtime.Gosched()
	}
}

// complete frees what was transmitted and returns how many packets that were.
func (p *port) complete() int {
	var addrs [64]uint64
	total := 0
	for {
		n := p.Complete(addrs[:])
		p.frames.FreeBurst(addrs[:n])
		if total += n; n < len(addrs) {
			return total
		}
	}
}

// collect waits for n packets; their chunks are the caller's.
func (p *port) collect(t testing.TB, n int) []unix.XDPDesc {
	t.Helper()
	descs := make([]unix.XDPDesc, n)
	got := 0
	for deadline := time.Now().Add(patience); got < n; {
		if k := p.Receive(descs[got:]); k > 0 {
			got += k
		} else if time.Now().Before(deadline) {
			awaitReadable(p.FD(), deadline)
		} else {
			st, _ := p.Stats()
			t.Fatalf("%d of %d packets came; %+v", got, n, st)
		}
	}
	return descs
}

// receive waits for n packets, checks their bytes and returns their numbers; the chunks go back into the fill ring.
func (p *port) receive(t testing.TB, n int) []uint64 {
	t.Helper()
	numbers := make([]uint64, 0, n)
	for _, d := range p.collect(t, n) {
		number, err := checkPacket(p.umem.Data(d))
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, number)
		p.refill(t, d.Addr)
	}
	return numbers
}

func (p *port) refill(t testing.TB, addr uint64) {
	t.Helper()
	if p.Fill([]uint64{p.umem.Base(addr)}) != 1 {
		t.Fatal("fill ring is full")
	}
	must(t, p.WakeFill())
}

// awaitComplete waits until n transmitted packets are complete.
func (p *port) awaitComplete(t testing.TB, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); n > 0; n -= p.complete() {
		if time.Now().After(deadline) {
			t.Fatalf("%d packets were not completed", n)
		}
		runtime.Gosched()
	}
	if n < 0 {
		t.Fatalf("%d more packets were completed than sent", -n)
	}
}

func awaitReadable(fd int, deadline time.Time) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	_, _ = unix.Poll(fds, max(int(time.Until(deadline).Milliseconds()), 0)) // an error or a signal: the caller looks again
}
