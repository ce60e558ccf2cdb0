package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrBusy says that another benchmark runs on the machine.
var ErrBusy = errors.New("another benchmark runs on the machine")

// LockFile is the file whose lock a benchmark holds, one for all users of the machine.
func LockFile() string {
	dir := "/run/lock" // tmpfs that everybody writes to (FHS 3.0, 5.9)
	if unix.Access(dir, unix.W_OK) != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "fastrpc-bench.lock")
}

// Lock keeps other benchmarks off the machine: two at once would measure each other. The kernel drops the lock with its process, however
// that ends. While another one holds it Lock gives ErrBusy, with who that is and since when; or, if waiting is not nil, calls that once with
// the same error and blocks until the lock is free or ctx ends.
func Lock(ctx context.Context, file string, waiting func(error)) (unlock func(), err error) {
	f, err := openLock(file)
	if err != nil {
		return nil, fmt.Errorf("bench: the lock against a second benchmark: %w", err)
	}
	for said := false; ; said = true {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			sign(f)
			return func() { f.Close() }, nil // which drops the lock
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("bench: lock %s: %w", file, err)
		}
		busy := fmt.Errorf("bench: %w: %s", ErrBusy, holder(f))
		if waiting == nil {
			f.Close()
			return nil, busy
		}
		if !said {
			waiting(busy)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, context.Cause(ctx)
		case <-time.After(lockEvery):
		}
	}
}

// lockEvery is how often a lock that is held is tried again: a blocking flock(2) would not end with the context.
const lockEvery = 200 * time.Millisecond

// openLock opens the file, which any user may have made. It is not made by the same call: where fs.protected_regular is set, O_CREAT is
// refused for a file of another user in a directory that everybody writes to (fs/namei.c, may_create_in_sticky).
func openLock(file string) (*os.File, error) {
	for {
		f, err := os.OpenFile(file, os.O_RDWR|unix.O_NOFOLLOW, 0)
		if !errors.Is(err, os.ErrNotExist) {
			return f, err
		}
		f, err = os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if err == nil {
			return f, f.Chmod(0o666) // whatever the umask is
		}
		if !errors.Is(err, os.ErrExist) {
			return nil, err
		}
	}
}

// sign writes who holds the lock, for others to read. That is for people: what cannot be written is left out.
func sign(f *os.File) {
	line := fmt.Sprintf("process %d (%s), since %s\n", os.Getpid(), strings.Join(os.Args, " "), time.Now().Format(time.RFC3339))
	_ = f.Truncate(0)
	_, _ = f.WriteAt([]byte(line), 0)
}

// holder reads it. Another user may have written anything.
func holder(f *os.File) string {
	b := make([]byte, 512)
	n, _ := f.ReadAt(b, 0)
	line, _, _ := strings.Cut(string(b[:n]), "\n")
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, line)
	if line == "" {
		return "a process that did not say who it is"
	}
	return line
}
