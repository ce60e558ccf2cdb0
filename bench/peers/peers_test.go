package peers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/bench"
)

// programs is where the peers are, built as 'make peers' builds them.
var programs string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if programs, err = os.MkdirTemp("", "peers-"); err == nil {
		defer os.RemoveAll(programs)
		err = build("peers", "PEERS_DIR="+programs, "FASTRPC="+filepath.Join(programs, "fastrpc"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bench.AddPeers(programs, bench.Peers())
	return m.Run()
}

func build(args ...string) error {
	make := exec.Command("make", append([]string{"-s", "-C", "../.."}, args...)...)
	make.Stdout, make.Stderr = os.Stderr, os.Stderr
	return make.Run()
}

// Every system carries every workload that it says it has, to the end and without a wrong byte, as 'fastrpc bench compare' runs it.
func TestInALab(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces and loads BPF programs")
	}
	for _, c := range []bench.Config{
		{Workload: bench.Latency, Size: 64, Requests: 200},
		{Workload: bench.Rate, Size: 64, Outstanding: 32, Duration: 50 * time.Millisecond},
		{Workload: bench.Bulk, Size: 1 << 20, Duration: 50 * time.Millisecond},
		{Workload: bench.Flood, Size: 64, Duration: 50 * time.Millisecond},
		{Workload: bench.Flood, Size: 1500, Duration: 50 * time.Millisecond},
	} {
		for _, name := range bench.Peers() {
			s, err := bench.Lookup(name)
			if err != nil {
				t.Fatal(err)
			}
			if s.(bench.Loader).Has(c.Workload) {
				c.Systems = append(c.Systems, name)
			}
		}
		c.Rounds, c.Child = 2, []string{"/bin/false"} // each peer's processes are its own program's
		r, err := bench.Compare(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		for _, res := range r.Results {
			if res.Error != "" || len(res.Rounds) != 2 || res.Rounds[1].Ops <= 0 || (res.Rounds[1].Latency == nil) != (c.Workload == bench.Flood) {
				t.Errorf("%s of %s, %d bytes: %+v", c.Workload, res.System, c.Size, res)
			}
		}
	}
}

// A peer that cannot be built leaves the compiler's words behind, and the others are built.
func TestCannotBeBuilt(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\ncase $* in *./kitex) echo 'go: downloading x v1.0.0' >&2; echo 'out of luck' >&2; exit 1;; esac\nexec go \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := build("peer-kitex", "peer-arpc", "PEERS_DIR="+dir, "GO="+filepath.Join(dir, "go")); err != nil {
		t.Fatal(err)
	}
	why, err := os.ReadFile(filepath.Join(dir, "kitex.missing"))
	if err != nil || strings.TrimSpace(string(why)) != "out of luck" {
		t.Errorf("what is left of kitex: %q, %v", why, err)
	}
	for _, name := range []string{"kitex", "arpc.missing"} {
		if _, err := os.Stat(filepath.Join(dir, name)); !os.IsNotExist(err) {
			t.Errorf("%s: %v, want none", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "arpc")); err != nil {
		t.Error(err)
	}
}
