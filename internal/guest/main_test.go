package guest_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/guest"
)

// required is the environment variable that makes it a failure, instead of a reason to skip, that guests are not available.
const required = "FASTRPC_GUEST"

// interrupted ends with the first Ctrl-C, so that tests end, and clean up, before the process does.
var interrupted context.Context

// The test binary is also the program in the guests of harness_test.go, and a process outside that is killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "play" {
		play(os.Args[2:])
		return
	}
	var stop func()
	interrupted, stop = signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	code := m.Run()
	stop()
	os.Exit(code)
}

// prepare returns the kit, or skips the test where guests are not available.
func prepare(t *testing.T) *guest.Kit {
	t.Helper()
	if testing.Short() {
		t.Skip("no guests with -short")
	}
	dependOnTree(t)
	kit, err := guest.Prepare(interrupted, os.Stderr)
	if errors.Is(err, guest.ErrUnavailable) && os.Getenv(required) == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return kit
}

// dependOnTree makes every directory of this module an input of the test. What runs in guests is built by the test itself, so go test does
// not know of it, and would repeat a verdict from its cache after a change.
func dependOnTree(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == "bin" || strings.HasPrefix(d.Name(), ".") && path != "../..") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
