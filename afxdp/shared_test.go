//go:build linux

package afxdp_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

// secondLink joins the hosts by another veth pair and returns its ends, as hosts of their own in the same namespaces.
func secondLink(t *testing.T, a, b *host) (a2, b2 *host) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "ya"
	must(t, a.links.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "yb", PeerNamespace: netlink.NsFd(b.ns)}))
	a2, b2 = &host{ns: a.ns, links: a.links}, &host{ns: b.ns, links: b.links}
	c := pairConfig{queues: 1, hook: link.XDPDriverMode}
	a2.bringUp(t, "ya", c)
	b2.bringUp(t, "yb", c)
	return a2, b2
}

// TestSharedOverDevices forwards from one device to another within one UMEM: what is received on the first is sent on the second from the
// same chunk.
func TestSharedOverDevices(t *testing.T) {
	a, b := newPair(t, 1)
	a2, b2 := secondLink(t, a, b)
	from, to := b.newPort(t, nil), b2.newPort(t, nil)
	u := newUmem(t, 512)
	in := &port{umem: u, frames: newFrames(t, u, 0, 256)}
	out := &port{umem: u, frames: newFrames(t, u, 256, 256)}
	var err error
	in.Socket, err = a.open(t, u, a.config(0, in.frames))
	must(t, err)
	defer in.Close()
	must(t, a.sockets.Put(uint32(0), uint32(in.FD())))
	c := a2.config(0, out.frames)
	c.Shared = in.Socket
	out.Socket, err = a2.open(t, u, c)
	must(t, err)
	defer out.Close()

	const packets = 100
	for number := range uint64(packets) {
		from.put(t, number, minPacket+int(number))
	}
	from.kickAll(t)
	ds := in.collect(t, packets)
	if n := out.Transmit(ds); n != packets {
		t.Fatalf("the second device took %d of %d packets", n, packets)
	}
	out.kickAll(t)
	for want, number := range to.receive(t, packets) {
		if number != uint64(want) {
			t.Errorf("got packet %d, want %d", number, want)
		}
	}
	addrs := make([]uint64, packets)
	n := 0
	for deadline := time.Now().Add(patience); n < packets; n += out.Complete(addrs[n:]) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d packets were completed", n, packets)
		}
	}
	in.frames.FreeBurst(addrs) // panics if one is not of the first device's partition
	if got := in.Complete(addrs); got != 0 {
		t.Errorf("%d completions came back on the device that sent nothing", got)
	}
}

// spread replaces the host's program by one that gives every second packet (by its number's lowest bit) to the second socket of the map.
func (h *host) spread(t *testing.T, sockets *ebpf.Map) {
	t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "Apache-2.0", Instructions: asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word),
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, 22),
		asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		asm.LoadMem(asm.R4, asm.R2, 12, asm.Half),
		asm.HostTo(asm.BE, asm.R4, asm.Half),
		asm.JNE.Imm(asm.R4, testType, "pass"),
		asm.LoadMem(asm.R2, asm.R2, 21, asm.Byte),
		asm.And.Imm(asm.R2, 1),
		asm.LoadMapPtr(asm.R1, sockets.FD()),
		asm.Mov.Imm(asm.R3, 2),
		asm.FnRedirectMap.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, 2).WithSymbol("pass"),
		asm.Return(),
	}})
	must(t, err)
	defer prog.Close()
	must(t, h.attached.Update(prog))
}

