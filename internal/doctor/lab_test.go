package doctor

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bpf"
	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
)

// inLab runs f on the server of a lab of its own.
func inLab(t *testing.T, c lab.Config, f func(h lab.Host) error) {
	t.Helper()
	h := labtest.New(t, c).Server()
	if err := h.Do(func() error { return f(h) }); err != nil {
		t.Fatal(err)
	}
}

func TestExamineLab(t *testing.T) {
	inLab(t, lab.Config{Queues: 3}, func(h lab.Host) error {
		r := Examine(h.Interface, Options{})
		if !r.Fit {
			t.Errorf("not fit: %+v", r)
		}
		want(t, find(t, r, "driver"), OK, "veth")
		want(t, find(t, r, "queues"), find(t, r, "queues").Level, "3 to receive")
		want(t, find(t, r, "program"), OK)
		want(t, find(t, r, "xdp-mode"), OK, "native")
		want(t, find(t, r, "zero-copy"), Note, "0 of 3 queues") // veth has none

		if _, there, err := bpf.Attached(h.Ifindex); err != nil || there {
			t.Errorf("a program is left behind (%v)", err)
		}
		if r = Examine(h.Interface, Options{}); !r.Fit {
			t.Errorf("the second time it is not fit: %+v", r)
		}
		return nil
	})
}

func TestExamineDoesNotDisturb(t *testing.T) {
	inLab(t, lab.Config{}, func(h lab.Host) error {
		p, err := bpf.Attach(h.Ifindex, bpf.Options{Mode: bpf.Generic})
		if err != nil {
			return err
		}
		before, _, err := bpf.Attached(h.Ifindex)
		r := Examine(h.Interface, Options{})
		after, _, err2 := bpf.Attached(h.Ifindex)
		if before != after {
			t.Errorf("the attached program was %+v and is %+v", before, after)
		}
		if f := find(t, r, "program"); f.Fix != nil {
			t.Errorf("%q would take it from its process", f.Fix)
		}
		want(t, find(t, r, "program"), Note, "in use", fmt.Sprintf("pid %d", os.Getpid()))
		want(t, find(t, r, "probe"), Note, "left out", "in use")
		return errors.Join(err, err2, p.Close())
	})
}

func TestExamineNoProbe(t *testing.T) {
	inLab(t, lab.Config{}, func(h lab.Host) error {
		r := Examine(h.Interface, Options{NoProbe: true})
		if !r.Fit {
			t.Errorf("not fit: %+v", r)
		}
		want(t, find(t, r, "probe"), Note, "left out")
		for _, f := range r.Findings {
			if f.Check == "xdp-mode" || f.Check == "zero-copy" {
				t.Errorf("%+v was found without a probe", f)
			}
		}
		return nil
	})
}

func TestExamineTakenQueue(t *testing.T) {
	inLab(t, lab.Config{Queues: 2}, func(h lab.Host) error {
		umem, err := afxdp.NewUmem(afxdp.UmemConfig{Chunks: 4, ChunkBytes: 2048})
		if err != nil {
			return err
		}
		s, err := afxdp.Open(umem, afxdp.SocketConfig{Ifindex: h.Ifindex, Queue: 1, RxEntries: 64})
		if err != nil {
			return errors.Join(err, umem.Close())
		}
		r := Examine(h.Interface, Options{})
		want(t, find(t, r, "queue"), Wrong, "queue 1", "ss --xdp")
		want(t, find(t, r, "zero-copy"), Note, "0 of 1 queue")
		return errors.Join(s.Close(), umem.Close())
	})
}

// Tags count only where there is a VLAN, and then the printed command mends it. (Not every kernel has VLAN devices, so there is only the name
// of one.)
func TestVLANTags(t *testing.T) {
	inLab(t, lab.Config{}, func(h lab.Host) error {
		check := func(vlans ...string) Finding {
			link, err := netlink.LinkByIndex(h.Ifindex)
			if err != nil {
				t.Fatal(err)
			}
			m := machine{device: ask(link)}
			m.device.vlans = append(m.device.vlans, vlans...)
			return m.checkVLANs()
		}
		silent(t, check())
		want(t, check("veth0.7"), Note, "veth0.7", "ethtool -K "+h.Interface+" rxvlan off") // a veth device strips tags until it is told not to
		e, err := ethtool.NewEthtool()
		if err != nil {
			return err
		}
		defer e.Close()
		if err := e.Change(h.Interface, map[string]bool{tagStripping: false}); err != nil {
			return err
		}
		want(t, check("veth0.7"), OK, "veth0.7")
		return nil
	})
}

