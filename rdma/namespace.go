//go:build rdma

package rdma

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace. An identifier of rdma_cm belongs to that of the thread that makes it (drivers/infiniband/core/cma.c,
// rdma_create_user_id), and goroutines move between threads.
type namespace struct{ fd int }

const ownNamespace = "/proc/thread-self/ns/net"

// openNamespace opens the calling thread's.
func openNamespace() (namespace, error) {
	fd, err := unix.Open(ownNamespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return namespace{}, fmt.Errorf("rdma: the thread's network namespace: %w", err)
	}
	return namespace{fd}, nil
}

func (n namespace) close() { _ = unix.Close(n.fd) }

// do runs f on a thread that is in the namespace; entering one takes CAP_SYS_ADMIN, unless the thread is there.
func (n namespace) do(f func() error) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := openNamespace()
	if err != nil {
		return err
	}
	defer own.close()
	same, err := n.is(own)
	if err != nil {
		return err
	}
	if same {
		return f()
	}
	if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("rdma: setns to the network namespace that the connection manager was opened in: %w", err)
	}
	defer func() {
		if e := unix.Setns(own.fd, unix.CLONE_NEWNET); e != nil {
			runtime.LockOSThread() // once more than it is unlocked: the thread ends with the goroutine, instead of serving others
			err = errors.Join(err, fmt.Errorf("rdma: setns back: %w", e))
		}
	}()
	return f()
}

func (n namespace) is(other namespace) (bool, error) {
	var a, b unix.Stat_t
	if err := errors.Join(unix.Fstat(n.fd, &a), unix.Fstat(other.fd, &b)); err != nil {
		return false, fmt.Errorf("rdma: %w", err)
	}
	return a.Dev == b.Dev && a.Ino == b.Ino, nil
}
