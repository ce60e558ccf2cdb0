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
	"slices"
	"strings"
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
			if a.OperState != netlink.OperUp {
				t.Errorf("%s is %s", h.Namespace, a.OperState)
			}
			if a.NumRxQueues != 3 || a.NumTxQueues != 3 || a.MTU != 9000 || a.Index != h.Ifindex || !bytes.Equal(a.HardwareAddr, h.MAC) {
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
