package fastrpc_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc"
)

// The test binary is also the processes that the tests kill: with this in its environment it plays a part instead of running tests. It ends
// when its standard input does, so that no child outlives its test.
const childPart = "FASTRPC_TEST_PART"

var parts = map[string]func(args []string) error{
	"server":       playServer,
	"client":       playClient,
	"unprivileged": playUnprivileged,
}

// setUp runs before the tests, in their process alone.
var setUp = func() {}

func TestMain(m *testing.M) {
	part := os.Getenv(childPart)
	if part == "" {
		setUp()
		os.Exit(m.Run())
	}
	if err := parts[part](os.Args[1:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// child is a process that plays a part.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Reader
	stdin io.Closer
	ended bool
}

// startChild starts a process on the server's host, or on the client's when it plays the client.
func (w world) startChild(t testing.TB, part string, args ...string) *child {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), childPart+"="+part)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	switch {
	case w.lab == nil:
		err = cmd.Start()
	case part == "client":
		err = w.lab.Client().Start(cmd)
	default:
		err = w.lab.Server().Start(cmd)
	}
	must(t, err)
	c := &child{cmd: cmd, lines: bufio.NewReader(stdout), stdin: stdin}
	t.Cleanup(c.end)
	return c
}

// line reads what the child says next.
func (c *child) line(t testing.TB) string {
	t.Helper()
	line, err := c.lines.ReadString('\n')
	if err != nil {
		t.Fatalf("the child said %q and ended: %v", line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

// kill ends the child as kill -9 does.
func (c *child) kill(t testing.TB) {
	t.Helper()
	must(t, c.cmd.Process.Kill())
	c.end()
}

// end lets the child end by itself, and waits for it.
func (c *child) end() {
	if !c.ended {
		c.ended = true
		c.stdin.Close()
		_ = c.cmd.Wait()
	}
}

// playServer serves on a target. Its "record" methods append the request, 8 bytes, to a file before they answer: that outlives the
// process, however it ends.
func playServer(args []string) error {
	target, path := args[0], args[1]
	s := streamServer()
	if path != "" {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		record := func(w *fastrpc.Response, r *fastrpc.Request) error {
			if _, err := f.Write(r.Body()); err != nil {
				return err
			}
			return echo(w, r)
		}
		s.HandleInline("record", record)
		s.Handle("record by worker", record)
	}
	addr, err := s.Listen(context.Background(), target)
	if err != nil {
		return err
	}
	fmt.Println(addr.Port())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return s.Shutdown(context.Background())
}

// playClient calls without end, says so when the first calls have ended well, and again when one fails.
func playClient(args []string) error {
	c, err := fastrpc.Dial(context.Background(), args[0], insecure)
	if err != nil {
		return err
	}
	var calls atomic.Int64
	failed := make(chan error, 1)
	for g := range 8 {
		m := c.Method([]string{"echo", "worker"}[g%2])
		body := make([]byte, 100<<(2*g)) // up to 1.6 MB
		go func() {
			for {
				rep, err := m.Call(context.Background(), body)
				if err != nil {
					failed <- err
					return
				}
				rep.Release()
				if calls.Add(1) == 100 {
					fmt.Println("calling")
				}
			}
		}()
	}
	return <-failed
}

// playUnprivileged tries to serve after it has dropped all capabilities.
func playUnprivileged(args []string) error {
	runtime.LockOSThread() // capabilities are a thread's
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &make([]unix.CapUserData, 2)[0]); err != nil {
		return err
	}
	for _, target := range []string{args[0], "auto" + strings.TrimPrefix(args[0], "xdp")} {
		s := fastrpc.NewServer(insecure)
		_, err := s.Listen(context.Background(), target)
		text := strings.Join(s.Transports(), ", ")
		if err != nil {
			text = err.Error()
		}
		fmt.Println(fastrpc.CodeOf(err), strings.ReplaceAll(text, "\n", " "))
	}
	return nil
}

// journal reads what servers have recorded, as counts by ID.
func journal(t testing.TB, paths ...string) map[uint64]int {
	t.Helper()
	ran := map[uint64]int{}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		must(t, err)
		if len(b)%8 != 0 {
			t.Fatalf("%s has %d bytes", path, len(b))
		}
		for ; len(b) > 0; b = b[8:] {
			ran[binary.LittleEndian.Uint64(b)]++
		}
	}
	return ran
}
