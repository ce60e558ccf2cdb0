//go:build rdma

package rdma_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
)

// role makes the test program play one of roles, in a process of its own. It speaks by lines: its own on standard output, the test's on
// standard input. Where a role ends, its error is the last line.
const role = "RDMA_TEST_ROLE"

var roles = map[string]func(args []string) error{
	"exporter": exportUntilKilled,
	"importer": importUntilKilled,
	"peer":     peerUntilKilled,
	"memlock":  registerTooMuch,
}

// child is such a process.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Reader
	in    io.Writer
}

func start(t *testing.T, name string, args ...string) *child {
	t.Helper()
	c := &child{cmd: exec.CommandContext(t.Context(), "/proc/self/exe", args...)}
	c.cmd.Env = append(os.Environ(), role+"="+name)
	c.cmd.Stderr = os.Stderr
	c.lines = bufio.NewReader(must(c.cmd.StdoutPipe())(t))
	c.in = must(c.cmd.StdinPipe())(t)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.cmd.Wait() }) // its context is over by then
	return c
}

func (c *child) read(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(must(c.lines.ReadString('\n'))(t))
}

// kill returns when the process has ended, and with it all that it had.
func (c *child) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait()
}

func pages(n int) ([]byte, error) {
	return unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
}

// exportUntilKilled exports one region and tells its address.
func exportUntilKilled([]string) error {
	mem, err := pages(4096)
	if err != nil {
		return err
	}
	e, err := rdma.NewExporter(netip.MustParseAddrPort(rxetest.Addr+":0"), rdma.ExporterConfig{})
	if err != nil {
		return err
	}
	if _, err := e.Export("table", mem, anyRight, time.Hour); err != nil {
		return err
	}
	fmt.Println(e.Addr())
	select {}
}

// importUntilKilled opens a region of the exporter at an address.
func importUntilKilled(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	i, err := rdma.Dial(ctx, netip.MustParseAddrPort(args[0]))
	if err != nil {
		return err
	}
	r, err := i.Open(ctx, "table")
	if err != nil {
		return err
	}
	fmt.Println(r.Name(), "is open")
	select {}
}

// peerUntilKilled is an end of a reliable connection that no connection manager knows of. It tells its queue pair, address and key, and is
// told the other side's queue pair.
func peerUntilKilled([]string) error {
	c, err := rdma.Open(rxetest.Device)
	if err != nil {
		return err
	}
	port, err := c.Port(1)
	if err != nil {
		return err
	}
	from, err := port.GID(-1, netip.MustParseAddr(rxetest.Addr))
	if err != nil {
		return err
	}
	mem, err := pages(4096)
	if err != nil {
		return err
	}
	e, err := newEnd(c, mem)
	if err != nil {
		return err
	}
	fmt.Println(e.qp.Number(), e.mr.Addr(), e.mr.RKey())
	var number uint32
	if _, err := fmt.Scan(&number); err != nil {
		return err
	}
	if err := e.qp.ReadyRC(ready(from), rdma.Peer{GID: from.GID, QPN: number, Reads: 4}); err != nil {
		return err
	}
	fmt.Println("ready")
	select {}
}

// registerTooMuch registers more memory than a process without CAP_IPC_LOCK may.
func registerTooMuch([]string) error {
	runtime.LockOSThread() // capabilities are a thread's
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 64 << 10, Max: 64 << 10}); err != nil {
		return err
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&head, &caps[0]); err != nil {
		return err
	}
	caps[0].Effective &^= 1 << unix.CAP_IPC_LOCK
	if err := unix.Capset(&head, &caps[0]); err != nil {
		return err
	}
	c, err := rdma.Open(rxetest.Device)
	if err != nil {
		return err
	}
	pd, err := c.AllocPD()
	if err != nil {
		return err
	}
	mem, err := pages(1 << 20)
	if err != nil {
		return err
	}
	if _, err = pd.Register(mem, rdma.LocalWrite); !errors.Is(err, rdma.ErrMemlock) {
		return fmt.Errorf("too much: %v, want %w", err, rdma.ErrMemlock)
	}
	fmt.Println(err)
	if _, err := pd.Register(mem[:32<<10], rdma.LocalWrite); err != nil {
		return fmt.Errorf("what the limit allows: %w", err)
	}
	if _, err := pd.Register(mem, rdma.LocalWrite|rdma.OnDemand); err != nil {
		return fmt.Errorf("too much, on demand: %w", err)
	}
	return nil
}
