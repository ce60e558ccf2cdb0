package bpf

import (
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// inNamespace moves the test, whose goroutine keeps its thread from then on, into a network namespace of its own.
func inNamespace(t *testing.T) {
	t.Helper()
	needRoot(t)
	runtime.LockOSThread()
	home, err := netns.Get()
	must(t, err)
	own, err := netns.New()
	must(t, err)
	t.Cleanup(func() {
		own.Close()
		if err := netns.Set(home); err != nil {
			t.Error(err) // the thread stays locked, and ends with the goroutine
		} else {
			runtime.UnlockOSThread()
		}
		home.Close()
	})
}

// vethPair is two ends in one namespace: near has 198.18.0.1/24 and ourMAC, and is what programs are attached to; far has no address, and
// is what packets are sent into.
type vethPair struct {
	near, far netlink.Link
	send      int // AF_PACKET socket on far
}

func newVethPair(t *testing.T, queues int) *vethPair {
	t.Helper()
	inNamespace(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.NumRxQueues, attrs.NumTxQueues, attrs.HardwareAddr = "near", queues, queues, ourMAC
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "far", PeerHardwareAddr: theirMAC}))
	v := &vethPair{near: byName(t, "near"), far: byName(t, "far")}
	must(t, netlink.AddrAdd(v.near, &netlink.Addr{IPNet: &net.IPNet{IP: net.IP{198, 18, 0, 1}, Mask: net.CIDRMask(24, 32)}}))
	must(t, netlink.LinkSetUp(v.near))
	must(t, netlink.LinkSetUp(v.far))

	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // protocol 0: receives nothing
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	must(t, unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: v.far.Attrs().Index}))
	v.send = fd
	return v
}

func byName(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	must(t, err)
	return l
}

func (v *vethPair) index() int { return v.near.Attrs().Index }

// attach attaches the steering program to near, with ourPort open.
func (v *vethPair) attach(t *testing.T, o Options) *Program {
	t.Helper()
	p, err := Attach(v.index(), o)
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	must(t, p.AllowPort(ourPort))
	return p
}

// clean fails unless no program is attached to near.
func (v *vethPair) clean(t *testing.T) {
	t.Helper()
	if a, ok, err := Attached(v.index()); err != nil || ok {
		t.Fatalf("expected no program: %+v, %v", a, err)
	}
}

// transmit sends a frame from far to near.
func (v *vethPair) transmit(t *testing.T, frame []byte) {
	t.Helper()
	if _, err := unix.Write(v.send, frame); err != nil {
		t.Fatal(err)
	}
}

// kernelSocket is an ordinary UDP socket on ourPort.
func kernelSocket(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{Port: ourPort})
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
	return c
}

// someoneElse is a program that passes everything, as another owner would attach it.
func someoneElse(t *testing.T) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "someone_else", Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()}})
	must(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}
