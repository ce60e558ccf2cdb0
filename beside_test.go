package fastrpc_test

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/bpf"
)

// Somebody else's XDP program, for xdp-loader: it counts IPv4 packets and passes them on.
//
//go:embed bpf/testdata/counting_bpfel.o
var countingObject []byte

// A server takes calls over AF_XDP while xdp-loader's program is on its interface, loaded before or while it serves: each sees the packets.
// When the server has gone, the other program is still there.
func TestXDPBesideLibxdp(t *testing.T) {
	const calls = 20
	w := cabled(t, 1)
	needDispatcher(t, w)
	nothingLeft(t)
	object := filepath.Join(t.TempDir(), "counting.o")
	must(t, os.WriteFile(object, countingObject, 0o600))
	w.query = "?program=dispatcher"
	loader := func(args ...string) (out []byte) {
		must(t, w.atServer(func() (err error) {
			out, err = exec.Command("xdp-loader", args...).CombinedOutput()
			if err != nil {
				err = fmt.Errorf("xdp-loader %v: %w\n%s", args, err, out)
			}
			return err
		}))
		return out
	}
	program := func(name string) (id ebpf.ProgramID) {
		for line := range strings.Lines(string(loader("status", "veth0"))) {
			var priority int
			if n, _ := fmt.Sscanf(strings.TrimSpace(line), "=> %d "+name+" %d", &priority, &id); n == 2 {
				return id
			}
		}
		t.Fatalf("xdp-loader does not see %s", name)
		return 0
	}

	loader("load", "-n", "counting", "veth0", object)
	s := echoServer()
	c := w.dial(t, w.serve(t, s))
	if name, _ := c.Transport(); !strings.HasPrefix(name, "xdp ") {
		t.Errorf("the client's transport is %q", name)
	}
	call := func() (theirs, ours uint64) {
		their, our := program("counting"), program("fastrpc_steer")
		t0, o0 := sum(t, their, "seen"), sum(t, our, "verdicts") // whose first is of the redirected
		for n := range calls {
			checkEcho(t, c, "echo", pattern(n*64))
		}
		ours = sum(t, our, "verdicts") - o0
		return sum(t, their, "seen") - t0, ours // read around ours, as heartbeats do not stop for it
	}
	if theirs, ours := call(); theirs < calls || ours < calls || theirs < ours {
		t.Errorf("of %d calls, the other program, which comes first, saw %d packets, and %d went to our sockets", calls, theirs, ours)
	}
	loader("load", "-n", "counting_too", "-P", "60", "veth0", object)
	if theirs, ours := call(); theirs < calls || ours < calls || theirs < ours {
		t.Errorf("after another one came: of %d calls, the other program saw %d packets, and %d went to our sockets", calls, theirs, ours)
	}
	if n := sum(t, program("counting_too"), "seen"); n > 2 {
		t.Errorf("a program behind ours saw %d packets", n)
	}
	hangUp(t, c)
	shutDown(t, s)
	if out := loader("status", "veth0"); !strings.Contains(string(out), "counting") || strings.Contains(string(out), "fastrpc") {
		t.Errorf("when the server has gone:\n%s", out)
	}
	bare(t, w.lab.Client())
	loader("unload", "veth0", "--all")
	bare(t, w.lab.Server())
}

// needDispatcher makes a BPF file system for the test, and skips when the kernel lets nobody replace functions or libxdp's tool is missing.
func needDispatcher(t *testing.T, w world) {
	t.Helper()
	dir := t.TempDir()
	must(t, unix.Mount("bpf", dir, "bpf", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	t.Setenv("LIBXDP_BPFFS", dir)
	err := w.atServer(func() error {
		p, err := bpf.Attach(w.lab.Server().Ifindex, bpf.Options{Dispatcher: true})
		if err == nil {
			err = p.Close()
		}
		return err
	})
	if errors.Is(err, unix.EPERM) {
		t.Skipf("this kernel lets nobody load BPF_PROG_TYPE_EXT, which dispatchers are made of: %v", err)
	}
	must(t, err)
	if _, err := exec.LookPath("xdp-loader"); err != nil {
		t.Skipf("needs xdp-loader ('apt-get install xdp-tools'): %v", err)
	}
}

// sum is the first counter of a program's map, over all CPUs.
func sum(t *testing.T, id ebpf.ProgramID, name string) (total uint64) {
	t.Helper()
	prog, err := ebpf.NewProgramFromID(id)
	must(t, err)
	defer prog.Close()
	info, err := prog.Info()
	must(t, err)
	maps, _ := info.MapIDs()
	for _, id := range maps {
		m, err := ebpf.NewMapFromID(id)
		must(t, err)
		defer m.Close()
		info, err := m.Info()
		must(t, err)
		switch {
		case info.Name != name:
		case info.Type == ebpf.PerCPUArray:
			var each []uint64
			must(t, m.Lookup(uint32(0), &each))
			for _, n := range each {
				total += n
			}
		default:
			must(t, m.Lookup(uint32(0), &total))
		}
	}
	return total
}
