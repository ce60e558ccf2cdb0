package xdp_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/bpf"
	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/xdp"
)

// bpffs mounts a BPF file system of the test's own.
func bpffs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, unix.Mount("bpf", dir, "bpf", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// takesAll attaches a program as others have it to a host's interface: it gives every packet to the socket that the map has for its queue, and
// the kernel gets what comes without one.
func takesAll(t *testing.T, h lab.Host) *ebpf.Map {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: 64})
	must(t, err)
	t.Cleanup(func() { m.Close() })
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "takes_all", Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 16, asm.Word), // rx_queue_index
		asm.LoadMapPtr(asm.R1, m.FD()),
		asm.Mov.Imm(asm.R3, 2), // XDP_PASS
		asm.FnRedirectMap.Call(),
		asm.Return(),
	}})
	must(t, err)
	defer p.Close()
	must(t, h.Do(func() error {
		l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: h.Ifindex, Flags: link.XDPDriverMode})
		if err == nil {
			t.Cleanup(func() { l.Close() })
		}
		return err
	}))
	return m
}

// acquaint tells both hosts of a lab the other's MAC for good: a program that takes everything takes ARP too.
func acquaint(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, pair := range [][2]lab.Host{{l.Client(), l.Server()}, {l.Server(), l.Client()}} {
		here, there := pair[0], pair[1]
		must(t, here.Do(func() error {
			return netlink.NeighSet(&netlink.Neigh{LinkIndex: here.Ifindex, State: netlink.NUD_PERMANENT, IP: there.IPv4.AsSlice(), HardwareAddr: there.MAC})
		}))
	}
}

// exchange sends bytes both ways between a server of one queue and a client, and makes sure that no kernel socket had a part in it.
func exchange(t *testing.T, cable *lab.Lab, server transport.Port) {
	t.Helper()
	at := addrPort(cable.Server().IPv4, server.Local().Port())
	p := dial(t, cable.Client(), at, "?queues=0")
	client, link := p.Links()[0], server.Links()[0]
	before := stats(link)
	data := random(1000)
	send(t, client, resolve(t, client, p.Local(), at), data)
	f, got := receive(t, link)
	if !slices.Equal(got, data) {
		t.Fatalf("%d bytes came", len(got))
	}
	send(t, link, f.Path, data)
	if _, got := receive(t, client); !slices.Equal(got, data) {
		t.Fatalf("%d bytes came back", len(got))
	}
	if after := stats(link); after.Received != before.Received+1 || after.ViaKernel != before.ViaKernel {
		t.Errorf("server: %+v, then %+v", before, after)
	}
	if s := stats(client); s.Received == 0 || s.ViaKernel != 0 {
		t.Errorf("client: %+v", s)
	}
}

// A socket map of somebody else's program is joined by its path, and left when the Port is closed.
func TestForeignSocketMap(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 1})
	h, path := cable.Server(), filepath.Join(bpffs(t), "xsks_map")
	target := "xdp://veth0:9000?frames=256&xskmap=" + path
	m := takesAll(t, h)
	if _, err := tryListen(t, h, target); !errors.Is(err, transport.ErrPrecondition) || !strings.Contains(err.Error(), path) {
		t.Errorf("without a map: %v", err)
	}
	must(t, m.Pin(path))
	acquaint(t, cable)
	for range 2 {
		p, err := tryListen(t, h, target)
		must(t, err)
		exchange(t, cable, p)
		closePort(t, p)
	}
	if _, err := tryListen(t, h, "xdp://veth0:9000?mode=generic&xskmap="+path); !errors.Is(err, xdp.ErrSettings) {
		t.Errorf("another mode than theirs: %v", err)
	}
	if _, err := tryListen(t, h, "xdp://veth0:9000"); !errors.Is(err, transport.ErrPrecondition) || !strings.Contains(err.Error(), "takes_all") {
		t.Errorf("a program of one's own beside theirs: %v", err)
	}
}

