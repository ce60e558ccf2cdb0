package lab

import "os/exec"

// Do runs f inside the host's network namespace, on an operating system thread of its own that ends with f, and returns f's error.
// Goroutines that f starts run outside; sockets that f opens stay inside. A panic or runtime.Goexit of f (as from testing's FailNow)
// continues in the caller.
func (h Host) Do(f func() error) error { return nil }

// Start starts cmd as a process of the host: in its network namespace, with a /sys that shows its interfaces, pinned to the given CPUs (not
// pinned when there are none). The caller waits for cmd as usual. cmd must not ask for a parent death signal: its parent is a thread that
// ends at once.
func (h Host) Start(cmd *exec.Cmd, cpus ...int) error { return nil }
