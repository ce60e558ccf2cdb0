package guest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/internal/guest"
)

// rdmaModules are soft-RoCE and what user space needs to reach it.
var rdmaModules = []string{"ib_uverbs", "rdma_ucm", "rdma_rxe", "veth"}

// rdmaTimeout bounds a row. On an idle machine the longest takes a minute, ten with the race detector and nothing cut short.
const rdmaTimeout = 15 * time.Minute

// haveRDMA skips the test where programs with RDMA cannot be built, or fails it if guests are required.
func haveRDMA(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("gcc")
	if err == nil {
		_, err = os.Stat("/usr/include/infiniband/verbs.h")
	}
	if err == nil {
		_, err = os.Stat("/usr/include/rdma/rdma_cma.h")
	}
	if err == nil {
		return
	}
	const advice = "'apt-get install gcc libc6-dev libibverbs-dev librdmacm-dev ibverbs-providers' to include RDMA"
	if os.Getenv(required) != "" {
		t.Fatalf("%v: %s", err, advice)
	}
	t.Skipf("%v: %s", err, advice)
}

// rdmaFiles are the libraries of RDMA as this machine has them.
func rdmaFiles(t *testing.T, program []byte) map[string][]byte {
	t.Helper()
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
	{name: "links", pkg: module + "transport/rdma"},
	{name: "verbs", pkg: module + "rdma", args: benchmarks},
	{name: "removal", pkg: module + "rdma/rxetest"},
	{name: "example", pkg: module + "rdma/examples/kv", args: benchmarks},
	{name: "doctor", pkg: module + "internal/doctor", args: []string{"-test.run", "^TestSoftRoCE$"}},
	{name: "calls", pkg: root, args: []string{"-rdma", "-test.run", anyOf(
		"TestDialCanceledAtEveryMoment", "TestDeadlineTravels", "TestDeadlinePassesInTheQueue", "TestSlowHandlerMeetsTheDeadline",
		"TestQueueWaitGivenUp", "TestCallErrors", "TestMoreCallsThanFrames", "TestMoreHandlersThanFrames", "TestRepliesOutliveTheirClient",
		"TestFullPoolRefuses", "TestShutdownDrains", "TestShutdownOverAStuckHandler", "TestCloseWithCallsInProgress", "TestFlood",
	)}},
	{name: "bench", pkg: module + "cmd/fastrpc", args: []string{"-rdma", "-test.run", "^TestBenchCompareRDMA$"}},
	{name: "processes that are killed", pkg: root, cpus: 1, args: []string{"-rdma", "-test.run", anyOf(
		"TestServerKilledUnderLoad", "TestClientsKilledUnderLoad",
	)}},
}

// benchmarks has each run a few times, so that it cannot rot.
var benchmarks = []string{"-test.bench", ".", "-test.benchtime", "200x"}

var root = strings.TrimSuffix(module, "/")

func anyOf(tests ...string) string { return "^(" + strings.Join(tests, "|") + ")$" }

// thorough is the environment variable with which nothing of RDMA is cut short, and all of it runs under the race detector too.
const thorough = "FASTRPC_RDMA"

// TestRDMA runs the tests that need an RDMA device.
func TestRDMA(t *testing.T) {
	kit := prepare(t)
	haveRDMA(t)
	ways := map[string][]string{"": {"-tags", "rdma"}}
	if os.Getenv(thorough) != "" {
		ways[" with the race detector"] = []string{"-tags", "rdma", "-race"}
	}
	for how, flags := range ways {
		for _, row := range rdmaSuite {
			t.Run(row.name+how, func(t *testing.T) {
				t.Parallel()
				args := append([]string{"-test.v"}, row.args...)
				if how != "" || len(ways) == 1 {
					args = append(args, "-test.short")
				}
				program, err := guest.BuildCgoTest(interrupted, row.pkg, flags...)
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				res, err := kit.Run(interrupted, guest.Config{
					Program: program, Args: append(args, strings.Fields(os.Getenv("RDMA_ARGS"))...), CPUs: row.cpus,
					Modules: rdmaModules, Files: rdmaFiles(t, program), Output: t.Output(), Timeout: rdmaTimeout,
				})
				if res.Again != nil {
					t.Logf("started again: %v", res.Again)
				}
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%v; the console:\n%s", time.Since(start).Round(time.Millisecond), res.Console)
				if res.Exit != 0 {
					t.Errorf("exit status %d", res.Exit)
				}
			})
		}
	}
}

// TestRDMABench compares package rdma with perftest and writes the report to the file that RDMA_BENCH names: see make bench-rdma.
func TestRDMABench(t *testing.T) {
	file := os.Getenv("RDMA_BENCH")
	if file == "" {
		t.Skip("RDMA_BENCH names no file: measuring wants the machine alone")
	}
	kit := prepare(t)
	haveRDMA(t)
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
