package bench

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// exitWithParent ends the process when the writing end of in, a pipe, is closed and the parent is gone, or an order is obeyed, whose answer is for
// nobody: a call may take for ever, and so may a server's goodbye to clients that are gone. Else the process reads the end of in, and ends in order.
//
// The parent-death signal would not do: it comes when the thread ends that forked (prctl(2), PR_SET_PDEATHSIG), and that one lives only as long as
// it takes to enter the child's namespace.
func exitWithParent(in io.Reader, busy *atomic.Bool) {
	f, ok := in.(*os.File)
	if !ok {
		return
	}
	parent := os.Getppid()
	fd := []unix.PollFd{{Fd: int32(f.Fd())}} // no events: that nobody writes any more is told all the same
	for {
		n, err := unix.Poll(fd, -1)
		if n > 0 {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
	for !busy.Load() && os.Getppid() == parent { // an order may be in the pipe still, and a parent that ends closes its files first
		time.Sleep(10 * time.Millisecond)
	}
	os.Exit(1)
}
