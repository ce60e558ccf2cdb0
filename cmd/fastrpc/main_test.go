package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// The test binary is the program too: what it starts as a child of its own is run as such.
const asProgram = "FASTRPC_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" && !slices.Contains(os.Args, "-test.fuzzworker") { // a fuzz target's workers are children too, but tests
		main()
	}
	lockFile = filepath.Join(os.TempDir(), fmt.Sprintf("fastrpc-test-%d.lock", os.Getpid())) // tests of other packages measure, too
	drop = func(...cap.Value) error { return nil }
	os.Setenv(asProgram, "1")
	os.Setenv("GORACE", "atexit_sleep_ms=0") // else each child waits a second for reports when it exits
	code := m.Run()
	os.Remove(lockFile)
	os.Exit(code)
}

// fast runs the program in this process.
func fast(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	return fastContext(t.Context(), args...)
}

func fastContext(ctx context.Context, args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	code = run(ctx, args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

func TestUsageErrors(t *testing.T) {
	for _, c := range []struct {
		args string
		says string
	}{
		{"frobnicate", "frobnicate"},
		{"bench frobnicate", "frobnicate"},
		{"lab exec client", "at least 2"},
		{"doctor", "1 arg"},
		{"doctor --rdma mlx5_0 mlx5_1", "at most 1 arg"},
		{"version extra", "extra"},
		{"doctor --frobnicate lo", "--frobnicate"},
		{"doctor lo --cpus 3-1", "3-1"},
		{"bench compare --systems carrier-pigeon", "net-tcp"},
		{"bench compare --size 0", "--size"},
		{"bench compare --size 2000", "between 1 and"},
		{"bench compare --rounds x", "rounds"},
		{"serve --insecure", "--listen"},
		{"serve --listen udp://127.0.0.1:0", "--insecure"},
		{"serve --listen pigeon://127.0.0.1:0 --insecure", "udp, xdp, auto"},
		{"call udp://127.0.0.1:9", "2 arg"},
		{"call udp://127.0.0.1:9 echo", "--insecure"},
		{"call 127.0.0.1:9 echo --insecure", "127.0.0.1:9"},
		{"call udp://127.0.0.1:9 echo --insecure --data x --data-file y", "--data-file"},
		{"bench compare --requests 5 --duration 1s", "duration"},
		{"bench compare --cpus 1", "two CPUs"},
		{"bench compare --cpus 0,0", "cannot share CPU 0"},
		{"bench compare --cpus one,two", "--cpus"},
		{"bench compare --lab x --interface y", "either a lab"},
		{"bench compare --lab x --agent y:1", "either"},
		{"bench agent x", "unknown command"},
		{"decode", "1 arg"},
		{"setup", "1 arg"},
		{"setup eth0 --mode fast", "native"},
		{"setup eth0 --perm 0777", "0660"},
		{"setup eth0 --queues -1", "--queues"},
		{"setup eth0 --prefixes 10.0.0.0/33", "--prefixes"},
		{"setup eth0 --user nobody-of-that-name", "nobody-of-that-name"},
		{"decode a b", "1 arg"},
		{"decode x --port 70000", "--port"},
		{"decode x --port 0", "65535"},
		{"capture", "at least 1"},
		{"capture lo tcp", "not understood"},
		{"capture lo --count -1", "--count"},
		{"capture lo --buffer 0", "--buffer"},
		{"capture lo --buffer 9007199254740992", "--buffer"}, // in bytes more than an int holds
		{"stats a b", "at most 1"},
		{"stats lo --interval 0s", "--interval"},
	} {
		code, out, errOut := fast(t, strings.Fields(c.args)...)
		if code != exitUsage || out != "" {
			t.Errorf("%q: exit code %d, output %q; want %d and none", c.args, code, out, exitUsage)
		}
		if !strings.Contains(errOut, c.says) || strings.Count(errOut, "fastrpc: ") != 1 || !strings.Contains(errOut, "--help'") {
			t.Errorf("%q: error %q; want one that says %q and where the help is", c.args, errOut, c.says)
		}
	}
}

func TestFailureIsNoUsageError(t *testing.T) {
	code, out, errOut := fast(t, "lab", "exec", "--lab", "there-is-none", "client", "--", "true")
	if code != exitFailure || out != "" || strings.Count(errOut, "fastrpc: ") != 1 || strings.Contains(errOut, "Usage") {
		t.Errorf("exit code %d, output %q, error %q", code, out, errOut)
	}
	if !strings.Contains(errOut, "fastrpc lab up --lab there-is-none") {
		t.Errorf("%q does not say what to do", errOut)
	}
}

// Every command that a user sees explains itself, with an example that names it.
func TestHelp(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			if sub.Name() != "help" && sub.Name() != "completion" && !sub.Hidden {
				walk(sub)
			}
		}
		if c.Short == "" || c.Long == "" || !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s: Short %q, Long of %d bytes, Example %q", c.CommandPath(), c.Short, len(c.Long), c.Example)
		}
		args := append(strings.Fields(c.CommandPath())[1:], "--help")
		if code, out, errOut := fast(t, args...); code != exitOK || !strings.Contains(out, "Examples:") || errOut != "" {
			t.Errorf("%v: exit code %d, error %q", args, code, errOut)
		}
	}
	walk(rootCommand())
}

