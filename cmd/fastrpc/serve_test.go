package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/bpf"
	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
)

// serving waits for serve's line on standard error and returns the address in it.
func serving(t *testing.T, errOut io.Reader) (addr string) {
	t.Helper()
	line, err := bufio.NewReader(errOut).ReadString('\n')
	_, rest, ok := strings.Cut(line, " at ")
	addr, _, ok2 := strings.Cut(rest, " over ")
	if !ok || !ok2 {
		t.Fatalf("serve said %q (%v)", line, err)
	}
	return addr
}

// startServe serves in this process, and stops as Ctrl-C does when the test ends.
func startServe(t *testing.T, listen string) (addr string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "--listen", listen, "--insecure"}, strings.NewReader(""), io.Discard, w)
		w.Close()
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-ended; code != exitOK {
			t.Errorf("serve: exit code %d", code)
		}
		r.Close()
	})
	return serving(t, r)
}

func TestServeAndCall(t *testing.T) {
	for _, scheme := range []string{"udp", "tcp"} {
		t.Run(scheme, func(t *testing.T) { serveAndCall(t, scheme) })
	}
}

func serveAndCall(t *testing.T, scheme string) {
	target := scheme + "://" + startServe(t, scheme+"://127.0.0.1:0")
	for _, c := range []struct {
		method, data string
		code         int
		out, errOut  string
	}{
		{"echo", "hello", exitOK, "hello", ""},
		{"echo", "", exitOK, "", ""},
		{"sink", "hello", exitOK, "5", ""},
		{"source", "30", exitOK, "abcdefghijklmnopqrstuvwxyzabcd", ""},
		{"sleep", "1ms", exitOK, "", ""},
		{"source", "-1", exitStatus + int(fastrpc.InvalidArgument), "", "InvalidArgument"},
		{"source", "16777217", exitStatus + int(fastrpc.InvalidArgument), "", "InvalidArgument"},
		{"sleep", "long", exitStatus + int(fastrpc.InvalidArgument), "", "InvalidArgument"},
		{"sleep", "1h", exitStatus + int(fastrpc.DeadlineExceeded), "", "DeadlineExceeded"},
		{"nothing", "", exitStatus + int(fastrpc.Unimplemented), "", "not executed"},
	} {
		timeout := "20s"
		if c.data == "1h" {
			timeout = "100ms"
		}
		code, out, errOut := fast(t, "call", target, c.method, "--data", c.data, "--timeout", timeout, "--insecure")
		if code != c.code || out != c.out || !strings.Contains(errOut, c.errOut) || (c.code == exitOK) != (errOut == "") {
			t.Errorf("%s %q: exit code %d, output %.60q, error %q", c.method, c.data, code, out, errOut)
		}
		if strings.Count(errOut, "fastrpc: ") > 1 {
			t.Errorf("%s: %q says who speaks more than once", c.method, errOut)
		}
	}
}

func TestCallWithLargeMessages(t *testing.T) {
	target := "udp://" + startServe(t, "udp://127.0.0.1:0")
	const n = 300000
	if code, out, errOut := fast(t, "call", target, "source", "--data", fmt.Sprint(n), "--insecure"); code != exitOK || len(out) != n {
		t.Errorf("exit code %d, %d bytes, error %q", code, len(out), errOut)
	}
	file := t.TempDir() + "/request"
	if err := os.WriteFile(file, make([]byte, n), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errOut := fast(t, "call", target, "sink", "--data-file", file, "--insecure"); code != exitOK || out != fmt.Sprint(n) {
		t.Errorf("exit code %d, output %q, error %q", code, out, errOut)
	}
	if code, _, errOut := fast(t, "call", target, "sink", "--data-file", file+"-none", "--insecure"); code != exitFailure || !strings.Contains(errOut, "request-none") {
		t.Errorf("a file that is not there: exit code %d, error %q", code, errOut)
	}
}

func TestCallNobody(t *testing.T) {
	code, _, errOut := fast(t, "call", "udp://127.0.0.1:9", "echo", "--timeout", "200ms", "--insecure")
	if code != exitFailure || !strings.Contains(errOut, "udp://127.0.0.1:9") {
		t.Errorf("exit code %d, error %q", code, errOut)
	}
}

// serve on one host of a lab as a process of its own, calls from the other, over AF_XDP and across; then Ctrl-C.
func TestServeAndCallInLab(t *testing.T) {
	l := labtest.New(t, lab.Config{})
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h := l.Server()
	srv := exec.Command(exe, "serve", "--listen", "xdp://"+h.Interface+":9000", "--insecure")
	errOut, err := srv.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(srv); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Process.Kill() })
	serving(t, errOut)
	hasNoCapability(t, srv.Process.Pid)
	for _, scheme := range []string{"xdp", "udp", "auto"} {
		target := fmt.Sprintf("%s://%v:9000", scheme, h.IPv4)
		code, out, errOut := fast(t, "lab", "exec", "--lab", l.Name(), "client", "--", exe, "call", target, "echo", "--data", "hello", "--insecure")
		if code != exitOK || out != "hello" {
			t.Errorf("%s: exit code %d, output %q, error %q", target, code, out, errOut)
		}
	}
	if err := srv.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := srv.Wait(); err != nil {
		t.Errorf("serve after Ctrl-C: %v", err)
	}
	for _, h := range []lab.Host{l.Server(), l.Client()} {
		if err := h.Do(func() error {
			a, there, err := bpf.Attached(h.Ifindex)
			if there {
				t.Errorf("left behind on %s: %+v", h.Namespace, a)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	}
}
