package fastgrpc_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/fastgrpc"
	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
	_ "github.com/fastrpc/fastrpc/transport/tcp"
	_ "github.com/fastrpc/fastrpc/transport/udp"
	_ "github.com/fastrpc/fastrpc/transport/xdp"
)

// The test binary is also the processes of the tests over a network: with this in its environment it plays a part instead of running tests.
// It ends when its standard input does, so that no child outlives its test.
const childPart = "FASTGRPC_TEST_PART"

var parts = map[string]func(args []string) error{
	"interop server": playInteropServer,
	"interop case":   playInteropCase,
	"example server": playExampleServer,
	"example client": playExampleClient,
}

func TestMain(m *testing.M) {
	part := os.Getenv(childPart)
	if part == "" {
		os.Exit(m.Run())
	}
	if err := parts[part](os.Args[1:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// patience bounds what has to happen on a loaded machine, and fails what does not.
const patience = 30 * time.Second

// schemes are the transports that the tests over a network run over.
var schemes = []string{"xdp", "udp", "tcp"}

// start starts a process of a part on a host.
func start(t *testing.T, h lab.Host, part string, args ...string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), childPart+"="+part)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, h.Start(cmd))
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	return cmd, bufio.NewReader(stdout)
}

// startServer starts a server's process, and returns the target to dial.
func startServer(t *testing.T, l *lab.Lab, scheme, part string) string {
	t.Helper()
	at := l.Server().IPv4.String()
	if scheme == "xdp" {
		at = l.Server().Interface
	}
	_, lines := start(t, l.Server(), part, scheme+"://"+at+":0")
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("the server said %q and ended: %v", line, err)
	}
	return scheme + "://" + l.Server().IPv4.String() + ":" + strings.TrimSpace(line)
}

// runClient runs a client's process to its end, which has to be a good one.
func runClient(t *testing.T, l *lab.Lab, part string, args ...string) {
	t.Helper()
	cmd, lines := start(t, l.Client(), part, args...)
	said, err := io.ReadAll(lines)
	must(t, err)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, said)
	}
}

// serveProcess is what a server's process does.
func serveProcess(target string, register func(*fastgrpc.Server)) error {
	s := fastgrpc.NewServer(fastrpc.NewServer(fastrpc.WithInsecure()))
	register(s)
	addr, err := s.Listen(context.Background(), target)
	if err != nil {
		return err
	}
	fmt.Println(strconv.Itoa(int(addr.Port())))
	_, _ = io.Copy(io.Discard, os.Stdin)
	s.Stop()
	return nil
}

// newLab makes the two hosts.
func newLab(t *testing.T) *lab.Lab { return labtest.New(t, lab.Config{Queues: 1}) }

// pair serves over loopback, in this process, and connects.
func pair(t testing.TB, register func(*fastgrpc.Server), opts ...fastgrpc.ServerOption) func(...fastgrpc.DialOption) *fastgrpc.ClientConn {
	t.Helper()
	s := fastgrpc.NewServer(fastrpc.NewServer(fastrpc.WithInsecure()), opts...)
	register(s)
	addr, err := s.Listen(t.Context(), "udp://127.0.0.1:0")
	must(t, err)
	t.Cleanup(s.Stop)
	return func(opts ...fastgrpc.DialOption) *fastgrpc.ClientConn {
		t.Helper()
		cc, err := fastgrpc.Dial(t.Context(), "udp://"+addr.String(), append(opts, insecure)...)
		must(t, err)
		t.Cleanup(func() { must(t, cc.Close()) })
		return cc
	}
}

var insecure = fastgrpc.WithTransport(fastrpc.WithInsecure())

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var _ grpc.ClientConnInterface = (*fastgrpc.ClientConn)(nil)
