package lab

import (
	"fmt"
	"os/exec"

	"golang.org/x/sys/unix"
)

// Do runs f inside the host's network namespace, on an operating system thread of its own that ends with f, and returns f's error.
// Goroutines that f starts run outside; sockets that f opens stay inside. A panic or runtime.Goexit of f (as from testing's FailNow)
// continues in the caller.
func (h Host) Do(f func() error) error {
	ns, _, err := openMarked(h.Namespace)
	if err != nil {
		return err
	}
	defer unix.Close(ns)
	return inside(ns, f)
}

// Start starts cmd as a process of the host: in its network namespace, with a /sys that shows its interfaces, pinned to the given CPUs (not
// pinned when there are none). The caller waits for cmd as usual. cmd must not ask for a parent death signal: its parent is a thread that
// ends at once.
func (h Host) Start(cmd *exec.Cmd, cpus ...int) error {
	return h.Do(func() error {
		if err := ownSys(); err != nil {
			return fmt.Errorf("mount /sys of %s: %w", h.Namespace, privileged(err))
		}
		if err := pin(cpus); err != nil {
			return fmt.Errorf("pin to CPUs %v: %w", cpus, err)
		}
		return cmd.Start() // forks from this thread: the child inherits all of it
	})
}

// ownSys gives the thread a mount namespace whose /sys shows the thread's network namespace, as `ip netns exec` does: sysfs keeps the one
// it was mounted in.
func ownSys() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "none", unix.MS_SLAVE|unix.MS_REC, ""); err != nil { // nothing of ours goes back
		return err
	}
	var flags uintptr
	var sfs unix.Statfs_t
	if err := unix.Statfs("/sys", &sfs); err == nil && sfs.Flags&unix.ST_RDONLY != 0 {
		flags = unix.MS_RDONLY
	}
	// It may not be a mount at all; then the new one covers it.
	_ = unix.Unmount("/sys", unix.MNT_DETACH)
	return unix.Mount("sysfs", "/sys", "sysfs", flags, "")
}

// pin pins the thread.
func pin(cpus []int) error {
	if len(cpus) == 0 {
		return nil
	}
	var set unix.CPUSet
	for _, c := range cpus {
		set.Set(c)
	}
	if set.Count() == 0 {
		return unix.EINVAL
	}
	return unix.SchedSetaffinity(0, &set)
}
