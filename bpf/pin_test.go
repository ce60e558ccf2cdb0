package bpf

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/google/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// bpffs mounts a BPF file system of the test's own.
func bpffs(t *testing.T) (dir string) {
	t.Helper()
	needRoot(t)
	root := t.TempDir()
	must(t, unix.Mount("bpf", root, "bpf", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(root, unix.MNT_DETACH)) })
	return filepath.Join(root, "fastrpc", "near")
}

var ownerOnly = PinOptions{UID: -1, GID: -1, Perm: 0o600}

// What Pin leaves is enough to take part in, outlives the one who pinned, and is gone without a trace after Unpin.
func TestPin(t *testing.T) {
	v, dir := newVethPair(t, 1), bpffs(t)
	made, err := Pin(v.index(), dir, ownerOnly)
	must(t, err)
	if made.Mode != Native || made.Queues != 1 || made.Found {
		t.Errorf("%+v", made)
	}
	p, err := OpenPinned(v.index(), dir)
	must(t, err)
	if p.Mode() != Native || p.Queues() != 1 {
		t.Errorf("mode %v, %d queues", p.Mode(), p.Queues())
	}
	kernel, ours := kernelSocket(t), boundXSK(t, v.index(), 0)
	must(t, p.AllowPort(ourPort))
	must(t, p.SetSocket(0, ours.fd))
	must(t, p.SetSocket(0, ours.fd)) // again is no error
	expect := func(steered bool, when string) {
		t.Helper()
		v.transmit(t, udp4(t).bytes(t))
		if steered {
			ours.receive(t)
		} else if _, _, err := kernel.ReadFrom(make([]byte, 2048)); err != nil {
			t.Fatalf("%s: the kernel's socket: %v", when, err)
		}
	}
	expect(true, "taking part")
	if c := counters(t, p); c.Redirected != 1 {
		t.Errorf("%+v", c)
	}

	// The same again finds what is there, disturbs nothing, and sets the prefixes; other settings are refused.
	again := ownerOnly
	again.Prefixes = prefixes("198.18.9.0/24")
	found, err := Pin(v.index(), dir, again)
	must(t, err)
	if !found.Found || found.Queues != 1 {
		t.Errorf("%+v", found)
	}
	expect(false, "another prefix")
	_, err = Pin(v.index(), dir, ownerOnly)
	must(t, err)
	expect(true, "no prefix")
	other := ownerOnly
	other.Mode = Generic
	if _, err := Pin(v.index(), dir, other); !containsAll(err, []string{"native mode with 1 queues", "fastrpc setup near --remove"}) {
		t.Errorf("another mode: %v", err)
	}
	if err := p.SetPrefixes(nil); !containsAll(err, []string{"one list of prefixes"}) {
		t.Errorf("SetPrefixes: %v", err)
	}

	must(t, p.Close())
	expect(false, "left")
	must(t, Unpin(dir))
	v.clean(t)
	if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
	must(t, Unpin(dir)) // nothing to do
	if _, err := OpenPinned(v.index(), dir); !errors.Is(err, fs.ErrNotExist) || !containsAll(err, []string{"fastrpc setup near"}) {
		t.Errorf("taking part in nothing: %v", err)
	}
}

// Two who share a program have a queue and a port each: neither gets the other's packets, wherever they come in, and neither can take the
// other's queue.
func TestSharers(t *testing.T) {
	v, dir := newVethPair(t, 2), bpffs(t)
	_, err := Pin(v.index(), dir, ownerOnly)
	must(t, err)
	const theirPort = ourPort + 1
	var parts [2]*Program
	for i := range parts {
		parts[i], err = OpenPinned(v.index(), dir)
		must(t, err)
		defer parts[i].Close()
		must(t, parts[i].SetSocket(i, boundXSK(t, v.index(), i).fd))
		must(t, parts[i].AllowPort(uint16(ourPort+i)))
	}
	all, err := Attach(v.index(), Options{})
	var taken *AttachedError
	if all != nil || !errors.As(err, &taken) {
		t.Fatalf("alone on a shared interface: %v", err)
	}
	prog := pinnedProgram(t, dir)
	check := func(queue uint32, port uint16, want uint32) {
		t.Helper()
		if got := onQueue(t, prog, v.index(), queue, port); got != want {
			t.Errorf("port %d on queue %d: action %d, want %d", port, queue, got, want)
		}
	}
	check(0, ourPort, xdpRedirect)
	check(1, ourPort, xdpPass)
	check(0, theirPort, xdpPass)
	check(1, theirPort, xdpRedirect)

	if err := parts[0].SetSocket(1, newXSK(t).fd); !errors.Is(err, ErrQueueTaken) {
		t.Errorf("the other's queue: %v", err)
	}
	must(t, parts[1].Close())
	check(0, ourPort, xdpRedirect)
	check(1, theirPort, xdpPass)
}

