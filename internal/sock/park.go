package sock

import (
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/transport"
)

// Parking is how the owner of a Link over one descriptor sleeps, in ppoll, and is woken, by an eventfd.
type Parking struct {
	state   atomic.Uint32 // what Wake and Wait agree by
	fds     [2]unix.PollFd
	limit   unix.Timespec
	mu      sync.Mutex // keeps a late Wake from writing to a descriptor that Close gave up
	eventFD int
	open    bool
}

const (
	idle uint32 = iota
	waiting
	woken
)

// Open makes the eventfd. fd is what Wait looks at.
func (p *Parking) Open(fd int) (err error) {
	if p.eventFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	p.open = true
	p.fds[0].Fd, p.fds[1].Fd = int32(fd), int32(p.eventFD)
	p.fds[1].Events = unix.POLLIN
	return nil
}

// Wait parks until fd has one of events, Wake was called since the last Wait returned, or until has come; zero means without a limit.
// It returns what fd has. It touches nothing but the Parking.
func (p *Parking) Wait(until transport.Time, events int16) (revents int16, err error) {
	if !p.state.CompareAndSwap(idle, waiting) {
		p.state.CompareAndSwap(woken, idle) // Wake came first, or somebody waits already
		return 0, nil
	}
	var limit *unix.Timespec
	if until != 0 {
		p.limit = unix.NsecToTimespec(max(0, int64(until.Sub(transport.Now()))))
		limit = &p.limit
	}
	p.fds[0].Events = events
	// Not a raw system call: the scheduler must know that this thread sleeps.
	_, err = unix.Ppoll(p.fds[:], limit, nil)
	// A Wake that saw waiting writes to the descriptor, perhaps only after this: then the next Wait ends early, which it may.
	p.state.Store(idle)
	if err == unix.EINTR {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("ppoll: %w", err)
	}
	if p.fds[1].Revents != 0 {
		var count uint64
		_, _, _ = unix.RawSyscall(unix.SYS_READ, uintptr(p.fds[1].Fd), uintptr(unsafe.Pointer(&count)), 8)
	}
	return p.fds[0].Revents, nil
}

// Wake ends the Wait in progress, or else the next one. It makes a system call only when a Wait is in progress. Callable from any
// goroutine, also after Close.
func (p *Parking) Wake() {
	if p.state.Swap(woken) != waiting {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open {
		one := uint64(1)
		_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(p.eventFD), uintptr(unsafe.Pointer(&one)), 8)
	}
}

// Close gives the eventfd back, if there is one.
func (p *Parking) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open {
		_ = unix.Close(p.eventFD)
		p.open = false
	}
}
