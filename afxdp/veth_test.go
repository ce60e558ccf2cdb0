//go:build linux

package afxdp_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

const (
	patience   = 20 * time.Second // for what must come; a test that works never waits that long
	testType   = 0x88b5           // "local experimental" EtherType: nothing else on the wire has it
	minPacket  = 60
	chunkBytes = 2048
)

// host is one end of a veth pair in a network namespace of its own.
type host struct {
	ns      netns.NsHandle
	links   *netlink.Handle
	ifindex int
	sockets *ebpf.Map // XSKMAP by queue; packets of testType go there

	attached link.Link // the program that does that
}

// pairConfig says which veth pair to make; 0 stands for one queue, the usual MTU and the native hook.
type pairConfig struct {
	queues int
	mtu    int
	hook   link.XDPAttachFlags
}

// hooks are the ways of the kernel to run an XDP program that a veth device has.
var hooks = map[string]link.XDPAttachFlags{"native": link.XDPDriverMode, "generic": link.XDPGenericMode}

func newPair(t testing.TB, queues int) (a, b *host) {
	t.Helper()
	return newPairOf(t, pairConfig{queues: queues})
}

// newPairOf makes two namespaces joined by a veth pair, both ends up and steering packets of testType to sockets.
func newPairOf(t testing.TB, c pairConfig) (a, b *host) {
	t.Helper()
	needRoot(t)
	c.queues = max(c.queues, 1)
	if c.mtu == 0 {
		c.mtu = 1500
	}
	if c.hook == 0 {
		c.hook = link.XDPDriverMode
	}
	a, b = newHost(t), newHost(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.NumTxQueues, attrs.NumRxQueues, attrs.MTU = "xa", c.queues, c.queues, c.mtu
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "xb", PeerNamespace: netlink.NsFd(b.ns), PeerMTU: uint32(c.mtu),
		PeerNumTxQueues: uint32(c.queues), PeerNumRxQueues: uint32(c.queues)}
	must(t, a.links.LinkAdd(veth))
	a.bringUp(t, "xa", c)
	b.bringUp(t, "xb", c)
	return a, b
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces and opens AF_XDP sockets")
	}
}

func newHost(t testing.TB) *host {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	must(t, err)
	defer home.Close()
	ns, err := netns.New()
	must(t, err)
	must(t, netns.Set(home))
	links, err := netlink.NewHandleAt(ns)
	must(t, err)
	t.Cleanup(func() {
		links.Close()
		ns.Close()
	})
	return &host{ns: ns, links: links}
}

func (h *host) bringUp(t testing.TB, name string, c pairConfig) {
	t.Helper()
	l, err := h.links.LinkByName(name)
	must(t, err)
	h.ifindex = l.Attrs().Index
	must(t, h.links.LinkSetUp(l))
	h.do(t, func() { h.steer(t, c) })
}

// do runs f in the host's namespace.
func (h *host) do(t testing.TB, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	must(t, err)
	defer home.Close()
	must(t, netns.Set(h.ns))
	defer func() { must(t, netns.Set(home)) }()
	f()
}

// steer attaches the least program that feeds sockets: packets of testType go to the socket of the queue they came in on.
func (h *host) steer(t testing.TB, c pairConfig) {
	t.Helper()
	var err error
	h.sockets, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: uint32(c.queues)})
	must(t, err)
	prog := h.program(t, testType)
	defer prog.Close()
	h.attached, err = link.AttachXDP(link.XDPOptions{Program: prog, Interface: h.ifindex, Flags: c.hook})
	must(t, err)
	t.Cleanup(func() {
		h.attached.Close()
		h.sockets.Close()
	})
}

func (h *host) program(t testing.TB, etherType int32) *ebpf.Program {
	t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, Flags: unix.BPF_F_XDP_HAS_FRAGS, License: "Apache-2.0", Instructions: asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // struct xdp_md: data, data_end, rx_queue_index at 0, 4, 16
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word),
		asm.LoadMem(asm.R5, asm.R1, 16, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, 14),
		asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		asm.LoadMem(asm.R4, asm.R2, 12, asm.Half),
		asm.HostTo(asm.BE, asm.R4, asm.Half),
		asm.JNE.Imm(asm.R4, etherType, "pass"),
		asm.LoadMapPtr(asm.R1, h.sockets.FD()),
		asm.Mov.Reg(asm.R2, asm.R5),
		asm.Mov.Imm(asm.R3, 2), // XDP_PASS if there is no socket
		asm.FnRedirectMap.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, 2).WithSymbol("pass"),
		asm.Return(),
	}})
	must(t, err)
	return prog
}

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
	return afxdp.SocketConfig{Ifindex: h.ifindex, Queue: queue, FillEntries: ringEntries, CompletionEntries: ringEntries,
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

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
