package guest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/internal/guest"
)

const module = "github.com/fastrpc/fastrpc/"

// suite is what runs in guests, a row each. The program must exit with 0, and itself fail where it gets less from a device than it is there for:
// what it skips is not seen here.
var suite = []struct {
	name    string
	build   func(ctx context.Context, pkg string) ([]byte, error)
	pkg     string
	nics    []guest.NIC
	modules []string
	args    []string
	files   func(*testing.T) map[string][]byte
}{
	{
		name: "RPC over virtio_net", build: guest.BuildProgram, pkg: module + "internal/guest/echo",
		nics: pair(guest.VirtioNet),
	},
	{
		name: "RPC over igb", build: guest.BuildProgram, pkg: module + "internal/guest/echo",
		nics: pair(guest.IGB),
	},
	{
		name: "busy polling of virtio_net", build: guest.BuildProgram, pkg: module + "internal/guest/poll",
		nics: pair(guest.VirtioNet),
	},
	{
		name: "conformance over virtio_net", build: guest.BuildTest, pkg: module + "afxdp/conform",
		nics: pair(guest.VirtioNet), args: zeroCopy,
	},
	{
		name: "conformance over igb", build: guest.BuildTest, pkg: module + "afxdp/conform",
		nics: pair(guest.IGB), args: zeroCopy,
	},
	{
		name: "doctor", build: guest.BuildTest, pkg: module + "internal/doctor",
		modules: append(rdmaModules, "xsk_diag"), args: []string{"-test.v"},
	},
	{
		name: "steering beside libxdp", build: guest.BuildTest, pkg: module + "bpf",
		modules: []string{"veth"}, args: []string{"-test.v", "-test.run", "Dispatcher"}, files: libxdp,
	},
	{
		name: "RPC beside libxdp", build: guest.BuildTest, pkg: module,
		modules: []string{"veth"}, args: []string{"-test.v", "-test.run", "Libxdp"}, files: libxdp,
	},
	{
		name: "sharing of an interface", build: guest.BuildTest, pkg: module + "cmd/fastrpc",
		modules: []string{"veth"}, args: []string{"-test.v", "-test.run", "^(TestSetup|TestServeInDispatcher)$"},
	},
}

// pair is two ports of a kind on one cable.
func pair(n guest.NIC) []guest.NIC { return []guest.NIC{n, n} }

// zeroCopy is the part of the conformance test that veth has no driver for. The rest runs without a guest.
var zeroCopy = []string{"-test.v", "-test.run", "TestConformance/zero-copy", "-conform.pair", "eth0,eth1", "-conform.require", "zero-copy"}

func TestGuests(t *testing.T) {
	kit := prepare(t)
	for _, row := range suite {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel() // a guest keeps one processor busy
			program, err := row.build(interrupted, row.pkg)
			if err != nil {
				t.Fatal(err)
			}
			c := guest.Config{Program: program, Args: row.args, NICs: row.nics, Modules: row.modules, Output: t.Output()}
			if row.files != nil {
				c.Files = row.files(t)
			}
			start := time.Now()
			res, err := kit.Run(interrupted, c)
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
			if row.files != nil && strings.Contains(res.Output, "--- SKIP") {
				t.Error("a test found a reason to skip where there is none")
			}
		})
	}
}