// TestSharedQueue has two sockets on one queue, fed by turns; the first one's fill and completion rings serve both.
func TestSharedQueue(t *testing.T) {
	a, b := newPair(t, 1)
	peer := a.newPort(t, nil)
	first := b.newPort(t, nil)
	second := &port{umem: first.umem, frames: first.frames}
	config := afxdp.SocketConfig{Ifindex: b.ifindex, RxEntries: 64, TxEntries: 64, Shared: first.Socket}
	for _, bad := range []func(*afxdp.SocketConfig){
		func(c *afxdp.SocketConfig) { c.FillEntries = 64 },
		func(c *afxdp.SocketConfig) { c.CompletionEntries = 64 },
		func(c *afxdp.SocketConfig) { c.Fill = make([]uint64, 1) },
	} {
		c := config
		bad(&c)
		if _, err := b.open(t, first.umem, c); err == nil || !strings.Contains(err.Error(), "shares its queue") {
			t.Errorf("%+v: got %v, want a refusal of a second fill or completion ring", c, err)
		}
	}
	var err error
	second.Socket, err = b.open(t, first.umem, config)
	must(t, err)
	defer second.Close()

	sockets, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: 2})
	must(t, err)
	defer sockets.Close()
	must(t, sockets.Put(uint32(0), uint32(first.FD())))
	must(t, sockets.Put(uint32(1), uint32(second.FD())))
	b.spread(t, sockets)

	const packets = 40
	for number := range uint64(packets) {
		peer.put(t, number, minPacket)
	}
	peer.kickAll(t)
	for i, p := range []*port{first, second} {
		for k, d := range p.collect(t, packets/2) {
			if number, err := checkPacket(p.umem.Data(d)); err != nil || number != uint64(2*k+i) {
				t.Errorf("socket %d: got packet %d (%v), want %d", i, number, err, 2*k+i)
			}
			first.refill(t, d.Addr)
		}
	}
	for i, p := range []*port{first, second} {
		p.put(t, uint64(100+i), minPacket)
		p.kickAll(t)
		if got := peer.receive(t, 1); got[0] != uint64(100+i) {
			t.Errorf("got packet %d, want %d", got[0], 100+i)
		}
	}
	first.awaitComplete(t, 2)
	var addr [1]uint64
	if n := second.Fill(addr[:]) + second.Complete(addr[:]); n != 0 {
		t.Errorf("rings that the second socket does not have moved %d entries", n)
	}
	must(t, second.WakeFill())
	must(t, second.Close())
	first.put(t, 200, minPacket)
	first.kickAll(t)
	if got := peer.receive(t, 1); got[0] != 200 {
		t.Errorf("after the second socket's Close the first sent packet %d, want 200", got[0])
	}
}

// TestContradictions: what the kernel would refuse with a bare EINVAL, or take in silence, is refused in words.
func TestContradictions(t *testing.T) {
	a, _ := newPair(t, 2)
	u, other := newUmem(t, 64), newUmem(t, 64)
	c := a.config(0, newFrames(t, u, 0, 32))
	c.Mode = afxdp.Copy
	first, err := a.open(t, u, c)
	must(t, err)
	defer first.Close()
	for _, bad := range []struct {
		umem *afxdp.Umem
		edit func(*afxdp.SocketConfig)
		text string
	}{
		{other, func(c *afxdp.SocketConfig) {}, "another UMEM"},
		{u, func(c *afxdp.SocketConfig) { c.Mode = afxdp.ZeroCopy }, "in copy mode"},
		{u, func(c *afxdp.SocketConfig) { c.MultiBuffer = true }, "all or none"},
		{u, func(c *afxdp.SocketConfig) { c.RxEntries, c.TxEntries = 0, 0 }, "RxEntries, TxEntries or both"},
		{u, func(c *afxdp.SocketConfig) { c.TxEntries = 33 }, "powers of two"},
		{u, func(c *afxdp.SocketConfig) { c.CompletionEntries = 1<<32 - 1 }, "powers of two"},
	} {
		c := a.config(1, newFrames(t, u, 32, 32))
		c.Shared = first
		bad.edit(&c)
		if s, err := a.open(t, bad.umem, c); err == nil || !strings.Contains(err.Error(), bad.text) {
			if s != nil {
				s.Close()
			}
			t.Errorf("got %v, want an error that says %q", err, bad.text)
		}
	}
	c = a.config(0, newFrames(t, other, 0, 32))
	c.Mode = afxdp.Mode(9)
	if _, err := a.open(t, other, c); err == nil || errors.Is(err, unix.EINVAL) {
		t.Errorf("mode 9: got %v, want a refusal in words", err)
	}
}
