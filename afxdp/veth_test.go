//go:build linux

package afxdp_test

import (
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

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
