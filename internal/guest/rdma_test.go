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

// TestRDMA runs the tests that need an RDMA device on soft-RoCE.
func TestRDMA(t *testing.T) {
	kit := prepare(t)
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip(err)
	}
	for _, pkg := range []string{"rdma", "rdma/examples/kv", "transport/rdma"} {
		t.Run(pkg, func(t *testing.T) { runRDMA(t, kit, pkg) })
	}
}

func runRDMA(t *testing.T, kit *guest.Kit, pkg string) {
	program, err := guest.BuildCgoTest(interrupted, module+pkg, "-tags", "rdma")
	if err != nil {
		t.Fatal(err)
	}
	res, err := kit.Run(interrupted, guest.Config{
		Program: program, Args: append([]string{"-test.v", "-test.bench", ".", "-test.benchtime", "200x"}, strings.Fields(os.Getenv("RDMA_ARGS"))...), Modules: rdmaModules, Files: rdmaFiles(t, program), Output: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the console:\n%s", res.Console)
	if res.Exit != 0 {
		t.Errorf("exit status %d", res.Exit)
	}
}
