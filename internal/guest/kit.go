package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// ErrUnavailable is the error of a machine that guests cannot run on; the message says what is missing, or what apt-get answered.
var ErrUnavailable = errors.New("guests are not available")

// A Kit is a QEMU and a kernel, unpacked.
type Kit struct {
	dir string
}

// What is where in a kit.
const (
	qemuDir  = "qemu"  // a root with QEMU, its firmware, and every library, down to the C library
	linuxDir = "linux" // a root with one kernel and its modules
)

// keyring verifies what is fetched.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// Prepare returns the kit of this user, which the first call on a machine fetches: some 230 MB of Debian packages, 350 MB unpacked. It writes
// to progress before it does. The kit stays as it is until its directory, fastrpc/guest in os.UserCacheDir, is removed; the next one will have
// the kernel that is in Debian's backports then. Other processes that prepare one meanwhile wait for the first.
func Prepare(ctx context.Context, progress io.Writer) (*Kit, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("guest: %w", err)
	}
	return prepareIn(ctx, filepath.Join(cache, "fastrpc", "guest"), progress)
}

func prepareIn(ctx context.Context, dir string, progress io.Writer) (*Kit, error) {
	k := &Kit{dir: filepath.Join(dir, "kit")}
	if _, err := os.Stat(k.dir); err == nil {
		return k, nil
	}
	if err := fetchable(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("guest: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("guest: lock %s: %w", dir, err)
	}
	defer unlock()
	if _, err := os.Stat(k.dir); err == nil { // made while we waited
		return k, nil
	}
	fmt.Fprintf(progress, "guest: fetching QEMU and a kernel from Debian into %s, once (some 230 MB)\n", dir)
	fresh := filepath.Join(dir, "fresh") // what a killed process left of it goes first
	defer os.RemoveAll(fresh)
	if err := errors.Join(os.RemoveAll(fresh), os.Mkdir(fresh, 0o755)); err != nil {
		return nil, fmt.Errorf("guest: %w", err)
	}
	if err := fetch(ctx, fresh); err != nil {
		return nil, err
	}
	if err := os.Rename(fresh, k.dir); err != nil {
		return nil, fmt.Errorf("guest: %w", err)
	}
	return k, nil
}

// fetchable says whether this machine can fetch a kit at all.
func fetchable() error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("%w: the guest's processor is amd64, this machine's is %s", ErrUnavailable, runtime.GOARCH)
	}
	if err := tools(); err != nil {
		return err
	}
	if _, err := os.Stat(keyring); err != nil {
		return fmt.Errorf("%w: %w: apt-get install debian-archive-keyring", ErrUnavailable, err)
	}
	return nil
}

// lock waits for the lock that a file stands for, until ctx ends.
func lock(ctx context.Context, name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	got := make(chan error)
	go func() {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX) // which cannot be called off
		select {
		case got <- err:
		case <-ctx.Done():
			f.Close()
		}
	}()
	select {
	case err := <-got:
		if err != nil {
			f.Close()
			return nil, err
		}
		return func() { f.Close() }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
