package lab_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
)

// TestMain also is the child process of TestChildIsInsideAndPinned, and checks that the tests leave nothing behind.
func TestMain(m *testing.M) {
	if os.Getenv("LAB_TEST_CHILD") != "" {
		child()
		return
	}
	before := machine()
	code := m.Run()
	if after := machine(); code == 0 && !slices.Equal(before, after) {
		fmt.Fprintf(os.Stderr, "the tests changed the machine\nbefore: %v\nafter:  %v\n", before, after)
		code = 1
	}
	os.Exit(code)
}

// machine lists our namespaces and all interfaces of this one.
func machine() []string {
	found, _ := filepath.Glob(fmt.Sprintf("/run/netns/test-%d-*", os.Getpid()))
	links, _ := net.Interfaces()
	for _, l := range links {
		found = append(found, l.Name)
	}
	return found
}

func child() {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		panic(err)
	}
	ns, _ := os.Readlink("/proc/self/ns/net")
	sys, _ := filepath.Glob("/sys/class/net/*")
	fmt.Println(ns, set.Count(), set.IsSet(1), sys)
}

// needRoot is for tests that make no lab with labtest.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root: run the tests as root to include this one")
	}
}

func inode(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("net:[%d]", st.Ino)
}

func TestTrafficCrossesAtOnce(t *testing.T) {
	l := labtest.New(t, lab.Config{})
	for _, to := range []netip.Addr{l.Server().IPv4, l.Server().IPv6} {
		var srv, cli *net.UDPConn
		at := net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 9000))
		if err := l.Server().Do(func() (err error) { srv, err = net.ListenUDP("udp", at); return }); err != nil {
			t.Fatal(err)
		}
		defer srv.Close()
		if err := l.Client().Do(func() (err error) { cli, err = net.DialUDP("udp", nil, at); return }); err != nil {
			t.Fatal(err)
		}
		defer cli.Close()
		go func() {
			b := make([]byte, 100)
			if n, from, err := srv.ReadFromUDPAddrPort(b); err == nil {
				srv.WriteToUDPAddrPort(append(b[:n], '!'), from)
			}
		}()
		if _, err := cli.Write([]byte("echo")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		n, err := cli.Read(b)
		if err != nil || string(b[:n]) != "echo!" {
			t.Errorf("%s: %q, %v", to, b[:n], err)
		}
	}
}

