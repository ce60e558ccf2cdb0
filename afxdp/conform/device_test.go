//go:build linux

package conform

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const defaultMTU = 1500

// pair is two ports that are cabled to each other; every row sends from the first to the second, some also back.
type pair struct {
	ns    netns.NsHandle // where both are
	ports [2]*port
}

// port is one device with the XDP program that feeds its sockets.
type port struct {
	name  string
	index int
	mac   [6]byte
	mtu   int
	maps  programMaps
	link  link.Link
}

// newPair takes the two named interfaces, or makes a veth pair when names is empty. What it changes of them is undone at the end.
func newPair(t *testing.T, names string) *pair {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	must(t, err)
	if names != "" {
		t.Cleanup(func() { home.Close() })
		reserveHugePages(t, 16)
		a, b, two := strings.Cut(names, ",")
		if !two {
			t.Fatalf("-conform.pair %s: give two interfaces, as in eth1,eth2", names)
		}
		return openPair(t, home, a, b)
	}
	defer home.Close()
	ns, err := netns.New() // the veth pair ends with it
	must(t, err)
	t.Cleanup(func() { ns.Close() })
	defer func() { must(t, netns.Set(home)) }()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "conform0"
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "conform1"}))
	return openPair(t, ns, "conform0", "conform1")
}

func openPair(t *testing.T, ns netns.NsHandle, names ...string) *pair {
	t.Helper()
	p := &pair{ns: ns}
	for i, name := range names {
		l, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatalf("interface %s: %v", name, err)
		}
		must(t, netlink.LinkSetUp(l))
		d := &port{name: name, index: l.Attrs().Index, mac: [6]byte(l.Attrs().HardwareAddr), mtu: l.Attrs().MTU}
		d.maps, err = newMaps()
		must(t, err)
		t.Cleanup(d.maps.close)
		p.ports[i] = d
	}
	was := [2]int{p.ports[0].mtu, p.ports[1].mtu}
	t.Cleanup(func() {
		p.enter(t)
		for i, d := range p.ports {
			must(t, d.setMTU(was[i]))
		}
	})
	return p
}

// enter has the test's goroutine work in the pair's namespace until the test ends.
func (p *pair) enter(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	home, err := netns.Get()
	must(t, err)
	must(t, netns.Set(p.ns))
	t.Cleanup(func() {
		must(t, netns.Set(home))
		home.Close()
		runtime.UnlockOSThread()
	})
}

// attach puts the default program on both ports until the test ends, and waits for the link, which many a driver resets.
func (p *pair) attach(t *testing.T, flags link.XDPAttachFlags) {
	t.Helper()
	p.setMTU(t, defaultMTU) // the rows before may have left one that native programs do not go with
	for _, d := range p.ports {
		prog, err := program(toFirst).load(d.maps)
		must(t, err)
		d.link, err = link.AttachXDP(link.XDPOptions{Program: prog, Interface: d.index, Flags: flags})
		prog.Close()
		if err != nil {
			if errors.Is(err, unix.EOPNOTSUPP) {
				refuse(t, "attaching to "+d.name, err)
			}
			t.Fatalf("attaching to %s: %v", d.name, err)
		}
		t.Cleanup(func() {
			d.link.Close()
			d.link = nil
		})
	}
	p.awaitUp(t)
}

// use replaces a port's program until the test ends. The link stays, so a driver has nothing to reset.
func (d *port) use(t *testing.T, p program) {
	t.Helper()
	prog, err := p.load(d.maps)
	must(t, err)
	defer prog.Close()
	var zero uint64
	must(t, d.maps.state.Put(uint32(counterIndex), zero))
	must(t, d.maps.state.Put(uint32(answerIndex), zero))
	must(t, d.link.Update(prog))
	t.Cleanup(func() {
		prog, err := program(toFirst).load(d.maps)
		must(t, err)
		defer prog.Close()
		must(t, d.link.Update(prog))
	})
}

// answer is what a helper of the port's program refused with.
func (d *port) answer(t *testing.T) error {
	t.Helper()
	var errno int64
	must(t, d.maps.state.Lookup(uint32(answerIndex), &errno))
	if errno == 0 {
		return nil
	}
	return unix.Errno(-errno)
}

// awaitUp waits until both ports have a carrier.
func (p *pair) awaitUp(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		up := 0
		for _, d := range p.ports {
			l, err := netlink.LinkByIndex(d.index)
			must(t, err)
			if l.Attrs().RawFlags&unix.IFF_LOWER_UP != 0 && l.Attrs().RawFlags&unix.IFF_RUNNING != 0 {
				up++
			}
		}
		if up == len(p.ports) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s and %s have no link; are they cabled to each other?", p.ports[0].name, p.ports[1].name)
		}
	}
}

