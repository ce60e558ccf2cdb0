package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bpf"
)

// steerProgram is the name of fastrpc's own program.
const steerProgram = "fastrpc_steer"

// checkAttached: a program that is there is never replaced. inUse says that it is fastrpc's, whose process is left in peace.
func checkAttached(root fs.FS, ifindex int) (f Finding, inUse bool) {
	a, ok, err := bpf.Attached(ifindex)
	switch {
	case err != nil:
		return Finding{"program", Note, err.Error(), ""}, false
	case !ok:
		return Finding{"program", OK, "no XDP program is attached", ""}, false
	case a.Program == steerProgram:
		return judgeInUse(a, linkHolder(root, a.LinkID)), true
	}
	return judgeAttached(a), false
}

func judgeInUse(a bpf.Attachment, pid int) Finding {
	holder := "a fastrpc process"
	if pid != 0 {
		holder += fmt.Sprintf(" (pid %d)", pid)
	}
	return Finding{"program", Note, fmt.Sprintf("%s is in use: %s holds it (program id %d, %v); another process cannot have it for xdp:// meanwhile",
		a.Interface, holder, a.ProgramID, a.Mode), ""}
}

// linkHolder finds a process that has the bpf_link open, by what /proc says of its descriptors; 0 when none can be seen.
func linkHolder(root fs.FS, id uint32) (pid int) {
	if id == 0 {
		return 0
	}
	line := fmt.Sprintf("\nlink_id:\t%d\n", id)
	fds, _ := fs.Glob(root, "proc/[0-9]*/fdinfo/*")
	for _, fd := range fds {
		b, err := fs.ReadFile(root, fd)
		if err == nil && strings.Contains("\n"+string(b), line) {
			pid, _ = strconv.Atoi(strings.Split(fd, "/")[1])
			return pid
		}
	}
	return 0
}

func judgeAttached(a bpf.Attachment) Finding {
	f := Finding{Check: "program", Level: Wrong}
	f.Text = fmt.Sprintf("XDP program %q (id %d, %v) is attached, by someone else, and is not replaced", a.Program, a.ProgramID, a.Mode)
	if a.Program == "" {
		f.Text = fmt.Sprintf("an XDP program (id %d, %v; its name takes CAP_SYS_ADMIN to see) is attached, by another fastrpc process or by someone else, "+
			"and is not replaced", a.ProgramID, a.Mode)
	}
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

func notProbed(fit, inUse bool) Finding {
	switch {
	case !fit:
	case inUse:
		return Finding{"probe", Note, "left out, because the interface is in use; what was granted stands in the name of its queues", ""}
	default:
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
