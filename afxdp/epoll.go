//go:build linux

package afxdp

import (
	"errors"
	"fmt"
	"math"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Epoll waits for packets where the driver shall be polled only while there is something to do: its Wait polls the device for a while, and then
// sleeps with interrupts on. While Wait finds packets, interrupts stay suspended until the next one, for the instance's irq-suspend-timeout at
// most (netdev netlink family, napi-set; Linux 6.13), so that a caller may take its time with the packets. It is an alternative to
// SocketConfig.BusyPoll, whose Kick and WakeFill poll in each call, and needs a socket that knows its NAPI instance (Socket.NAPI).
//
// Its methods belong to one goroutine at a time.
type Epoll struct {
	fd int
}

// NewEpoll watches descriptors to read: sockets' FD, and whatever else shall end a Wait. b says how the device is polled; Prefer is what suspends
// interrupts, and needs CAP_NET_ADMIN if Budget is above 64. Linux 6.9.
func NewEpoll(b BusyPoll, fds ...int) (*Epoll, error) {
	if b.Micros < 0 || b.Micros > math.MaxInt32 || b.Budget < 0 || b.Budget > math.MaxUint16 { // as for a socket (net/core/sock.c, sk_setsockopt)
		return nil, fmt.Errorf("afxdp: busy polling for %d µs with a budget of %d: 0 to %d and 0 to %d are possible", b.Micros, b.Budget, math.MaxInt32,
			math.MaxUint16)
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("afxdp: %w", os.NewSyscallError("epoll_create1", err))
	}
	e := &Epoll{fd: fd}
	// struct epoll_params (linux/eventpoll.h)
	params := struct {
		busyPollMicros uint32
		budget         uint16
		prefer         uint8
		_              uint8
	}{uint32(b.Micros), uint16(b.Budget), 0, 0}
	if b.Prefer {
		params.prefer = 1
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.EPIOCSPARAMS, uintptr(unsafe.Pointer(&params))); errno != 0 {
		err := os.NewSyscallError("EPIOCSPARAMS", errno)
		if errno == unix.ENOTTY {
			err = fmt.Errorf("busy polling by epoll takes Linux 6.9: %w", err)
		}
		return nil, errors.Join(fmt.Errorf("afxdp: %w", err), e.Close())
	}
	for _, watched := range fds {
		if err := unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, watched, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(watched)}); err != nil {
			return nil, errors.Join(fmt.Errorf("afxdp: %w", os.NewSyscallError("epoll_ctl", err)), e.Close())
		}
	}
	return e, nil
}

// Wait sleeps until a descriptor is readable, which it tells, or the time is over. It blocks its thread, which Go's scheduler knows of; a signal
// may end it early.
func (e *Epoll) Wait(timeout time.Duration) (ready bool, err error) {
	if e.fd < 0 {
		return false, ErrClosed
	}
	ts := unix.NsecToTimespec(int64(max(timeout, 0)))
	var event unix.EpollEvent // one is enough: who finds packets looks until there are none
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(e.fd), uintptr(unsafe.Pointer(&event)), 1, uintptr(unsafe.Pointer(&ts)), 0, 0)
	if errno != 0 && errno != unix.EINTR {
		return false, fmt.Errorf("afxdp: %w", os.NewSyscallError("epoll_pwait2", errno))
	}
	return errno == 0 && n > 0, nil
}

// Close ends the watching; the descriptors stay open. Another Close does nothing.
func (e *Epoll) Close() error {
	if e.fd < 0 {
		return nil
	}
	fd := e.fd
	e.fd = -1
	return os.NewSyscallError("close", unix.Close(fd))
}