// setMTU gives both ports the MTU, or refuses.
func (p *pair) setMTU(t *testing.T, bytes int) {
	t.Helper()
	for _, d := range p.ports {
		if err := d.setMTU(bytes); err != nil {
			refuse(t, fmt.Sprintf("RTM_NEWLINK with an MTU of %d on %s", bytes, d.name), err)
		}
	}
	p.awaitUp(t)
}

func (d *port) setMTU(bytes int) error {
	if d.mtu == bytes {
		return nil
	}
	err := netlink.LinkSetMTU(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: d.index}}, bytes)
	if err == nil {
		d.mtu = bytes
	}
	return err
}

// setHardwareRings sets the port's own rings until the test ends, or refuses. It returns what they became.
func (p *pair) setHardwareRings(t *testing.T, d *port, edit func(*ethtool.Ring)) (ring ethtool.Ring) {
	t.Helper()
	tool, err := ethtool.NewEthtool()
	must(t, err)
	t.Cleanup(tool.Close)
	before, err := tool.GetRing(d.name)
	if err != nil {
		refuse(t, "ETHTOOL_GRINGPARAM of "+d.name, err)
	}
	ring = before
	edit(&ring)
	if _, err := tool.SetRing(d.name, ring); err != nil {
		refuse(t, fmt.Sprintf("ETHTOOL_SRINGPARAM rx %d tx %d of %s", ring.RxPending, ring.TxPending, d.name), err)
	}
	t.Cleanup(func() {
		if _, err := tool.SetRing(d.name, before); err != nil {
			t.Errorf("restoring the rings of %s: %v", d.name, err)
		}
		p.awaitUp(t)
	})
	p.awaitUp(t)
	ring, err = tool.GetRing(d.name)
	must(t, err)
	return ring
}

// driver returns the name of the port's driver.
func (d *port) driver(t *testing.T) string {
	t.Helper()
	tool, err := ethtool.NewEthtool()
	must(t, err)
	defer tool.Close()
	name, err := tool.DriverName(d.name)
	must(t, err)
	return name
}

// deferInterrupts sets on both ports what busy polling works best with, until the test ends: the kernel's own test sets the same
// (prog_tests/xsk.c, setup_veth).
func (p *pair) deferInterrupts(t *testing.T) {
	t.Helper()
	sysfs := mountSysfs(t)
	for _, d := range p.ports {
		for setting, value := range map[string]string{"napi_defer_hard_irqs": "2", "gro_flush_timeout": "200000"} {
			fd, err := unix.Openat(sysfs, "class/net/"+d.name+"/"+setting, unix.O_RDWR|unix.O_CLOEXEC, 0)
			must(t, err)
			f := os.NewFile(uintptr(fd), setting)
			before := make([]byte, 32)
			n, err := f.ReadAt(before, 0)
			if err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			_, err = f.WriteAt([]byte(value), 0)
			must(t, err)
			t.Cleanup(func() {
				_, err := f.WriteAt(before[:n], 0)
				must(t, errors.Join(err, f.Close()))
			})
		}
	}
}

// reserveHugePages has the machine keep so many huge pages until the test ends; without /proc, or memory, what needs them is refused. A lock on
// the kernel's file keeps the tests of other packages from setting another number meanwhile.
func reserveHugePages(t *testing.T, pages int) {
	t.Helper()
	const name = "/proc/sys/vm/nr_hugepages"
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return
	}
	t.Cleanup(func() { file.Close() })
	must(t, unix.Flock(int(file.Fd()), unix.LOCK_EX))
	before, err := os.ReadFile(name)
	must(t, err)
	if _, err := file.WriteAt([]byte(strconv.Itoa(pages)), 0); err != nil {
		return
	}
	t.Cleanup(func() {
		_, err := file.WriteAt(before, 0)
		must(t, err)
	})
}

// mountSysfs returns a descriptor of a /sys that shows the calling thread's network namespace; no mount point is needed.
func mountSysfs(t *testing.T) (fd int) {
	t.Helper()
	fs, err := unix.Fsopen("sysfs", unix.FSOPEN_CLOEXEC)
	must(t, err)
	defer unix.Close(fs)
	must(t, unix.FsconfigCreate(fs))
	fd, err = unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
