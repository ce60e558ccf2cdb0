package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/bench"
)

// The test binary is the program of peers, too; what 'make peers' puts beside that is put beside this.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && (os.Args[1] == "list" || os.Args[1] == "child") {
		main()
		return
	}
	dir := filepath.Dir(os.Args[0])
	object, err := os.ReadFile("../../bpf/steer_bpfel.o")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "steer.o"), object, 0o644)
	}
	if err == nil {
		cc := exec.Command("cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", filepath.Join(dir, "xsk-libxdp"), "libxdp/xsk.c", "-lxdp", "-lbpf")
		cc.Stderr = os.Stderr
		err = cc.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "apt-get install gcc libxdp-dev libbpf-dev:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// added is what AddPeers gave, which panics when it is called twice.
var added = sync.OnceValues(func() (exe string, err error) {
	if exe, err = os.Executable(); err == nil {
		err = bench.AddPeers(exe)
	}
	return exe, err
})

// addPeers makes this program's systems known to bench.Compare and returns the program.
func addPeers(t *testing.T) string {
	t.Helper()
	exe, err := added()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// Every AF_XDP socket carries every workload that it says it has, to the end and without a wrong byte.
func TestPeers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces and loads BPF programs")
	}
	exe := addPeers(t)
	for _, c := range []bench.Config{
		{Workload: bench.Latency, Size: 64, Requests: 200},
		{Workload: bench.Flood, Size: 64, Duration: 100 * time.Millisecond},
		{Workload: bench.Flood, Size: 1500, Duration: 100 * time.Millisecond},
	} {
		c.Systems, c.Rounds, c.Child = []string{"libxdp", "libxdp-tx", "libxdp-rx", "asavie"}, 2, []string{exe, "child"}
		r, err := bench.Compare(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		for _, res := range r.Results {
			if res.Error != "" || len(res.Rounds) != 2 || res.Rounds[1].PerSec <= 0 || (res.Rounds[1].Latency != nil) != (c.Workload == bench.Latency) {
				t.Errorf("%s of %s, %d bytes: %+v", c.Workload, res.System, c.Size, res)
			}
		}
	}
}
