package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// idleLimit bounds how long a loop spins for one packet; 0: for ever.
type idleLimit = time.Duration

// callLimit is when a call counts as lost. Nothing in a lab takes as long.
const callLimit idleLimit = 5 * time.Second

var (
	errStopped = errors.New("stopped")
	errNoEcho  = fmt.Errorf("no echo within %v", callLimit)
)

// An idler keeps a spinning loop civil. Every so many empty turns it looks whether the loop shall end and gives the CPU away once, without
// which a client and a server that share one CPU would wait for each other's time slice to end.
type idler struct {
	stop  *atomic.Bool
	limit idleLimit
	every int // empty turns between looks
	turns int
	since time.Time // of the first look
}

func (i *idler) turn() error {
	i.turns++
	if i.turns%i.every != 0 {
		return nil
	}
	return i.look()
}

func (i *idler) look() error {
	if i.stop.Load() {
		return errStopped
	}
	if i.limit > 0 {
		if i.since.IsZero() {
			i.since = time.Now()
		} else if time.Since(i.since) > i.limit {
			return errNoEcho
		}
	}
	_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	return nil
}

// tcpSocket makes a non-blocking TCP socket with TCP_NODELAY, bound to local.
func tcpSocket(local netip.AddrPort) (int, error) {
	family := unix.AF_INET
	if local.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(fd, sockaddr(local)),
	)
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind %v: %w", local, err)
	}
	return fd, nil
}

// connectTCP and acceptTCP poll in short steps, so that the end of ctx is seen; they are set-up, not measured.

func connectTCP(ctx context.Context, fd int, remote netip.AddrPort) error {
	err := unix.Connect(fd, sockaddr(remote))
	if err != nil && err != unix.EINPROGRESS && err != unix.EINTR {
		return fmt.Errorf("connect to %v: %w", remote, err)
	}
	if err := waitFor(ctx, fd, unix.POLLOUT); err != nil {
		return fmt.Errorf("connect to %v: %w", remote, err)
	}
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && errno != 0 {
		err = unix.Errno(errno)
	}
	if err != nil {
		return fmt.Errorf("connect to %v: %w", remote, err)
	}
	return nil
}

func acceptTCP(ctx context.Context, l int) (int, error) {
	for {
		if err := waitFor(ctx, l, unix.POLLIN); err != nil {
			return -1, err
		}
		fd, _, err := unix.Accept4(l, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
			continue
		case err != nil:
			return -1, fmt.Errorf("accept: %w", err)
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("TCP_NODELAY: %w", err)
		}
		return fd, nil
	}
}

func waitFor(ctx context.Context, fd int, events int16) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, 50)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("poll: %w", err)
		}
		if n > 0 {
			return nil
		}
	}
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is6() {
		return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