// Jumbo frames come in several buffers, in native mode, and doctor tries it as xdp:// does it.
func TestExamineMTUAndDown(t *testing.T) {
	inLab(t, lab.Config{MTU: 9000}, func(h lab.Host) error {
		r := Examine(h.Interface, Options{})
		want(t, find(t, r, "mtu"), OK, "9000 bytes, in several buffers")
		want(t, find(t, r, "xdp-mode"), OK, "native")
		want(t, find(t, r, "memlock"), OK, "80 MiB for 2 queues")
		link, err := netlink.LinkByIndex(h.Ifindex)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetDown(link); err != nil {
			return err
		}
		r = Examine(h.Interface, Options{})
		want(t, find(t, r, "interface"), Wrong, "down", "ip link set dev "+h.Interface+" up")
		return nil
	})
}

// What the kernel and the device of a real pair say comes through: a driver without zero-copy, a peer elsewhere, no PCI slot, two queues
// more than the one CPU that is to poll.
func TestExamineVeth(t *testing.T) {
	inLab(t, lab.Config{Queues: 2}, func(h lab.Host) error {
		r := Examine(h.Interface, Options{NoProbe: true, CPUs: []int{0}})
		want(t, find(t, r, "xdp-features"), OK, "basic redirect", "rx-sg", "no zero-copy")
		want(t, find(t, r, "checksums"), Note, "ethtool -K PEER tx off")
		want(t, find(t, r, "queues"), Note, "1 CPU ", fmt.Sprintf("ethtool -L %s rx 1", h.Interface))
		for _, f := range r.Findings {
			if f.Check == "pcie" || f.Check == "rings" || f.Check == "affinity" {
				t.Errorf("veth has none: %+v", f)
			}
		}
		for _, g := range []Group{Kernel, Interface, XDP, Interrupts, CPU, Memory} {
			if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Group == g }) {
				t.Errorf("nothing is said of %s", g)
			}
		}
		return nil
	})
}

// A running fastrpc has a socket on one queue of two; what comes in on the other one goes the slow way.
func TestExamineQueueWithoutSocket(t *testing.T) {
	inLab(t, lab.Config{Queues: 2}, func(h lab.Host) error {
		p, err := bpf.Attach(h.Ifindex, bpf.Options{})
		if err != nil {
			return err
		}
		defer p.Close()
		umem, err := afxdp.NewUmem(afxdp.UmemConfig{Chunks: 4, ChunkBytes: 2048})
		if err != nil {
			return err
		}
		s, err := afxdp.Open(umem, afxdp.SocketConfig{Ifindex: h.Ifindex, Queue: 0, RxEntries: 64})
		if err != nil {
			return errors.Join(err, umem.Close())
		}
		f := find(t, Examine(h.Interface, Options{}), "sockets")
		if _, missing := socketsOn(h.Ifindex, release()); missing != nil { // Linux before 6.15 without CONFIG_XDP_SOCKETS_DIAG
			t.Logf("this kernel does not tell which queues have a socket: %v", missing)
			want(t, f, OK, missing.Error())
		} else {
			want(t, f, Note, "on 1 of 2 queues", "on queue 1 ", "ethtool -L "+h.Interface+" rx 1")
		}
		return errors.Join(s.Close(), umem.Close())
	})
}

// Beside a dispatcher's programs xdp:// is to be had by an option only, and nothing is tried. A program of its name will do for the test.
func TestExamineDispatcher(t *testing.T) {
	inLab(t, lab.Config{}, func(h lab.Host) error {
		prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: dispatcherProgram, Type: ebpf.XDP, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2 /* XDP_PASS */), asm.Return()}})
		if err != nil {
			return err
		}
		defer prog.Close()
		attached, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: h.Ifindex, Flags: link.XDPDriverMode})
		if err != nil {
			return err
		}
		r := Examine(h.Interface, Options{})
		want(t, find(t, r, "program"), Note, "dispatcher", "xdp://"+h.Interface+":9000?program=dispatcher")
		want(t, find(t, r, "probe"), Note, "in use")
		if err := attached.Close(); err != nil {
			return err
		}
		want(t, find(t, Examine(h.Interface, Options{NoProbe: true}), "program"), OK)
		return nil
	})
}
