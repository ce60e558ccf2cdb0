package doctor

import (
	"errors"
	"fmt"
	"os"
	"testing"

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
		if !r.Fit() {
			t.Errorf("not fit: %+v", r)
		}
		want(t, find(t, r, "driver"), OK, "veth")
		want(t, find(t, r, "queues"), find(t, r, "queues").Level, "3 receive queues")
		want(t, find(t, r, "program"), OK)
		want(t, find(t, r, "xdp-mode"), OK, "native")
		want(t, find(t, r, "zero-copy"), Note, "0 of 3 queues") // veth has none

		if _, there, err := bpf.Attached(h.Ifindex); err != nil || there {
			t.Errorf("a program is left behind (%v)", err)
		}
		if r := Examine(h.Interface, Options{}); !r.Fit() {
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
		if f := find(t, r, "program"); f.Fix != "" {
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
		if !r.Fit() {
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
		want(t, find(t, r, "zero-copy"), Note, "0 of 1 queues")
		return errors.Join(s.Close(), umem.Close())
	})
}

// Tags count only where there is a VLAN, and then the printed command mends it.
func TestVLANTags(t *testing.T) {
	inLab(t, lab.Config{}, func(h lab.Host) error {
		for _, f := range Examine(h.Interface, Options{NoProbe: true}).Findings {
			if f.Check == "vlan" {
				t.Errorf("without a VLAN: %+v", f)
			}
		}
		f := checkVLANs(h.Interface, []string{"veth0.7"}) // a veth device strips tags until it is told not to
		want(t, f, Note, "veth0.7", "rxvlan off")
		e, err := ethtool.NewEthtool()
		if err != nil {
			return err
		}
		defer e.Close()
		if err := e.Change(h.Interface, map[string]bool{tagStripping: false}); err != nil {
			return err
		}
		want(t, checkVLANs(h.Interface, []string{"veth0.7"}), OK, "veth0.7")
		return nil
	})
}

func TestExamineMTUAndDown(t *testing.T) {
	inLab(t, lab.Config{MTU: 9000}, func(h lab.Host) error {
		r := Examine(h.Interface, Options{})
		want(t, find(t, r, "mtu"), Note, "mtu 3498")
		want(t, find(t, r, "xdp-mode"), Note, "generic")
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
