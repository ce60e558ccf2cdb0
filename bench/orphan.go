package bench

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// exitWithParent ends the process when the writing end of in, a pipe, is closed while an order is obeyed: its answer is for nobody, and a call may
// take for ever. A process that is not busy reads the end of in, and ends in order.
//
// The parent-death signal would not do: it comes when the thread ends that forked (prctl(2), PR_SET_PDEATHSIG), and that one lives only as long as
// it takes to enter the child's namespace.
func exitWithParent(in io.Reader, busy *atomic.Bool) {
	f, ok := in.(*os.File)
	if !ok {
		return
	}
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
	for !busy.Load() { // an order may be in the pipe still
		time.Sleep(10 * time.Millisecond)
	}
	os.Exit(1)
}
