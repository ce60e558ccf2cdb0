package doctor

import (
	"errors"
	"slices"
	"strings"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bpf"
)

func notProbed(fit, inUse bool) Finding {
	switch {
	case !fit:
	case inUse:
		return note("probe", "left out, because the interface is in use; what a process was granted stands in the name of its queues")
	default:
		return note("probe", "left out: which XDP mode is granted, and whether zero-copy is, shows only when it is tried")
	}
	return note("probe", "left out, because of what is wrong")
}

// probe takes the interface for a moment as xdp:// would, on each queue in turn, steers nothing, and gives all back.
func (m *machine) probe(page int) ([]Finding, *Granted) {
	d := &m.device
	options := bpf.Options{MultiBuffer: d.mtu > onePage(page)}
	prog, err := bpf.Attach(d.index, options)
	if err != nil {
		return []Finding{wrong("xdp-mode", "%v", err)}, nil
	}
	granted := Granted{Mode: prog.Mode().String()}
	mode := ok("xdp-mode", "native")
	if prog.Mode() == bpf.Generic {
		mode = note("xdp-mode", "generic, several times slower: %v", prog.WhyGeneric())
	}
	findings := m.probeSockets(&granted, options.MultiBuffer)
	if err := prog.Close(); err != nil {
		findings = append(findings, note("probe", "detaching: %v", err))
	}
	return slices.Concat([]Finding{mode}, findings), &granted
}

func (m *machine) probeSockets(granted *Granted, multiBuffer bool) (out []Finding) {
	d := &m.device
	umem, err := afxdp.NewUmem(afxdp.UmemConfig{Chunks: 64, ChunkBytes: 2048})
	if err != nil {
		return []Finding{wrong("zero-copy", "%v", err)}
	}
	var refused error // to one that wanted zero-copy
	for q := range d.queues {
		c := afxdp.SocketConfig{Ifindex: d.index, Queue: q, RxEntries: 64, TxEntries: 64, Fill: []uint64{0, 2048}, MultiBuffer: multiBuffer}
		zeroCopy, err := tryQueue(umem, c)
		if err != nil {
			f := wrong("queue", "%v", err)
			if errors.Is(err, afxdp.ErrQueueBusy) {
				f = f.mend("ss --xdp --processes")
			}
			out = append(out, f)
			continue
		}
		granted.Queues++
		if zeroCopy {
			granted.ZeroCopy++
		} else if d.zeroCopy() && refused == nil && granted.Mode == bpf.Native.String() {
			c.Mode = afxdp.ZeroCopy
			_, refused = tryQueue(umem, c)
		}
	}
	if err := umem.Close(); err != nil {
		out = append(out, note("probe", "unmapping: %v", err))
	}
	return append(out, judgeZeroCopy(*granted, d.zeroCopy(), refused))
}

func tryQueue(umem *afxdp.Umem, c afxdp.SocketConfig) (zeroCopy bool, err error) {
	s, err := afxdp.Open(umem, c)
	if err != nil {
		return false, err
	}
	return s.ZeroCopy(), s.Close()
}

// judgeZeroCopy finds the silent copy mode: a socket that does not insist gets copies without a word.
func judgeZeroCopy(g Granted, claimed bool, refused error) Finding {
	switch {
	case g.Queues == 0:
		return Finding{}
	case g.ZeroCopy == g.Queues:
		return ok("zero-copy", "granted on %s", plural(g.Queues, "queue"))
	case !claimed || g.Mode == bpf.Generic.String():
		return note("zero-copy", "granted on %d of %s; elsewhere each packet is copied once", g.ZeroCopy, plural(g.Queues, "queue"))
	case refused == nil:
		return note("zero-copy", "granted on %d of %s, though the driver says that it has it", g.ZeroCopy, plural(g.Queues, "queue"))
	}
	return note("zero-copy", "granted on %d of %s, though the driver says that it has it: %s", g.ZeroCopy, plural(g.Queues, "queue"),
		strings.TrimPrefix(refused.Error(), "afxdp: "))
}
