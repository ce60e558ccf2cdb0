package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	ossignal "os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/bench"
	"github.com/fastrpc/fastrpc/bench/result"
)

// openTerminal gives both ends of a pseudoterminal.
func openTerminal(t *testing.T) (here, there *os.File) {
	t.Helper()
	here, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close() })
	n, err := unix.IoctlGetInt(int(here.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(here.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		there, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return here, there
}

// A run that is interrupted says so with its exit code, writes what was measured, and leaves no lab. A terminal shows how far it is.
func TestBenchCompareSignals(t *testing.T) {
	for _, signal := range []syscall.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP} {
		if signal == unix.SIGHUP && ossignal.Ignored(signal) {
			continue // the tests run under nohup(1), and so does the command
		}
		file := filepath.Join(t.TempDir(), "result.json")
		var table bytes.Buffer
		here, there := openTerminal(t)
		cmd := exec.Command(os.Args[0], "bench", "compare", "--systems", "net-tcp,spin-tcp", "--duration", "50ms", "--rounds", "1000", "--wait", "--json", file)
		cmd.Stdout, cmd.Stderr = &table, there
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		there.Close()
		var said []byte
		for b := make([]byte, 1024); !bytes.Contains(said, []byte("round 2 of 1000  ")); {
			n, err := here.Read(b)
			if said = append(said, b[:n]...); err != nil {
				t.Fatalf("%v; the terminal shows %q", err, said)
			}
		}
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		rest, _ := io.ReadAll(here) // ends with EIO
		err := cmd.Wait()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 128+int(signal) || !bytes.Contains(rest, []byte("fastrpc: interrupted")) {
			t.Errorf("%v: %v, %q", signal, err, rest)
		}
		r, err := result.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Results[0].Rounds) < 1 || !strings.Contains(r.Interrupted, unix.SignalName(signal)) || !strings.Contains(table.String(), "net-tcp") {
			t.Errorf("%v: interrupted by %q, %+v\n%s", signal, r.Interrupted, r.Results[0], table.String())
		}
		left, err := filepath.Glob(fmt.Sprintf("/run/netns/fastrpc-bench-%d-*", cmd.Process.Pid))
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

// The second of two runs says who the first is, and nothing of it is written.
func TestBenchCompareTwice(t *testing.T) {
	unlock, err := bench.Lock(t.Context(), lockFile, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	file := filepath.Join(t.TempDir(), "result.json")
	code, out, errOut := fast(t, "bench", "compare", "--json", file)
	if code != exitFailure || out != "" || !strings.Contains(errOut, fmt.Sprintf("process %d", os.Getpid())) || !strings.Contains(errOut, "--wait") {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("a report: %v", err)
	}
	if code, _, errOut = fast(t, "bench", "compare", "--systems", "carrier-pigeon"); code != exitUsage {
		t.Errorf("a mistake waits for the lock: exit code %d: %s", code, errOut)
	}
}

// A run of systems none of which can do it is a failure, with the reasons, and no empty table.
func TestBenchCompareNothing(t *testing.T) {
	code, out, errOut := fast(t, "bench", "compare", "--workload", "bulk", "--systems", "net-udp,grpc", "--duration", "50ms", "--rounds", "1")
	if code != exitFailure || !strings.Contains(errOut, "nothing was measured") || !strings.Contains(out, "net-udp: has no workload bulk") ||
		strings.Contains(out, "system") {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
}

// A peer that is not built is missing, and no reason to stop.
func TestBenchCompareMissing(t *testing.T) {
	code, out, errOut := fast(t, "bench", "compare", "--systems", "net-tcp,grpc", "--requests", "100", "--rounds", "1")
	if code != exitOK || !strings.Contains(out, "missing") || !strings.Contains(out, "make peers") {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
}

func TestBarLine(t *testing.T) {
	p := bench.Progress{Done: 5, Runs: 20, Left: 61400 * time.Millisecond, Round: 2, Rounds: 5, System: "net-tcp", Step: bench.Measuring}
	const want = "[#####...............]  25 %  round 2 of 5  net-tcp measures  1m1s left"
	if got := barLine(p, result.AxisNone, 200); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := barLine(p, result.AxisNone, 30); got != want[:29] {
		t.Errorf("%q in 30 columns", got)
	}
	p.Point.Size = 2048
	if got := barLine(p, result.AxisSize, 200); !strings.Contains(got, "net-tcp at 2 KiB measures") {
		t.Errorf("%q does not show the point", got)
	}
	if got := barLine(bench.Progress{}, result.AxisNone, 200); !strings.Contains(got, "  0 %") {
		t.Errorf("%q at the beginning", got)
	}
}

// What a user of two machines types: the agent's line has all that the other machine needs.
func TestBenchAgent(t *testing.T) {
	t.Setenv(tokenVariable, "")
	ctx, cancel := context.WithCancel(t.Context())
	log, w := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"bench", "agent", "--listen", "127.0.0.1:0"}, strings.NewReader(""), io.Discard, w)
		w.Close()
	}()
	defer func() {
		cancel()
		if code := <-ended; code != exitOK {
			t.Errorf("agent: exit code %d", code)
		}
	}()
	lines := bufio.NewScanner(log)
	var token, port string
	for token == "" && lines.Scan() {
		if _, after, ok := strings.Cut(lines.Text(), tokenVariable+"="); ok {
			token, _, _ = strings.Cut(after, " ")
			_, port, _ = strings.Cut(after, "HOST:")
		}
	}
	go func() { _, _ = io.Copy(io.Discard, log) }()
	compare := []string{"bench", "compare", "--systems", "net-tcp,udp", "--requests", "100", "--rounds", "2", "--agent", "127.0.0.1:" + port}
	code, out, errOut := fast(t, compare...)
	if code != exitFailure || !strings.Contains(errOut, "wrong token") {
		t.Errorf("without the token: exit code %d: %s%s", code, out, errOut)
	}
	t.Setenv(tokenVariable, token)
	code, out, errOut = fast(t, compare...)
	if code != exitOK || !strings.Contains(out, "net-tcp") || !strings.Contains(out, "two machines") {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
}