// A process that is killed leaves nothing that steers: its packets go to the kernel, and the next owner of its queue starts with its own
// ports alone.
func TestSharerKilled(t *testing.T) {
	v, dir := newVethPair(t, 1), bpffs(t)
	_, err := Pin(v.index(), dir, ownerOnly)
	must(t, err)
	cmd, said := startChild(t, v.index(), childPins+"="+dir)
	if said != "attached native" {
		t.Fatal(said)
	}
	prog := pinnedProgram(t, dir)
	if got := onQueue(t, prog, v.index(), 0, ourPort); got != xdpRedirect {
		t.Fatalf("while the child lives: action %d", got)
	}
	must(t, cmd.Process.Signal(unix.SIGKILL))
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child was not killed")
	}
	if got := onQueue(t, prog, v.index(), 0, ourPort); got != xdpPass {
		t.Errorf("after the child was killed: action %d", got)
	}
	p, err := OpenPinned(v.index(), dir)
	must(t, err)
	defer p.Close()
	must(t, p.AllowPort(ourPort+1))
	must(t, p.SetSocket(0, newXSK(t).fd))
	for port, want := range map[uint16]uint32{ourPort: xdpPass, ourPort + 1: xdpRedirect} {
		if got := onQueue(t, prog, v.index(), 0, port); got != want {
			t.Errorf("port %d for the next owner: action %d, want %d", port, got, want)
		}
	}
}

// What is left of a set-up that was killed half-way, or whose interface is gone, is replaced; that of another interface is not.
func TestPinAgain(t *testing.T) {
	v, dir := newVethPair(t, 1), bpffs(t)
	_, err := Pin(v.index(), dir, ownerOnly)
	must(t, err)
	l, err := link.LoadPinnedLink(filepath.Join(dir, pinLink), nil) // as if killed before its last step
	must(t, err)
	must(t, os.Remove(filepath.Join(dir, pinLink)))
	must(t, l.Close())
	v.clean(t)
	made, err := Pin(v.index(), dir, ownerOnly)
	must(t, err)
	if made.Found {
		t.Errorf("%+v", made)
	}
	if _, err := Pin(v.far.Attrs().Index, dir, ownerOnly); !containsAll(err, []string{"another interface", "--remove"}) {
		t.Errorf("the same folder for another interface: %v", err)
	}

	w := newVethPair(t, 1) // another namespace, with an interface of the same index
	if _, err := OpenPinned(w.index(), dir); !containsAll(err, []string{"no XDP program runs on near"}) {
		t.Errorf("the same index in another namespace: %v", err)
	}
	w.attach(t, Options{})
	if _, err := OpenPinned(w.index(), dir); !containsAll(err, []string{"not the pinned one"}) {
		t.Errorf("an interface with a program of its own: %v", err)
	}
}

func TestPinAfterInterfaceIsGone(t *testing.T) {
	v, dir := newVethPair(t, 1), bpffs(t)
	_, err := Pin(v.index(), dir, ownerOnly)
	must(t, err)
	must(t, netlink.LinkDel(v.near))
	w := newVethPair(t, 1)
	_, err = Pin(w.index(), dir, ownerOnly)
	must(t, err)
	p, err := OpenPinned(w.index(), dir)
	must(t, err)
	must(t, p.Close())
	must(t, Unpin(dir))
	w.clean(t)
}

