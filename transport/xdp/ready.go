package xdp

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readiness tells which of the kernel's sockets have something, packets or errors: an epoll set, so that a look costs the same with thousands
// of ports as with one. A socket that is closed leaves it by itself.
type readiness struct {
	fd     int
	events [32]unix.EpollEvent
	found  [32]*kernelSocket
}

func (r *readiness) open() (err error) {
	if r.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		r.fd = -1
		return fmt.Errorf("epoll_create1: %w", err)
	}
	return nil
}

// add is for a socket that is open.
func (r *readiness) add(s *kernelSocket) error {
	fd := s.pollFD.Load()
	if err := unix.EpollCtl(r.fd, unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: unix.EPOLLIN, Fd: fd}); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// look returns those among sockets that have something, or some of them, until the next call. It does not block. Only the first Link's owner
// calls it.
func (r *readiness) look(sockets []*kernelSocket) []*kernelSocket {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(r.fd), uintptr(unsafe.Pointer(&r.events)), uintptr(len(r.events)), 0, 0, 0)
	if errno != 0 {
		return nil
	}
	found := r.found[:0]
	for _, e := range r.events[:n] {
		for _, s := range sockets {
			if s.pollFD.Load() == e.Fd {
				found = append(found, s)
				break
			}
		}
	}
	return found
}

func (r *readiness) close() error {
	if r.fd < 0 {
		return nil
	}
	err := unix.Close(r.fd)
	r.fd = -1
	return err
}
