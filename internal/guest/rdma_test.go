package guest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/internal/guest"
)

// rdmaModules are soft-RoCE and what user space needs to reach it.
var rdmaModules = []string{"ib_uverbs", "rdma_ucm", "rdma_rxe", "veth"}

// rdmaFiles are the libraries of RDMA as this machine has them.
func rdmaFiles(t *testing.T, program []byte) map[string][]byte {
	t.Helper()
	if _, err := os.Stat("/usr/include/infiniband/verbs.h"); err != nil {
		const advice = "'apt-get install libibverbs-dev librdmacm-dev ibverbs-providers'"
		if os.Getenv(required) != "" {
			t.Fatalf("%v: %s", err, advice)
		}
		t.Skipf("%v: %s to include this one", err, advice)
	}
	files := map[string][]byte{}
	if err := guest.AddLibraries(interrupted, files, program); err != nil {
		t.Fatal(err)
	}
	providers, err := filepath.Glob("/usr/lib/*/libibverbs/librxe*.so")
	if err != nil || len(providers) != 1 {
		t.Fatalf("the provider of soft-RoCE is %v, %v", providers, err)
	}
	if err := guest.AddFiles(interrupted, files, providers[0], "/etc/libibverbs.d/rxe.driver"); err != nil {
		t.Fatal(err)
	}
	return files
}

// rdmaSuite is what runs on soft-RoCE, a row each.
var rdmaSuite = []struct {
	name, pkg string
	args      []string
	cpus      int
}{
	{name: "rdma", pkg: module + "rdma", args: benchmarks},
	{name: "rdma/examples/kv", pkg: module + "rdma/examples/kv", args: benchmarks},
	{name: "transport/rdma", pkg: module + "transport/rdma", args: benchmarks},
	{name: "doctor", pkg: module + "internal/doctor", args: []string{"-test.run", "SoftRoCE"}},
	{name: "calls", pkg: root, args: []string{"-rdma", "-test.run", anyOf(
		"TestDialCanceledAtEveryMoment", "TestDeadlineTravels", "TestDeadlinePassesInTheQueue", "TestSlowHandlerMeetsTheDeadline",
		"TestQueueWaitGivenUp", "TestCallErrors", "TestMoreCallsThanFrames", "TestRepliesOutliveTheirClient",
		"TestFullPoolRefuses", "TestShutdownDrains", "TestShutdownOverAStuckHandler", "TestCloseWithCallsInProgress", "TestFlood",
	)}},
	{name: "processes that are killed", pkg: root, cpus: 1, args: []string{"-rdma", "-test.run", anyOf(
		"TestServerKilledUnderLoad", "TestClientsKilledUnderLoad",
	)}},
}

// benchmarks has each run a few times, so that it cannot rot.
var benchmarks = []string{"-test.bench", ".", "-test.benchtime", "200x"}

var root = strings.TrimSuffix(module, "/")

func anyOf(tests ...string) string { return "^(" + strings.Join(tests, "|") + ")$" }

// TestRDMA runs the tests that need an RDMA device. They take minutes, and are for those who work on RDMA.
func TestRDMA(t *testing.T) {
	if os.Getenv("FASTRPC_RDMA") == "" {
		t.Skip("'make test-rdma' runs it")
	}
	kit := prepare(t)
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip(err)
	}
	for _, row := range rdmaSuite {
		t.Run(row.name, func(t *testing.T) {
			program, err := guest.BuildCgoTest(interrupted, row.pkg, "-tags", "rdma")
			if err != nil {
				t.Fatal(err)
			}
			args := append([]string{"-test.v"}, row.args...)
			res, err := kit.Run(interrupted, guest.Config{
				Program: program, Args: append(args, strings.Fields(os.Getenv("RDMA_ARGS"))...), CPUs: row.cpus,
				Modules: rdmaModules, Files: rdmaFiles(t, program), Output: t.Output(),
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("the console:\n%s", res.Console)
			if res.Exit != 0 {
				t.Errorf("exit status %d", res.Exit)
			}
		})
	}
}

// TestRDMABench compares package rdma with perftest and writes the report to the file that RDMA_BENCH names: see make bench-rdma.
func TestRDMABench(t *testing.T) {
	file := os.Getenv("RDMA_BENCH")
	if file == "" {
		t.Skip("RDMA_BENCH names no file: measuring wants the machine alone")
	}
	kit := prepare(t)
	program, err := guest.BuildCgoProgram(interrupted, module+"bench/verbs", "-tags", "rdma")
	if err != nil {
		t.Fatal(err)
	}
	files := rdmaFiles(t, program)
	for _, name := range []string{"ib_send_lat", "ib_write_lat", "ib_read_lat"} {
		if err := guest.AddFiles(interrupted, files, "/usr/bin/"+name); err != nil {
			t.Fatalf("%v: apt-get install perftest", err)
		}
		files["/"+name] = files["/usr/bin/"+name] // PATH is /
	}
	res, err := kit.Run(interrupted, guest.Config{
		Program: program, Args: append([]string{"--rxe", "--json", "-"}, strings.Fields(os.Getenv("RDMA_ARGS"))...),
		Modules: rdmaModules, Files: files, Parallel: true, Output: t.Output(),
	})
	if err != nil || res.Exit != 0 {
		t.Fatalf("exit status %d, %v\n%s", res.Exit, err, res.Console)
	}
	_, report, found := strings.Cut(res.Output, "\n{")
	if !found {
		t.Fatal("no report was printed")
	}
	if err := os.WriteFile(file, []byte("{"+report), 0o644); err != nil {
		t.Fatal(err)
	}
}