func TestVersion(t *testing.T) {
	if code, out, _ := fast(t, "version"); code != exitOK || !strings.HasPrefix(out, "fastrpc ") || strings.Count(out, "\n") != 1 {
		t.Errorf("exit code %d, output %q", code, out)
	}
}

func complete(t *testing.T, args ...string) []string {
	t.Helper()
	code, out, errOut := fast(t, append([]string{cobra.ShellCompNoDescRequestCmd}, args...)...)
	if code != exitOK {
		t.Fatalf("completing %q: %s", args, errOut)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[:len(lines)-1] // the last is the directive
}

func TestCompletion(t *testing.T) {
	if got := complete(t, "doctor", ""); !slices.Contains(got, "lo") {
		t.Errorf("doctor: %v, want interfaces", got)
	}
	if got := complete(t, "doctor", "lo", ""); len(got) != 0 {
		t.Errorf("doctor lo: %v, want nothing more", got)
	}
	if got := complete(t, "lab", "exec", ""); !slices.Equal(got, []string{"client", "server"}) {
		t.Errorf("lab exec: %v, want the hosts", got)
	}
	got := complete(t, "bench", "compare", "--systems", "ring,")
	if !slices.Contains(got, "ring,net-tcp") || slices.Contains(got, "ring,ring") {
		t.Errorf("--systems: %v, want what is not there yet", got)
	}
	if got := complete(t, "call", "xdp://192.0.2.7:9000", ""); !slices.Equal(got, []string{"echo", "sink", "source", "sleep"}) {
		t.Errorf("call: %v, want the methods", got)
	}
	if got := complete(t, "call", ""); !slices.Contains(got, "xdp://") || !slices.Contains(got, "auto://") {
		t.Errorf("call: %v, want the schemes", got)
	}
	if got := complete(t, "serve", "--listen", ""); !slices.Contains(got, "xdp://lo:") {
		t.Errorf("--listen: %v, want schemes with interfaces", got)
	}
	if got := complete(t, "capture", ""); !slices.Contains(got, "lo") {
		t.Errorf("capture: %v, want interfaces", got)
	}
	if got := complete(t, "decode", ""); !slices.Contains(got, "pcapng") {
		t.Errorf("decode: %v, want the ends of captures' names", got)
	}
	if code, out, _ := fast(t, "completion", "bash"); code != exitOK || !strings.Contains(out, "fastrpc") {
		t.Error("no completion script for bash")
	}
}

func TestDoctor(t *testing.T) {
	code, out, errOut := fast(t, "doctor", "lo", "--json")
	if code != exitFailure || !strings.Contains(out, `"interface": "lo"`) || errOut != "" {
		t.Errorf("exit code %d, output %q, error %q; want %d: loopback is not fit", code, out, errOut, exitFailure)
	}
	code, out, errOut = fast(t, "doctor", "--rdma", "no-such0")
	if code != exitFailure || !strings.Contains(out, "no-such0 is no RDMA device") || errOut != "" {
		t.Errorf("exit code %d, output %q, error %q; want %d: there is no such device", code, out, errOut, exitFailure)
	}
}