// An interface that somebody else has a program on stays as it is, and nothing is left in the file system.
func TestPinTaken(t *testing.T) {
	v, dir := newVethPair(t, 1), bpffs(t)
	v.attach(t, Options{})
	var taken *AttachedError
	if _, err := Pin(v.index(), dir, ownerOnly); !errors.As(err, &taken) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
	if _, err := Pin(v.index(), filepath.Join(t.TempDir(), "x", "y"), ownerOnly); !containsAll(err, []string{"mount -t bpf"}) {
		t.Errorf("not in a BPF file system: %v", err)
	}
}

// A map of somebody else's program takes our sockets, and only where it has none.
func TestUseSocketMap(t *testing.T) {
	v, dir := newVethPair(t, 1), bpffs(t)
	must(t, os.MkdirAll(dir, 0o755))
	path := filepath.Join(dir, "xsks_map")
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: 2})
	must(t, err)
	defer m.Close()
	must(t, m.Pin(path))
	if _, err := UseSocketMap(v.index(), path); !containsAll(err, []string{"no XDP program runs on near"}) {
		t.Errorf("without a program: %v", err)
	}
	prog := takesAll(t, m)
	l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: v.index(), Flags: link.XDPDriverMode})
	must(t, err)
	defer l.Close()

	p, err := UseSocketMap(v.index(), path)
	must(t, err)
	if p.Queues() != 2 || p.Mode() != Native {
		t.Errorf("%d queues, mode %v", p.Queues(), p.Mode())
	}
	ours, theirs := boundXSK(t, v.index(), 0), newXSK(t)
	must(t, m.Put(uint32(1), uint32(theirs.fd)))
	must(t, p.AllowPort(ourPort)) // their business: no error
	must(t, p.SetSocket(0, ours.fd))
	v.transmit(t, udp4(t).bytes(t))
	ours.receive(t)
	if err := p.SetSocket(1, newXSK(t).fd); !errors.Is(err, ErrQueueTaken) {
		t.Errorf("their queue: %v", err)
	}
	if c := counters(t, p); c != (Counters{}) {
		t.Errorf("%+v", c)
	}
	must(t, p.Close())
	if got := onQueue(t, prog, v.index(), 0, ourPort); got != xdpPass {
		t.Errorf("our queue after Close: action %d", got)
	}
	if err := m.Update(uint32(1), uint32(ours.fd), ebpf.UpdateNoExist); !errors.Is(err, ebpf.ErrKeyExist) {
		t.Errorf("their queue after Close: %v", err)
	}
	if _, ok, err := Attached(v.index()); err != nil || !ok {
		t.Errorf("their program: %v, %v", ok, err)
	}

	other, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 2})
	must(t, err)
	defer other.Close()
	must(t, other.Pin(path+"2"))
	if _, err := UseSocketMap(v.index(), path+"2"); !containsAll(err, []string{"Array", "XSKMAP"}) {
		t.Errorf("a map of another type: %v", err)
	}
}

func pinnedProgram(t *testing.T, dir string) *ebpf.Program {
	t.Helper()
	prog, err := ebpf.LoadPinnedProgram(filepath.Join(dir, pinProgram), nil)
	must(t, err)
	t.Cleanup(func() { prog.Close() })
	return prog
}

// onQueue runs a program on a packet for a port that comes in on a queue.
func onQueue(t *testing.T, prog *ebpf.Program, ifindex int, queue uint32, port uint16) (action uint32) {
	t.Helper()
	packet := udp4(t)
	packet.udp.DstPort = layers.UDPPort(port)
	data := packet.bytes(t)
	action, err := prog.Run(&ebpf.RunOptions{Data: data, Context: xdpMD{DataEnd: uint32(len(data)),
		IngressIfindex: uint32(ifindex), RxQueueIndex: queue}})
	must(t, err)
	return action
}

// takesAll is a program as others have it: it gives every packet to the socket of its queue, and those without one to the kernel.
func takesAll(t *testing.T, sockets *ebpf.Map) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "takes_all", Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 16, asm.Word), // rx_queue_index
		asm.LoadMapPtr(asm.R1, sockets.FD()),
		asm.Mov.Imm(asm.R3, xdpPass),
		asm.FnRedirectMap.Call(),
		asm.Return(),
	}})
	must(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}
