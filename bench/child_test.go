package bench

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
)

func loopback() *Endpoint {
	return &Endpoint{Interface: "lo", Local: netip.MustParseAddrPort("127.0.0.1:0"), Point: result.Point{Size: 64, Outstanding: 1}, Workload: Latency}
}

// A parent that is gone closes the control channel; that ends a server, and frees its port.
func TestChildEndsWithItsParent(t *testing.T) {
	in, parentOut := io.Pipe()
	parentIn, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- Child(in, out) }()
	if err := json.NewEncoder(parentOut).Encode(order{Do: "serve", System: "net-tcp", Endpoint: loopback()}); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(parentIn).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil || a.Ready == nil {
		t.Fatalf("answer %s: %v", line, err)
	}
	parentOut.Close()
	if err := <-ended; err != nil {
		t.Errorf("Child: %v", err)
	}
	if c, err := net.Dial("tcp", a.Ready.Addr.String()); err == nil {
		c.Close()
		t.Error("the server still listens")
	}
}

func TestChildRefusesNonsense(t *testing.T) {
	in := strings.NewReader("{\"do\":\"run\"}\nnot JSON\n{\"do\":\"serve\"}\n")
	var out strings.Builder
	if err := Child(in, &out); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), `"error"`); got != 3 {
		t.Errorf("%d errors in %q, want one for each order", got, out.String())
	}
}

// The parent gives up on a child that does not answer, and ends it although it is busy.
func TestHangingChild(t *testing.T) {
	var cmd *exec.Cmd
	p, err := startProcess("client", childCommand(t), func(c *exec.Cmd) error { cmd = c; return c.Start() })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.ask(t.Context(), order{Do: "connect", System: "test-hangs", Endpoint: loopback()}, setupLimit); err != nil {
		t.Fatal(err)
	}
	_, err = p.ask(t.Context(), order{Do: "warm", Requests: 1}, time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("%v, want a time-out", err)
	}
	if err := p.end(); err != nil {
		t.Errorf("end: %v", err)
	}
	if cmd.ProcessState == nil {
		t.Error("the process was not waited for")
	}
}

func TestMissingChild(t *testing.T) {
	before := openFiles(t)
	if _, err := startProcess("server", []string{"/nonexistent"}, func(c *exec.Cmd) error { return c.Start() }); err == nil {
		t.Fatal("a program that does not exist was started")
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d open files before, %d afterwards", before, after)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

func TestTail(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"one\ntwo\n", ": two"},
		{"x\npanic: why\n\ngoroutine 1:\n" + strings.Repeat("main.f(0x1)\n", 1000), ": panic: why"},
		{strings.Repeat("noise\n", 1000) + "fatal error: all asleep\n", ": fatal error: all asleep"},
	} {
		var got tail
		for _, line := range strings.SplitAfter(c.text, "\n") {
			if n, err := got.Write([]byte(line)); n != len(line) || err != nil {
				t.Fatal(n, err)
			}
		}
		if got.suffix() != c.want || len(got.buf) > headBytes+tailBytes {
			t.Errorf("%.30q: %q and %d bytes, want %q", c.text, got.suffix(), len(got.buf), c.want)
		}
	}
}

// A child whose parent is gone does not wait for a call that never ends.
func TestChildOfNobody(t *testing.T) {
	argv := childCommand(t)
	cmd := exec.Command(argv[0], argv[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	orders := json.NewEncoder(in)
	for _, o := range []order{{Do: "connect", System: "test-hangs", Endpoint: loopback(), Requests: 1}, {Do: "warm", Requests: 1}} {
		if err := orders.Encode(o); err != nil {
			t.Fatal(err)
		}
	}
	in.Close()
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%v, want exit code 1", err)
	}
}
