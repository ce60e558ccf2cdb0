// Package guest runs test programs under a kernel and on network cards that the machine itself does not have: a stock Debian kernel in
// QEMU, emulated in software, so that neither KVM nor privileges are needed. Debian's QEMU and kernel are fetched once, by apt-get, into a
// directory of the user's; nothing is installed.
//
//	kit, err := guest.Prepare(ctx, os.Stderr)
//	program, err := guest.BuildTest(ctx, "github.com/fastrpc/fastrpc/afxdp/conform")
//	res, err := kit.Run(ctx, guest.Config{Program: program, Args: []string{"-test.v"}, NICs: []guest.NIC{guest.VirtioNet, guest.VirtioNet}})
//
// Times in a guest say nothing about speed.
package guest

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// DefaultTimeout bounds a guest whose Config has no Timeout. It boots in seconds on an idle machine.
const DefaultTimeout = 5 * time.Minute

// A NIC is an emulated network card, and what its driver needs.
type NIC struct {
	Name   string // as QEMU calls the device
	module string
	args   string // further properties of the device
	port   bool   // it is PCI Express and wants a root port of its own
}

// Network cards.
var (
	// VirtioNet grants zero-copy from Linux 6.13 on, but only with the DMA API (VIRTIO_F_ACCESS_PLATFORM; drivers/net/virtio_net.c,
	// virtnet_xsk_pool_enable), which QEMU offers to modern devices alone.
	VirtioNet = NIC{Name: "virtio-net-pci", module: "virtio_net", args: ",iommu_platform=on,disable-legacy=on"}
	// IGB is Intel's 82576; it grants zero-copy from Linux 6.14 on. A program that is attached, and one that is detached, resets the card, and
	// its carrier is away for seconds. What it receives into is a whole number of KiB, rounded down (drivers/net/ethernet/intel/igb/igb_main.c,
	// igb_setup_srrctl): of a UMEM chunk of 2 KiB it uses 1 KiB, and drops longer packets.
	IGB = NIC{Name: "igb", module: "igb", port: true}
)

// Config says what runs in which guest.
type Config struct {
	Program []byte            // a static executable: see BuildTest
	Args    []string          // of Program
	NICs    []NIC             // eth0 and so on, all on one cable, up, without addresses; those of one kind next to each other
	Modules []string          // further kernel modules, such as veth
	Files   map[string][]byte // further files, executable, by their absolute paths; PATH is /
	Cable   *Cable            // NICs are on it, with those of other guests; nil: on one of their own
	CPUs    int               // 0 stands for 2. Processes that spin hand over sooner on one: the two take turns of some 100 ms
	// Parallel is for measuring ratios: the processors run side by side, and the clock is the machine's, slowed down; it should have two CPUs to
	// itself. Programs that poll, one on each processor, would wait for each other's turn without it.
	Parallel bool
	Timeout  time.Duration // for all of it, from the start of QEMU; 0 stands for DefaultTimeout
	Output   io.Writer     // is written what Program prints, as it comes; nil: nowhere
}

// Result is how Program ended.
type Result struct {
	Exit    int    // its exit status; 128 and a signal's number if that ended it; never above boot.MaxExit
	Output  string // what it printed, on either of its outputs
	Console string // what the kernel printed
	Again   error  // why it was started a second time; nil: it was not

	fruitless bool // it ended by itself before Program began
}

// Run boots a guest, runs the program in it as root with a file system in memory, and waits for its end. Every file system that a program of
// tests may need is mounted. A Result with an Exit other than 0 is no error; it is one if there is no exit status, for want of time or
// because the kernel panicked, and its message ends with the last that was seen. A guest that came to nothing before the program began says
// nothing about that: it is started again, once. Run may be called by several goroutines at once. A guest ends
// with Run, with ctx, and with the process that started it, however that ends; it leaves nothing behind.
func (k *Kit) Run(ctx context.Context, c Config) (Result, error) {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	initramfs, err := k.initramfs(ctx, c)
	if err != nil {
		return Result{}, fmt.Errorf("guest: initramfs: %w", err)
	}
	defer initramfs.Close()
	res, err := k.boot(ctx, c, initramfs)
	if err != nil && res.fruitless {
		again := fmt.Errorf("guest: before the program began, %w", err)
		res, err = k.boot(ctx, c, initramfs)
		res.Again = again
	}
	if err != nil {
		return res, fmt.Errorf("guest: %w", err)
	}
	return res, nil
}

// BuildTest returns the test binary of a package of this module, linked statically: what imports cgo without need does without.
func BuildTest(ctx context.Context, pkg string) ([]byte, error) {
	return goTool(ctx, pkg, static, "test", "-c")
}

// BuildProgram returns a program of this module, linked statically too.
func BuildProgram(ctx context.Context, pkg string) ([]byte, error) {
	return goTool(ctx, pkg, static, "build")
}

// BuildCgoTest returns the test binary of a package that needs cgo, built with further flags of go build; with -race all that is written to C's
// memory is checked for pointers of Go's, too. It opens libraries: see Libraries.
func BuildCgoTest(ctx context.Context, pkg string, flags ...string) ([]byte, error) {
	return goTool(ctx, pkg, "CGO_ENABLED=1", append([]string{"test", "-c"}, flags...)...)
}

// BuildCgoProgram is BuildCgoTest for a program.
func BuildCgoProgram(ctx context.Context, pkg string, flags ...string) ([]byte, error) {
	return goTool(ctx, pkg, "CGO_ENABLED=1", append([]string{"build"}, flags...)...)
}

const static = "CGO_ENABLED=0"

// goTool runs a command of the go tool that writes one file, and returns the file.
func goTool(ctx context.Context, pkg, cgo string, command ...string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "guest-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "out")
	cmd := exec.CommandContext(ctx, "go", append(command, "-ldflags=-s", "-o", file, pkg)...)
	cmd.Env = append(os.Environ(), cgo, "GOOS=linux", "GOARCH=amd64")
	if slices.Contains(command, "-race") {
		cmd.Env = append(cmd.Env, "GOEXPERIMENT=cgocheck2")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%v: %w\n%s", cmd, err, out)
	}
	return os.ReadFile(file)
}