// A program that 'setup' pinned serves one process after the other, also where the first had all queues, and tells others how to join.
func TestPinnedProgram(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 2})
	h, dir := cable.Server(), filepath.Join(bpffs(t), "fastrpc", "veth0")
	target := "xdp://veth0:9000?frames=256&program=" + dir
	if _, err := tryListen(t, h, target); !errors.Is(err, transport.ErrPrecondition) || !strings.Contains(err.Error(), "fastrpc setup veth0") {
		t.Errorf("before set-up: %v", err)
	}
	must(t, h.Do(func() error {
		_, err := bpf.Pin(h.Ifindex, dir, bpf.PinOptions{UID: -1, GID: -1, Perm: 0o600})
		return err
	}))
	for range 2 {
		p, err := tryListen(t, h, target)
		must(t, err)
		if n := len(p.Links()); n != 2 {
			t.Errorf("%d Links", n)
		}
		exchange(t, cable, p)
		_, says := startChild(t, h, "xdp://veth0:9001?frames=256&queues=1&program="+dir)
		if !strings.Contains(says, "queue 1") {
			t.Errorf("another process on the same queue: %s", says)
		}
		closePort(t, p)
	}
	_, says := startChild(t, h, "xdp://veth0:9001?frames=256&queues=1&program="+dir)
	if says != "ready" {
		t.Errorf("a queue that is free again: %s", says)
	}
	p, err := tryListen(t, h, target+"&queues=0")
	must(t, err)
	exchange(t, cable, p)
	closePort(t, p)
}

func TestSteeringSettings(t *testing.T) {
	h := labtest.New(t, lab.Config{Queues: 1}).Server()
	for query, says := range map[string]string{
		"program=mine":                       "own, dispatcher, pinned",
		"xskmap=map":                         "path from /",
		"plugin=socket":                      "path from /",
		"program=pinned&xskmap=/x":           "one of program, xskmap and plugin",
		"plugin=/x&xskmap=/x":                "one of program, xskmap and plugin",
		"program=dispatcher&xskmap=/x":       "one of program, xskmap and plugin",
		"program=pinned&prefixes=10.0.0.0/8": "fastrpc setup",
	} {
		if _, err := tryListen(t, h, "xdp://veth0:9000?"+query); !errors.Is(err, xdp.ErrSettings) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", query, err)
		}
	}
	checkBare(t, h)
}

// A plugin answers as intel/afxdp-plugins-for-kubernetes does (internal/udsserver/udsserver.go, server.start): one connection, first the pod's
// name, then any number of requests; its socket is gone afterwards.
type plugin struct {
	pod     string
	devices map[string]int // interface: descriptor of its XSKMAP, 0 for none
	heard   []string
	done    chan struct{}
}

func (p *plugin) start(t *testing.T, socket string) {
	t.Helper()
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socket, Net: "unixpacket"})
	must(t, err)
	t.Cleanup(func() { l.Close() })
	p.done = make(chan struct{})
	go func() {
		defer close(p.done)
		defer os.Remove(socket)
		c, err := l.AcceptUnix()
		if err != nil {
			return // nobody asked
		}
		defer c.Close()
		for connected := false; ; {
			buf := make([]byte, 64)
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			request := string(buf[:n])
			p.heard = append(p.heard, request)
			verb, argument, _ := strings.Cut(request, ",")
			argument = strings.ReplaceAll(argument, " ", "")
			fd := 0
			answer := "/nak"
			switch {
			case verb == "/connect" && !connected:
				answer = "/host_nak"
				if connected = argument == p.pod; connected {
					answer = "/host_ok"
				}
			case verb == "/xsk_map_fd" && connected:
				answer = "/fd_nak"
				if known, ok := p.devices[argument]; ok {
					answer, fd = "/fd_ack", known
				}
			case request == "/fin" && connected:
				answer, connected = "/fin_ack", false
			}
			var rights []byte
			if fd > 0 {
				rights = unix.UnixRights(fd)
			}
			if _, _, err := c.WriteMsgUnix([]byte(answer), rights, nil); err != nil || !connected {
				return
			}
		}
	}()
}