func TestConfig(t *testing.T) {
	l := labtest.New(t, lab.Config{Queues: 3, MTU: 9000})
	again, err := lab.Open(l.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []lab.Host{l.Client(), l.Server(), again.Client(), again.Server()} {
		err := h.Do(func() error {
			link, err := netlink.LinkByName(h.Interface)
			if err != nil {
				return err
			}
			a := link.Attrs()
			if a.OperState != netlink.OperUp || a.NumRxQueues != 3 || a.NumTxQueues != 3 || a.MTU != 9000 || a.Index != h.Ifindex || !bytes.Equal(a.HardwareAddr, h.MAC) {
				t.Errorf("%+v\nis not what %+v says", a, h)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if a, b := fmt.Sprint(l.Client(), l.Server()), fmt.Sprint(again.Client(), again.Server()); a != b {
		t.Errorf("Up says   %s\nOpen says %s", a, b)
	}
}

func TestConfigIsRefused(t *testing.T) {
	for _, c := range []lab.Config{
		{Name: "../x"}, {Name: "A"}, {Name: strings.Repeat("a", 33)}, {Queues: -1}, {Queues: 65}, {MTU: 1279}, {MTU: 65536},
	} {
		if _, err := lab.Up(c); err == nil || errors.Is(err, unix.EPERM) {
			t.Errorf("%+v: %v", c, err)
			lab.Down(c.Name)
		}
	}
	if err := lab.Down("/"); err == nil {
		t.Error("Down takes any name")
	}
}

func TestUpTwiceDownTwice(t *testing.T) {
	l := labtest.New(t, lab.Config{})
	if _, err := lab.Up(lab.Config{Name: l.Name()}); !errors.Is(err, lab.ErrExists) {
		t.Errorf("second Up: %v, want ErrExists", err)
	}
	if _, err := lab.Open(l.Name()); err != nil {
		t.Errorf("the refused Up harmed the lab: %v", err)
	}
	for range 2 {
		if err := l.Down(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := lab.Open(l.Name()); !errors.Is(err, lab.ErrNotExist) {
		t.Errorf("Open: %v, want ErrNotExist", err)
	}
	if err := l.Client().Do(func() error { return nil }); !errors.Is(err, lab.ErrNotExist) {
		t.Errorf("Do: %v, want ErrNotExist", err)
	}
	l, err := lab.Up(lab.Config{Name: l.Name()}) // the cleanup of the first takes it down
	if err != nil {
		t.Errorf("Up after Down: %v", err)
	}
}

// A lab whose processes go on is taken down nevertheless: they lose the interface.
func TestDownUnderProcesses(t *testing.T) {
	l := labtest.New(t, lab.Config{})
	err := l.Server().Do(func() error {
		if err := l.Down(); err != nil {
			return err
		}
		_, err := netlink.LinkByName(lab.Interface)
		if !errors.As(err, &netlink.LinkNotFoundError{}) {
			return fmt.Errorf("the interface is still there: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestChildIsInsideAndPinned(t *testing.T) {
	l := labtest.New(t, lab.Config{})
	if runtime.NumCPU() < 2 {
		t.Skip("pinning shows only with two CPUs, and this process may use one")
	}
	var out bytes.Buffer
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "LAB_TEST_CHILD=1")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := l.Client().Start(cmd, 1); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err, out.String())
	}
	want := fmt.Sprintf("%s 1 true [/sys/class/net/lo /sys/class/net/veth0]\n", inode(t, "/run/netns/"+l.Client().Namespace))
	if out.String() != want {
		t.Errorf("child says %q, want %q", out.String(), want)
	}
	if err := l.Client().Start(exec.Command("true"), 1023); err == nil {
		t.Error("pinned to a CPU that is not there")
	}
}

func TestStatus(t *testing.T) {
	l := labtest.New(t, lab.Config{})
	find := func() lab.Info {
		infos, err := lab.Status()
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range infos {
			if i.Name == l.Name() {
				return i
			}
		}
		t.Fatalf("%s is not in %+v", l.Name(), infos)
		panic("unreachable")
	}
	if i := find(); i.Missing != "" || len(i.Pids) != 0 || fmt.Sprint(i.Client) != fmt.Sprint(l.Client()) {
		t.Errorf("whole: %+v", i)
	}
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Server().Start(cmd); err != nil {
		t.Fatal(err)
	}
	if i := find(); !slices.Equal(i.Pids, []int{cmd.Process.Pid}) {
		t.Errorf("pids %v, want %d", i.Pids, cmd.Process.Pid)
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if err := l.Server().Do(func() error {
		link, err := netlink.LinkByName(lab.Interface)
		if err != nil {
			return err
		}
		return netlink.LinkDel(link)
	}); err != nil {
		t.Fatal(err)
	}
	if i := find(); !strings.Contains(i.Missing, "veth0 in "+l.Server().Namespace) {
		t.Errorf("cable cut: %+v", i)
	}
	if _, err := lab.Open(l.Name()); err == nil {
		t.Error("Open takes a lab without cable")
	}
}

// A namespace that a lab did not make stays, and what Up had made beside it goes.
func TestForeignNamespaceIsLeftAlone(t *testing.T) {
	needRoot(t)
	name := fmt.Sprintf("test-%d-foreign", os.Getpid())
	path := "/run/netns/" + name + "-server"
	l, err := lab.Up(lab.Config{Name: name}) // for the mount of /run/netns
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Down(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(path)
	if err := unix.Mount("/proc/self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(path, unix.MNT_DETACH)
	if _, err := lab.Up(lab.Config{Name: name}); !errors.Is(err, lab.ErrExists) {
		t.Errorf("Up: %v, want ErrExists", err)
	}
	if err := lab.Down(name); !errors.Is(err, lab.ErrForeign) {
		t.Errorf("Down: %v, want ErrForeign", err)
	}
	if got, want := inode(t, path), inode(t, "/proc/self/ns/net"); got != want {
		t.Errorf("%s is %s, was %s", path, got, want)
	}
	infos, err := lab.Status()
	if err != nil || slices.ContainsFunc(infos, func(i lab.Info) bool { return i.Name == name }) {
		t.Errorf("Status: %+v, %v", infos, err)
	}
}

// What a maker leaves that is killed at each step is taken down.
func TestDownAfterKill(t *testing.T) {
	l := labtest.New(t, lab.Config{})
	one, other := "/run/netns/"+l.Client().Namespace, "/run/netns/"+l.Server().Namespace
	// One namespace, and the name of another that was not mounted.
	if err := unix.Unmount(other, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	infos, err := lab.Status()
	if err != nil || !slices.ContainsFunc(infos, func(i lab.Info) bool { return i.Name == l.Name() && i.Missing != "" }) {
		t.Errorf("Status: %+v, %v", infos, err)
	}
	if err := l.Down(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{one, other} {
		if _, err := os.Lstat(p); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", p, err)
		}
	}
}

// Many at once, some that panic or leave: no thread stays inside.
func TestDoLeavesNoThreadInside(t *testing.T) {
	l := labtest.New(t, lab.Config{})
	hosts := []lab.Host{l.Client(), l.Server()}
	inodes := []string{inode(t, "/run/netns/"+hosts[0].Namespace), inode(t, "/run/netns/"+hosts[1].Namespace)}
	home := inode(t, "/proc/self/ns/net")
	boom := errors.New("boom")
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			defer func() {
				if r := recover(); (r != nil) != (i%4 == 1) || r != nil && !strings.Contains(r.(string), "boom") {
					t.Errorf("%d: recovered %v", i, r)
				}
			}()
			err := hosts[i%2].Do(func() error {
				if got, _ := os.Readlink("/proc/thread-self/ns/net"); got != inodes[i%2] {
					t.Errorf("in %s, want %s", got, inodes[i%2])
				}
				switch i % 4 {
				case 1:
					panic(boom)
				case 2:
					runtime.Goexit()
				}
				return hosts[1-i%2].Do(func() error { // in one another
					if got, _ := os.Readlink("/proc/thread-self/ns/net"); got != inodes[1-i%2] {
						t.Errorf("nested in %s, want %s", got, inodes[1-i%2])
					}
					return boom
				})
			})
			if err != boom {
				t.Errorf("%d: %v", i, err)
			}
			if i%4 == 2 {
				t.Error("Goexit was swallowed")
			}
		})
	}
	wg.Wait()
	threads, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil || len(threads) == 0 {
		t.Fatal(threads, err)
	}
	for _, p := range threads {
		if got, err := os.Readlink(p); err == nil && got != home {
			t.Errorf("%s is %s, want %s", p, got, home)
		}
	}
}
