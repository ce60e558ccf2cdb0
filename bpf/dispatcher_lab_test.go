package bpf

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
)

//go:embed testdata/counting_bpfel.o
var countingObject []byte

// shared is a veth pair whose near end is for several programs, with a BPF file system of its own.
type shared struct {
	*vethPair
	object string // for xdp-loader
}

// newShared skips where the kernel replaces no functions or libxdp's tool is missing.
func newShared(t *testing.T) *shared {
	t.Helper()
	needFreplace(t)
	if _, err := exec.LookPath("xdp-loader"); err != nil {
		t.Skipf("needs xdp-loader ('apt-get install xdp-tools'): %v", err)
	}
	s := &shared{newVethPair(t, 1), filepath.Join(t.TempDir(), "counting.o")}
	must(t, os.WriteFile(s.object, countingObject, 0o600))
	ownBPFFS(t)
	return s
}

// ownBPFFS mounts a BPF file system for this test, and has everybody use it.
func ownBPFFS(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	must(t, unix.Mount("bpf", dir, "bpf", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	t.Setenv("LIBXDP_BPFFS", dir)
}

// needFreplace skips when the kernel refuses the programs that replace functions.
func needFreplace(t *testing.T) {
	t.Helper()
	needRoot(t)
	target := loadedDispatcher(t, configOf(dispatcherVersion, make([]member, 1)))
	steer, err := loadSteer()
	must(t, err)
	e := steer.Programs[steerProgFastrpcSteer]
	e.Type, e.AttachType, e.AttachTarget, e.AttachTo = ebpf.Extension, ebpf.AttachNone, target, "prog0"
	var objs steerObjects
	if err := steer.LoadAndAssign(&objs, nil); errors.Is(err, unix.EPERM) {
		t.Skipf("this kernel lets nobody load BPF_PROG_TYPE_EXT (%v), which dispatchers are made of", err)
	} else if err != nil {
		t.Fatal(err)
	}
	objs.Close()
}

// xdpLoader runs libxdp's tool in the test's network namespace and returns what it wrote.
func xdpLoader(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("xdp-loader", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("xdp-loader %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// load has xdp-loader put one of the object's programs onto the interface.
func (s *shared) load(t *testing.T, program string, args ...string) {
	t.Helper()
	xdpLoader(t, append(append([]string{"load", "-n", program}, args...), "near", s.object)...)
}

// slot is a line of 'xdp-loader status'.
type slot struct {
	priority int
	name     string
	id       ebpf.ProgramID
}

// status lists the programs in the interface's dispatcher as libxdp sees them.
func (s *shared) status(t *testing.T) (slots []slot, names string) {
	t.Helper()
	for line := range strings.Lines(xdpLoader(t, "status", "near")) {
		var one slot
		if n, _ := fmt.Sscanf(strings.TrimSpace(line), "=> %d %s %d", &one.priority, &one.name, &one.id); n == 3 {
			slots = append(slots, one)
			names += " " + one.name
		}
	}
	return slots, strings.TrimSpace(names)
}

// expect compares the names of the programs that run, in their order, with what libxdp says.
func (s *shared) expect(t *testing.T, want string) []slot {
	t.Helper()
	slots, names := s.status(t)
	if names != want {
		t.Fatalf("xdp-loader says that near runs %q, want %q", names, want)
	}
	return slots
}

// seen is how many packets a program has counted that xdp-loader loaded.
func seen(t *testing.T, id ebpf.ProgramID) (packets uint64) {
	t.Helper()
	prog, err := ebpf.NewProgramFromID(id)
	must(t, err)
	defer prog.Close()
	info, err := prog.Info()
	must(t, err)
	maps, _ := info.MapIDs()
	if len(maps) != 1 {
		t.Fatalf("program %d has the maps %v", id, maps)
	}
	m, err := ebpf.NewMapFromID(maps[0])
	must(t, err)
	defer m.Close()
	must(t, m.Lookup(uint32(0), &packets))
	return packets
}

// left lists what is in the folder of dispatchers.
func left(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(os.Getenv("LIBXDP_BPFFS"), "xdp"))
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// running is the configuration of the dispatcher that near runs.
func (s *shared) running(t *testing.T) dispatcherConfig {
	t.Helper()
	a, ok, err := Attached(s.index())
	if err != nil || !ok || a.Dispatcher < dispatcherVersion || a.Dispatcher > dispatcherNewest {
		t.Fatalf("near runs %+v, %v; want a dispatcher", a, err)
	}
	prog, err := ebpf.NewProgramFromID(ebpf.ProgramID(a.ProgramID))
	must(t, err)
	defer prog.Close()
	c, err := readDispatcher(prog)
	must(t, err)
	return c
}
