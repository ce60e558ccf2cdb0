package doctor

import (
	"errors"
	"fmt"
	"slices"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bpf"
)

// checkAttached: a program that is there is never replaced.
func checkAttached(ifindex int) Finding {
	a, ok, err := bpf.Attached(ifindex)
	switch {
	case err != nil:
		return Finding{"program", Note, err.Error(), ""}
	case !ok:
		return Finding{"program", OK, "no XDP program is attached", ""}
	}
	return judgeAttached(a)
}

func judgeAttached(a bpf.Attachment) Finding {
	f := Finding{Check: "program", Level: Wrong}
	f.Text = fmt.Sprintf("XDP program %q (id %d, %v) is attached, by another fastrpc process or by someone else, and is not replaced", a.Program, a.ProgramID, a.Mode)
	if a.LinkID != 0 {
		f.Fix = fmt.Sprintf("bpftool link detach id %d   # or stop its owner", a.LinkID)
		return f
	}
	hook := map[bpf.Mode]string{bpf.Native: "xdpdrv", bpf.Generic: "xdpgeneric"}[a.Mode]
	if hook == "" {
		hook = "xdpoffload"
	}
	f.Fix = fmt.Sprintf("ip link set dev %s %s off   # or stop its owner", a.Interface, hook)
	return f
}

func notProbed(fit bool) Finding {
	if fit {
		return Finding{"probe", Note, "left out: which XDP mode is granted, and whether zero-copy is, shows only when it is tried", ""}
	}
	return Finding{"probe", Note, "left out, because of what is wrong above", ""}
}

// probe takes the interface for a moment as xdp:// would, on each queue in turn, steers nothing, and gives all back.
func probe(ifindex, queues int) []Finding {
	prog, err := bpf.Attach(ifindex, bpf.Options{})
	if err != nil {
		return []Finding{{"xdp-mode", Wrong, err.Error(), ""}}
	}
	mode := Finding{Check: "xdp-mode", Level: OK, Text: "native"}
	if prog.Mode() == bpf.Generic {
		mode.Level, mode.Text = Note, fmt.Sprintf("generic, several times slower: %v", prog.WhyGeneric())
	}
	zeroCopy := probeSockets(ifindex, queues)
	if err := prog.Close(); err != nil {
		zeroCopy = append(zeroCopy, Finding{"probe", Note, fmt.Sprintf("detaching: %v", err), ""})
	}
	return slices.Concat([]Finding{mode}, zeroCopy)
}

func probeSockets(ifindex, queues int) []Finding {
	umem, err := afxdp.NewUmem(afxdp.UmemConfig{Chunks: 64, ChunkBytes: 2048})
	if err != nil {
		return []Finding{{"zero-copy", Wrong, err.Error(), ""}}
	}
	var out []Finding
	granted := 0
	for q := range queues {
		zc, err := probeQueue(umem, ifindex, q)
		if err != nil {
			f := Finding{"queue", Wrong, err.Error(), ""}
			if errors.Is(err, afxdp.ErrQueueBusy) {
				f.Fix = "ss --xdp --processes   # shows who has it"
			}
			out = append(out, f)
			continue
		}
		if zc {
			granted++
		}
	}
	if err := umem.Close(); err != nil {
		out = append(out, Finding{"probe", Note, fmt.Sprintf("unmapping: %v", err), ""})
	}
	switch probed := queues - len(out); {
	case probed <= 0:
	case granted == probed:
		out = append(out, Finding{"zero-copy", OK, "granted", ""})
	default:
		out = append(out, Finding{"zero-copy", Note, fmt.Sprintf("granted on %d of %d queues; elsewhere each packet is copied once", granted, probed), ""})
	}
	return out
}

func probeQueue(umem *afxdp.Umem, ifindex, queue int) (zeroCopy bool, err error) {
	fill := []uint64{0, 2048}
	s, err := afxdp.Open(umem, afxdp.SocketConfig{Ifindex: ifindex, Queue: queue, RxEntries: 64, TxEntries: 64, Fill: fill})
	if err != nil {
		return false, err
	}
	zeroCopy = s.ZeroCopy()
	return zeroCopy, s.Close()
}
