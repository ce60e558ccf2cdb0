package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	_ "github.com/fastrpc/fastrpc/transport/tcp"
	_ "github.com/fastrpc/fastrpc/transport/udp"
	_ "github.com/fastrpc/fastrpc/transport/xdp"
)

// The test binary is its own child process.
const childArg = "bench-child"

// With this argument and a file it holds that lock, and ends only when it is killed.
const lockArg = "hold-lock"

func TestMain(m *testing.M) {
	for _, s := range []System{
		faulty{name: "test-refuses", serve: errors.New("no such luck")},
		faulty{name: "test-server-panics", serving: func() { panic("out of order") }},
		faulty{name: "test-crashes", call: func() error { os.Exit(3); return nil }},
		faulty{name: "test-panics", call: func() error { panic("out of luck\nand more") }},
		faulty{name: "test-dies", call: dieInSecondRound},
		faulty{name: "test-lies", call: func() error { return verify([]byte("b"), []byte("a")) }},
		faulty{name: "test-hangs", call: func() error { select {} }},
	} {
		Register(s)
	}
	if len(os.Args) == 2 && os.Args[1] == childArg {
		if err := Child(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 2 && (os.Args[1] == listPeers || os.Args[1] == peerChild) { // or a program of peers
		if err := PeerMain(os.Args[1:], os.Stdin, os.Stdout, renamed{netStream{"net-tcp", listenTCP, dialTCP}, "test-peer"}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 3 && (os.Args[1] == agentArg || os.Args[1] == driveArg) {
		if err := agentOrDriver(os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 3 && os.Args[1] == lockArg {
		if _, err := Lock(context.Background(), os.Args[2], nil); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("held")
		for {
			time.Sleep(time.Hour)
		}
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // else each child waits a second for reports when it exits
	os.Exit(m.Run())
}

func childCommand(t testing.TB) []string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{exe, childArg}
}

// renamed is another system under a name of its own.
type renamed struct {
	netStream
	name string
}

func (r renamed) Name() string { return r.name }

// faulty is a system that fails in one way.
type faulty struct {
	name    string
	serve   error
	serving func() // once it is ready; nil: nothing
	call    func() error
}

func (f faulty) Name() string { return f.name }
func (f faulty) Bypass() bool { return false }

func (f faulty) Serve(ctx context.Context, _ Endpoint, ready func(Ready)) error {
	if f.serve != nil {
		return f.serve
	}
	ready(Ready{Addr: netip.MustParseAddrPort("127.0.0.1:1")})
	if f.serving != nil {
		f.serving()
	}
	<-ctx.Done()
	return nil
}

func (f faulty) Connect(context.Context, Endpoint) (Caller, error) { return f, nil }
func (f faulty) Call([]byte) error                                 { return f.call() }
func (f faulty) Close() error                                      { return nil }

// dyingFile names a file in the environment.
const dyingFile = "FASTRPC_TEST_DYING"

// dieInSecondRound answers in the first process that calls it, and not in another one.
func dieInSecondRound() error {
	name := os.Getenv(dyingFile)
	own := []byte(strconv.Itoa(os.Getpid()))
	pid, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return os.WriteFile(name, own, 0o600)
	}
	if err == nil && !bytes.Equal(pid, own) {
		panic("out of luck")
	}
	return err
}
