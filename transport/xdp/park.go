package xdp

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/transport"
)

// parking is how a Link's owner sleeps and is woken.
//
// Wake stores woken and then looks whether somebody waits; Wait says that it waits and then looks at woken. So one of them sees the other,
// and the eventfd is written only for a waiter. What Wait uses is used by no other method of the Link, which another goroutine may have
// taken over meanwhile.
type parking struct {
	woken   atomic.Bool
	waiting atomic.Bool

	mu      sync.Mutex // held over a write to eventFD, so that it is not closed, and its number given away, meanwhile
	eventFD int        // -1 once closed

	fds     [3]unix.PollFd
	timeout unix.Timespec
}

func (p *parking) open() (err error) {
	p.eventFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	return nil
}

func (p *parking) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.eventFD < 0 {
		return nil
	}
	err := unix.Close(p.eventFD)
	p.eventFD = -1
	return err
}

func (p *parking) wake() {
	p.woken.Store(true)
	if !p.waiting.Load() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.eventFD >= 0 {
		one := uint64(1)
		// It cannot fail but for a full counter, which wakes as well.
		_, _ = unix.Write(p.eventFD, (*[8]byte)(unsafe.Pointer(&one))[:])
	}
}

// wait sleeps until the AF_XDP socket is readable, one of the kernel's sockets has something, which ready tells, wake, or until has come. A
// negative descriptor is left out.
func (p *parking) wait(until transport.Time, xsk, ready int) (kernel bool, err error) {
	p.waiting.Store(true)
	defer p.waiting.Store(false)
	if p.woken.Swap(false) {
		return false, nil
	}
	var timeout *unix.Timespec
	if until != 0 {
		left := until.Sub(transport.Now())
		if left <= 0 {
			return false, nil
		}
		p.timeout = unix.NsecToTimespec(int64(left / time.Nanosecond))
		timeout = &p.timeout
	}
	for i, fd := range [...]int{p.eventFD, xsk, ready} {
		p.fds[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	}
	// Not a raw system call: the scheduler must know that this thread sleeps.
	if _, err := unix.Ppoll(p.fds[:], timeout, nil); err != nil {
		if err == unix.EINTR {
			return false, nil
		}
		return false, fmt.Errorf("xdp: ppoll: %w", err)
	}
	if p.fds[0].Revents != 0 {
		var count [8]byte
		_, _ = unix.Read(p.eventFD, count[:]) // EAGAIN: somebody else reset it, which is as well
		p.woken.Store(false)
	}
	return p.fds[2].Revents != 0, nil
}
