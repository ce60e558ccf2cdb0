package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The second of two is told who the first is; it gets the lock when the first ends, however that ends.
func TestLock(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	unlock, err := Lock(t.Context(), file, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Lock(t.Context(), file, nil)
	if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), fmt.Sprintf("process %d (%s", os.Getpid(), os.Args[0])) {
		t.Fatalf("%v, want ErrBusy and this process", err)
	}
	unlock2, err := Lock(t.Context(), file, func(err error) {
		if !errors.Is(err, ErrBusy) {
			t.Errorf("waits for %v", err)
		}
		unlock()
	})
	if err != nil {
		t.Fatal(err)
	}
	defer unlock2()
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := Lock(ctx, file, func(error) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want an end of waiting", err)
	}
}

// A holder that is killed holds nothing.
func TestLockOfTheDead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	cmd := exec.Command(childCommand(t)[0], lockArg, file)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err = out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	unlock, err := Lock(t.Context(), file, func(busy error) {
		if !strings.Contains(busy.Error(), fmt.Sprintf("process %d ", cmd.Process.Pid)) {
			t.Errorf("%v, want process %d", busy, cmd.Process.Pid)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if err := cmd.Wait(); err == nil {
		t.Error("the holder ended by itself")
	}
}

// What another user wrote there does no harm.
func TestLockHolderIsPrintable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	if err := os.WriteFile(file, []byte("\x1b[2J\xff evil\nmore"), 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := openLock(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := holder(f); got != "?[2J? evil" {
		t.Errorf("%q", got)
	}
}
