package guest_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/guest"
)

// player is this test binary, for guests.
var player = sync.OnceValues(func() ([]byte, error) { return guest.BuildTest(interrupted, module+"internal/guest") })

// play plays a part: in a guest, or as the process that is killed while it runs one.
func play(args []string) {
	switch args[0] {
	case "exit":
		fmt.Println("to stdout")
		fmt.Fprintln(os.Stderr, "to stderr")
		code, _ := strconv.Atoi(args[1])
		os.Exit(code)
	case "signal":
		unix.Kill(unix.Getpid(), unix.SIGKILL)
	case "hang":
		fmt.Println("hanging")
	case "crash":
		fmt.Println(os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0))
	case "look":
		look()
		return
	case "host":
		kit, err := guest.Prepare(context.Background(), os.Stderr)
		if err == nil {
			program, _ := os.ReadFile(args[1])
			_, err = kit.Run(context.Background(), guest.Config{Program: program, Args: []string{"play", "hang"}, Output: os.Stdout})
		}
		fmt.Println("the guest ended:", err)
		return
	}
	for {
		unix.Pause()
	}
}

// look fails if the guest is not what a Config asks for.
func look() {
	for name, want := range map[string]string{
		"/sys/class/net/eth0/operstate": "up\n", "/sys/class/net/eth1/operstate": "up\n", "/sys/class/net/eth2/operstate": "up\n",
		"/sys/class/net/eth1/address": "52:54:00:00:00:02\n", "/sys/module/veth/initstate": "live\n", "/sys/module/tunnel4/initstate": "live\n",
	} {
		if got, err := os.ReadFile(name); string(got) != want {
			fmt.Printf("%s holds %q, %v; want %q\n", name, got, err, want)
			os.Exit(1)
		}
	}
}

// playing is a Config in which a part is played.
func playing(t *testing.T, args ...string) guest.Config {
	t.Helper()
	program, err := player()
	if err != nil {
		t.Fatal(err)
	}
	return guest.Config{Program: program, Args: append([]string{"play"}, args...)}
}

func TestExitStatus(t *testing.T) {
	kit := prepare(t)
	for want, args := range map[int][]string{3: {"exit", "3"}, 126: {"signal"}} {
		res, err := kit.Run(interrupted, playing(t, args...))
		if err != nil || res.Exit != want {
			t.Errorf("play %v: exit status %d, %v; want %d", args, res.Exit, err, want)
		}
		if want != 126 && res.Output != "to stdout\nto stderr\n" || want == 126 && !strings.Contains(res.Output, "killed") {
			t.Errorf("play %v: output %q", args, res.Output)
		}
	}
}

// Cards, their drivers, and modules with what they depend on are there when the program starts.
func TestConfig(t *testing.T) {
	c := playing(t, "look")
	c.NICs, c.Modules = []guest.NIC{guest.VirtioNet, guest.VirtioNet, guest.IGB}, []string{"veth", "sit"}
	res, err := prepare(t).Run(interrupted, c)
	if err != nil || res.Exit != 0 {
		t.Errorf("exit status %d, %v\n%s", res.Exit, err, res.Output)
	}
	c.Modules = []string{"no-such"}
	if _, err := prepare(t).Run(interrupted, c); err == nil || !strings.Contains(err.Error(), "no module no_such") {
		t.Errorf("a module that does not exist: %v", err)
	}
}

// A guest without a verdict is an error that shows its last words, and leaves neither processes nor files.
func TestNoVerdict(t *testing.T) {
	kit := prepare(t)
	for part, says := range map[string]string{"hang": "did not end within 8s", "crash": "Kernel panic - not syncing: sysrq triggered crash"} {
		c := playing(t, part)
		if part == "hang" {
			c.Timeout = 8 * time.Second // to boot in, or not: it ends in either case
		}
		t.Setenv("TMPDIR", t.TempDir())
		res, err := kit.Run(interrupted, c)
		if err == nil || !strings.Contains(err.Error(), says) || part == "crash" && res.Again != nil {
			t.Errorf("%s: error is %v, started again because of %v; want one that says %q", part, err, res.Again, says)
		}
		if kids := children(t, os.Getpid()); len(kids) != 0 {
			t.Errorf("%s: processes %v are left", part, kids)
		}
		if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) != 0 {
			t.Errorf("%s: %v is left", part, left)
		}
	}
}

// A guest that comes to nothing before the program begins is started a second time, and no third.
func TestStartedAgain(t *testing.T) {
	c := playing(t, "exit", "0")
	c.Files = map[string][]byte{"/init": []byte("no program")}
	res, err := prepare(t).Run(interrupted, c)
	for _, err := range []error{err, res.Again} {
		if err == nil || !strings.Contains(err.Error(), "Kernel panic") {
			t.Errorf("error is %v", err)
		}
	}
}

// A guest ends with the call's context, long before its time is up.
func TestCancel(t *testing.T) {
	kit := prepare(t)
	ctx, cancel := context.WithCancel(interrupted)
	c := playing(t, "hang")
	defer cancel()
	c.Output = writerFunc(func(p []byte) (int, error) {
		if bytes.Contains(p, []byte("\n")) {
			cancel()
		}
		return len(p), nil
	})
	if _, err := kit.Run(ctx, c); err == nil || !strings.Contains(err.Error(), "context canceled") || !strings.Contains(err.Error(), "hanging") {
		t.Errorf("error is %v", err)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A process that is killed has no chance to end its guest; the kernel does.
func TestKilled(t *testing.T) {
	prepare(t)
	program := playing(t).Program
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, program, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(interrupted, "/proc/self/exe", "play", "host", file)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "hanging\n" {
		t.Fatalf("the guest said %q, %v", line, err)
	}
	kids := children(t, cmd.Process.Pid)
	if len(kids) != 1 {
		t.Fatalf("it has %d children; want QEMU alone", len(kids))
	}
	qemu, err := unix.PidfdOpen(kids[0], 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(qemu)
	cmd.Process.Kill()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(qemu), Events: unix.POLLIN}}, 60_000)
	if n != 1 {
		t.Errorf("QEMU goes on: %v", err)
		unix.PidfdSendSignal(qemu, unix.SIGKILL, nil, 0)
	}
}

func children(t *testing.T, pid int) (pids []int) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil || len(lists) == 0 {
		t.Fatalf("the children of %d: %v", pid, err)
	}
	for _, name := range lists {
		text, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			t.Fatal(err)
		}
		for _, f := range strings.Fields(string(text)) {
			n, _ := strconv.Atoi(f)
			pids = append(pids, n)
		}
	}
	return pids
}
