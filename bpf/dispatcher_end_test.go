package bpf

import (
	"errors"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestDispatcherUnloadedByOthers has xdp-loader remove our program with all others: packets go to the kernel, and Close finds nothing to do.
func TestDispatcherUnloadedByOthers(t *testing.T) {
	s := newShared(t)
	tr := newTraffic(t, s.vethPair)
	p := s.join(t, tr, Options{})
	xdpLoader(t, "unload", "near", "--all")
	tr.send(t, false)
	must(t, p.Close())
	s.clean(t)
	if left(t) != "" {
		t.Errorf("left behind: %s", left(t))
	}
}

// TestDispatcherKilled kills a process whose program is among others. The program stays, takes nothing, and goes when the next joins.
func TestDispatcherKilled(t *testing.T) {
	s := newShared(t)
	tr := newTraffic(t, s.vethPair)
	s.load(t, "counting")
	cmd, said := startChild(t, s.index(), childDispatcher+"=1")
	if said != "attached native" {
		t.Fatal(said)
	}
	dead := s.expect(t, "counting fastrpc_steer")[1].id
	must(t, cmd.Process.Signal(unix.SIGKILL))
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child was not killed")
	}
	s.expect(t, "counting fastrpc_steer")
	tr.send(t, false)

	p := s.join(t, tr, Options{})
	slots := s.expect(t, "counting fastrpc_steer")
	if slots[1].id == dead {
		t.Error("the program of the process that was killed is still there, and ours is not")
	}
	tr.send(t, true)
	must(t, p.Close())
	s.expect(t, "counting")
	if strings.Contains(left(t), "fastrpc") {
		t.Errorf("left behind: %s", left(t))
	}
}

// TestDispatcherKilledElsewhere kills processes on other interfaces, one of which then disappears: all is gone when the next joins anywhere.
func TestDispatcherKilledElsewhere(t *testing.T) {
	s := newShared(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "gone"
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "peer"}))
	gone := byName(t, "gone")
	var children []*exec.Cmd
	for _, l := range []netlink.Link{s.far, gone} {
		cmd, said := startChild(t, l.Attrs().Index, childDispatcher+"=1")
		if said != "attached native" {
			t.Fatal(said)
		}
		children = append(children, cmd)
	}
	for _, cmd := range children {
		must(t, cmd.Process.Signal(unix.SIGKILL))
		if err := cmd.Wait(); err == nil {
			t.Fatal("a child was not killed")
		}
	}
	// Somebody else's program is in the dispatcher of the interface that goes: its pins stay too.
	xdpLoader(t, "load", "-n", "counting", "gone", s.object)
	must(t, netlink.LinkDel(gone))
	if names := left(t); strings.Count(names, "dispatch-") != 2 || strings.Count(names, "fastrpc-") != 2 {
		t.Fatalf("after the kill, there are %s", names)
	}

	p := s.join(t, nil, Options{})
	if names := left(t); strings.Count(names, "dispatch-") != 1 || strings.Count(names, "fastrpc-") != 1 {
		t.Errorf("there are %s; want what belongs to near, and nothing else", names)
	}
	if a, ok, err := Attached(s.far.Attrs().Index); err != nil || ok {
		t.Errorf("the interface of a process that was killed runs %+v, %v", a, err)
	}
	must(t, p.Close())
	if left(t) != "" {
		t.Errorf("left behind: %s", left(t))
	}
}

// TestDispatcherInterfaceGone deletes the interface under the program: Close removes the pins, which nobody else would.
func TestDispatcherInterfaceGone(t *testing.T) {
	s := newShared(t)
	p := s.join(t, nil, Options{})
	must(t, netlink.LinkDel(s.near))
	must(t, p.Close())
	if left(t) != "" {
		t.Errorf("left behind: %s", left(t))
	}
}

// TestDispatcherClosedElsewhere closes the program from a thread in another network namespace that has no more capabilities than it takes.
func TestDispatcherClosedElsewhere(t *testing.T) {
	s := newShared(t)
	p := s.join(t, nil, Options{})
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = keepCapabilities(1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON | 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_SYS_ADMIN)
		}
		done <- errors.Join(err, p.Close())
	}()
	must(t, <-done)
	s.clean(t)
	if left(t) != "" {
		t.Errorf("left behind: %s", left(t))
	}
}
