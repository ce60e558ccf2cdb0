package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/bpf"
	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
)

const nobody = 65534

// pinDir is a folder to pin in, of a BPF file system of the test's own that every user may pass.
func pinDir(t *testing.T) string {
	t.Helper()
	root, err := os.MkdirTemp("/tmp", "fastrpc-test-bpf-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(root) })
	if err := unix.Mount("bpf", root, "bpf", 0, "mode=0755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(root, "fastrpc", "veth0")
}

// setUp runs setup on a host of a lab.
func setUp(t *testing.T, h lab.Host, args ...string) (out string) {
	t.Helper()
	if err := h.Do(func() error {
		code, o, errOut := fast(t, append([]string{"setup", h.Interface}, args...)...)
		if code != exitOK {
			t.Fatalf("setup %v: exit code %d, error %q", args, code, errOut)
		}
		out = o
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// unprivileged is this program as a process of a user that has the given capabilities and no other.
func unprivileged(caps []uintptr, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...) // not by its path, which the user may not pass
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, AmbientCaps: caps}
	return cmd
}

// serveUnprivileged serves with CAP_NET_RAW alone, until the test ends.
func serveUnprivileged(t *testing.T, h lab.Host, target string) *exec.Cmd {
	t.Helper()
	srv := unprivileged([]uintptr{unix.CAP_NET_RAW}, "serve", "--listen", target, "--insecure")
	errOut, err := srv.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(srv); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = srv.Process.Kill()
		_ = srv.Wait()
	})
	serving(t, errOut)
	return srv
}

// echoes calls with CAP_NET_RAW alone.
func echoes(t *testing.T, h lab.Host, target string) {
	t.Helper()
	call := unprivileged([]uintptr{unix.CAP_NET_RAW}, "call", target, "echo", "--data", "hello", "--timeout", "30s", "--insecure")
	var out, errOut strings.Builder
	call.Stdout, call.Stderr = &out, &errOut
	if err := h.Start(call); err != nil {
		t.Fatal(err)
	}
	if err := call.Wait(); err != nil || out.String() != "hello" {
		t.Fatalf("%s: %v, output %q, error %q", target, err, out.String(), errOut.String())
	}
}

// steered reads the counters of the program that is pinned on a host.
func steered(t *testing.T, h lab.Host, dir string) (c bpf.Counters) {
	t.Helper()
	if err := h.Do(func() error {
		p, err := bpf.OpenPinned(h.Ifindex, dir)
		if err != nil {
			return err
		}
		defer p.Close()
		c, err = p.Counters()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return c
}

// After setup, servers and clients of an ordinary user with CAP_NET_RAW alone share an interface, with ports and queues of their own, and
// servers keep no capability. A killed one leaves room for the next.
func TestSetup(t *testing.T) {
	l := labtest.New(t, lab.Config{Queues: 2})
	server, client := l.Server(), l.Client()
	dir, clientDir := pinDir(t), pinDir(t)
	out := setUp(t, server, "--user", fmt.Sprint(nobody), "--dir", dir)
	for _, says := range []string{"veth0 is set up", "native mode for 2 queues", dir, "CAP_NET_RAW", "ulimit -l 16384", "program=" + dir, "setup veth0 --remove"} {
		if !strings.Contains(out, says) {
			t.Errorf("setup says %q, which has no %q", out, says)
		}
	}
	if out := setUp(t, server, "--user", fmt.Sprint(nobody), "--dir", dir); !strings.Contains(out, "set up before") {
		t.Errorf("setup again says %q", out)
	}
	setUp(t, client, "--group", fmt.Sprint(nobody), "--dir", clientDir)

	first := serveUnprivileged(t, server, fmt.Sprintf("xdp://veth0:9000?program=%s&queues=0&frames=256", dir))
	second := serveUnprivileged(t, server, fmt.Sprintf("xdp://veth0:9001?program=%s&queues=1&frames=256", dir))
	for _, p := range []*exec.Cmd{first, second} {
		hasNoCapability(t, p.Process.Pid)
	}
	// veth gives what is sent from a queue to the queue of the same number.
	reach := func(port, queue int) {
		t.Helper()
		before, clientBefore := steered(t, server, dir), steered(t, client, clientDir)
		echoes(t, client, fmt.Sprintf("xdp://%v:%d?program=%s&queues=%d&frames=256", server.IPv4, port, clientDir, queue))
		after, clientAfter := steered(t, server, dir), steered(t, client, clientDir)
		// The client's one packet for another port asks for the neighbour.
		if after.Redirected == before.Redirected || after.NotOurPort > before.NotOurPort+1 || clientAfter.Redirected == clientBefore.Redirected {
			t.Errorf("port %d on queue %d passed the kernel: %+v, then %+v; the client's %+v, then %+v", port, queue, before, after, clientBefore, clientAfter)
		}
	}
	reach(9000, 0)
	reach(9001, 1)
	// What comes in on the other's queue goes to its owner all the same, through the kernel.
	before := steered(t, server, dir)
	echoes(t, client, fmt.Sprintf("xdp://%v:9000?program=%s&queues=1&frames=256", server.IPv4, clientDir))
	if after := steered(t, server, dir); after.NotOurPort < before.NotOurPort+2 || after.Redirected != before.Redirected {
		t.Errorf("port 9000 on queue 1: %+v, then %+v", before, after)
	}

	refused := func(caps []uintptr, target, says string) {
		t.Helper()
		srv := unprivileged(caps, "serve", "--listen", target, "--insecure")
		var errOut strings.Builder
		srv.Stderr = &errOut
		if err := server.Start(srv); err != nil {
			t.Fatal(err)
		}
		if err := srv.Wait(); err == nil || !strings.Contains(errOut.String(), says) {
			t.Errorf("%s: %v, %q, want %q", target, err, errOut.String(), says)
		}
	}
	raw := []uintptr{unix.CAP_NET_RAW}
	refused(raw, fmt.Sprintf("xdp://veth0:9002?program=%s&queues=0&frames=256", dir), "queue 0")
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	refused(raw, fmt.Sprintf("xdp://veth0:9001?program=%s&queues=0&frames=256", dir), "port is taken")
	refused(raw, "xdp://veth0:9000?queues=0&frames=256", "CAP_BPF") // a program of one's own needs more
	refused(nil, fmt.Sprintf("xdp://veth0:9000?program=%s&queues=0&frames=256", dir), "CAP_NET_RAW")
	serveUnprivileged(t, server, fmt.Sprintf("xdp://veth0:9000?program=%s&queues=0&frames=256", dir))
	reach(9000, 0)
	reach(9001, 1)

	// Without the program the kernel's sockets serve on.
	setUp(t, server, "--remove", "--dir", dir)
	if _, err := os.Stat(filepath.Dir(dir)); !os.IsNotExist(err) {
		t.Errorf("left behind: %v", err)
	}
	echoes(t, client, fmt.Sprintf("udp://%v:9001", server.IPv4))
}

// hasNoCapability looks at every thread of a process.
func hasNoCapability(t *testing.T, pid int) {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("no threads of process %d: %v", pid, err)
	}
	for _, thread := range threads {
		status, err := os.ReadFile(thread)
		if err != nil {
			t.Fatal(err)
		}
		for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
			if !strings.Contains(string(status), set+":\t0000000000000000\n") {
				t.Errorf("%s: %s is not empty: %s", thread, set, status)
			}
		}
	}
}

// Where nothing else is said, setup, serve and doctor agree on the place under /sys/fs/bpf, and one who wants the interface alone is told.
func TestSetupByDefault(t *testing.T) {
	l := labtest.New(t, lab.Config{Queues: 1})
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// A host's processes have a /sys of their own, and so has the file system that is mounted in it: the pins end with the shell.
	script := exec.Command("sh", "-c", `"$0" setup veth0; mount -t bpf bpf /sys/fs/bpf && "$0" setup veth0 && "$0" doctor veth0 --no-probe
"$0" serve --listen xdp://veth0:9001 --insecure; "$0" serve --listen 'xdp://veth0:9000?program=pinned' --insecure
"$0" setup veth0 --remove && ls /sys/fs/bpf`, exe)
	var out strings.Builder
	script.Stdout = &out
	errOut, err := script.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Server().Start(script); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(errOut)
	for _, says := range []string{"mount -t bpf bpf /sys/fs/bpf", "program=pinned", "serving"} {
		if line, err := lines.ReadString('\n'); !strings.Contains(line, says) {
			t.Fatalf("%q (%v), want %q", line, err, says)
		}
	}
	target := fmt.Sprintf("xdp://%v:9000", l.Server().IPv4)
	if code, got, errOut := fast(t, "lab", "exec", "--lab", l.Name(), "client", "--", exe, "call", target, "echo", "--data", "hello", "--insecure"); got != "hello" {
		t.Errorf("call: exit code %d, output %q, error %q", code, got, errOut)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", script.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var srv int
	if _, err := fmt.Sscan(string(children), &srv); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(srv, unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := script.Wait(); err != nil {
		t.Error(err)
	}
	for _, says := range []string{"pinned in /sys/fs/bpf/fastrpc/veth0, for root", "set up by 'fastrpc setup'", "not set up any more"} {
		if !strings.Contains(out.String(), says) {
			t.Errorf("no %q in what setup, doctor and setup --remove said:\n%s", says, out.String())
		}
	}
	if strings.HasSuffix(out.String(), "fastrpc\n") {
		t.Errorf("left behind:\n%s", out.String())
	}
}

// In a dispatcher serve keeps what leaving it takes, and leaves it.
func TestServeInDispatcher(t *testing.T) {
	l := labtest.New(t, lab.Config{Queues: 1})
	root := filepath.Dir(filepath.Dir(pinDir(t)))
	srv := exec.Command("/proc/self/exe", "serve", "--listen", "xdp://veth0:9000?program=dispatcher", "--insecure")
	srv.Env = append(os.Environ(), "LIBXDP_BPFFS="+root)
	errOut, err := srv.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	h := l.Server()
	if err := h.Start(srv); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Process.Kill() })
	line, err := bufio.NewReader(errOut).ReadString('\n')
	if strings.Contains(line, "refused in spite of all capabilities") {
		t.Skipf("this kernel loads no program that goes into a dispatcher: %s", line)
	}
	if !strings.HasPrefix(line, "serving") {
		t.Fatalf("serve said %q (%v)", line, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", srv.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	const kept = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_PERFMON | 1<<unix.CAP_BPF
	if want := fmt.Sprintf("CapPrm:\t%016x\nCapEff:\t%016[1]x\n", kept); !strings.Contains(string(status), want) {
		t.Errorf("capabilities are not %s: %s", want, status)
	}
	if err := srv.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := srv.Wait(); err != nil {
		t.Errorf("serve after Ctrl-C: %v", err)
	}
	if err := h.Do(func() error {
		a, there, err := bpf.Attached(h.Ifindex)
		if there {
			t.Errorf("left behind: %+v", a)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}