// A Kubernetes device plugin hands over its socket map, once for the life of the process.
func TestDevicePlugin(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 1})
	h := cable.Server()
	pod, err := os.Hostname()
	must(t, err)
	m := takesAll(t, h)
	acquaint(t, cable)
	socket := filepath.Join(t.TempDir(), "afxdp.sock")
	p := &plugin{pod: pod, devices: map[string]int{"veth0": m.FD()}}
	p.start(t, socket)
	for range 2 {
		port, err := tryListen(t, h, "xdp://veth0:9000?frames=256&plugin="+socket)
		must(t, err)
		exchange(t, cable, port)
		closePort(t, port)
	}
	<-p.done
	if want := []string{"/connect," + pod, "/xsk_map_fd,veth0", "/fin"}; !slices.Equal(p.heard, want) {
		t.Errorf("the plugin heard %q, want %q", p.heard, want)
	}
}

func TestDevicePluginRefuses(t *testing.T) {
	h := labtest.New(t, lab.Config{Queues: 1}).Server()
	pod, err := os.Hostname()
	must(t, err)
	for says, p := range map[string]*plugin{
		"says that it is":          {pod: "another-pod"},
		"no interface named veth0": {pod: pod, devices: map[string]int{"eth1": 0}},
		"sent no descriptor":       {pod: pod, devices: map[string]int{"veth0": 0}},
		"as an XSKMAP":             {pod: pod, devices: map[string]int{"veth0": openFile(t)}},
	} {
		socket := filepath.Join(t.TempDir(), "afxdp.sock")
		p.start(t, socket)
		before := descriptors(t)
		if _, err := tryListen(t, h, "xdp://veth0:9000?plugin="+socket); !errors.Is(err, transport.ErrPrecondition) || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q: %v", says, err)
		}
		<-p.done
		if after := descriptors(t); says != "as an XSKMAP" && after != before { // what was handed over is kept
			t.Errorf("%q: %d descriptors, then %d", says, before, after)
		}
	}
	if _, err := tryListen(t, h, "xdp://veth0:9000?plugin=/nowhere.sock"); !errors.Is(err, transport.ErrPrecondition) || !strings.Contains(err.Error(), "start of a pod") {
		t.Errorf("no plugin: %v", err)
	}
}

func openFile(t *testing.T) int {
	t.Helper()
	f, err := os.Open("/dev/null")
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return int(f.Fd())
}

// What a process may drop depends on what it changed.
func TestNeededWhenOpen(t *testing.T) {
	for query, want := range map[string]string{
		"": "", "?frames=256&mode=native": "", "?queues=0": "cap_net_admin", "?busypoll=20": "cap_net_admin", "?program=pinned": "cap_net_admin",
		"?program=dispatcher&queues=0": "cap_bpf cap_net_admin cap_perfmon cap_sys_admin",
	} {
		target, err := transport.ParseTarget("xdp://eth0:9000" + query)
		must(t, err)
		if got := strings.Join(xdp.NeededWhenOpen(target), " "); got != want {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
}

// What setup is told to prepare is what the defaults would open.
func TestNeedsOf(t *testing.T) {
	for mtu, want := range map[int]xdp.Needs{
		1500: {Name: "veth0", Queues: 2, QueueBytes: 8 << 20},
		3000: {Name: "veth0", Queues: 2, QueueBytes: 16 << 20},
		3200: {Name: "veth0", Queues: 2, QueueBytes: 16 << 20, MultiBuffer: true}, // which some drivers split, and veth says that it may
		9000: {Name: "veth0", Queues: 2, QueueBytes: 40 << 20, MultiBuffer: true},
	} {
		h := labtest.New(t, lab.Config{Queues: 2, MTU: mtu}).Server()
		want.Ifindex = h.Ifindex
		must(t, h.Do(func() error {
			got, err := xdp.NeedsOf("veth0")
			if got != want {
				t.Errorf("MTU %d: %+v, want %+v", mtu, got, want)
			}
			return err
		}))
	}
	if _, err := xdp.NeedsOf("nowhere0"); !errors.Is(err, xdp.ErrNoInterface) {
		t.Error(err)
	}
}
