package bench

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An alarm lets a goroutine sleep to the microsecond while others run.
//
// Go's own timers cannot: where nothing runs, the scheduler sleeps in epoll_wait, whose limit is in milliseconds, and rounds what is shorter up
// to one (runtime/netpoll_epoll.go, netpoll, Go 1.26). A goroutine that spins instead keeps the scheduler from looking at the network at
// all where there is one processor: findRunnable (runtime/proc.go) takes whoever yielded from the global queue first. So the alarm is a
// descriptor in the netpoller, like a connection: a timerfd, whose timer the kernel does not round.
type alarm struct {
	file *os.File
	conn syscall.RawConn
	ring func(fd uintptr) bool // tells whether it is time; made once, for a closure is an allocation

	clock func() time.Duration
	due   time.Duration
	set   bool
	err   error
}

func newAlarm(clock func() time.Duration) (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("timerfd_create: %w", err)
	}
	a := &alarm{file: os.NewFile(uintptr(fd), "timerfd"), clock: clock}
	if a.conn, err = a.file.SyscallConn(); err != nil {
		a.file.Close()
		return nil, err
	}
	a.ring = a.rings
	return a, nil
}

// until sleeps until the clock shows due. It allocates nothing.
func (a *alarm) until(due time.Duration) error {
	a.due, a.set, a.err = due, false, nil
	if err := a.conn.Read(a.ring); err != nil {
		return fmt.Errorf("timerfd: %w", err)
	}
	return a.err
}

// rings is called at once, and after each event of the descriptor. The expirations are not read: setting the timer anew forgets them.
func (a *alarm) rings(fd uintptr) bool {
	left := a.due - a.clock()
	if left <= 0 {
		return true
	}
	if a.set {
		return false
	}
	a.set = true
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(left))}
	if err := unix.TimerfdSettime(int(fd), 0, &spec, nil); err != nil {
		a.err = fmt.Errorf("timerfd_settime: %w", err)
		return true
	}
	return false
}

func (a *alarm) close() { a.file.Close() }

// early is how long before a call is due its goroutine wakes up, to be awake when it is: from sleep it takes tens of microseconds, of a virtual
// processor all the more.
const early = 100 * time.Microsecond

// untilDue sleeps until a call is due. Where no other one is under way it spins at the end: nothing else has to run then.
func (a *alarm) untilDue(due time.Duration, open *atomic.Int64) error {
	if due-a.clock() > early {
		if err := a.until(due - early); err != nil {
			return err
		}
	}
	for a.clock() < due {
		if open.Load() > 0 {
			return a.until(due)
		}
	}
	return nil
}
