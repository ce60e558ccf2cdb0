package tcp

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/sock"
	"github.com/fastrpc/fastrpc/transport"
)

const (
	backlog     = 1024                   // connections that the kernel holds for accept(2)
	acceptBurst = 16                     // taken at a time, so that packets do not wait for long
	acceptPause = 100 * time.Millisecond // after descriptors or memory were short
)

// listener is the listening socket; its descriptor is -1 where the Link dials.
type listener struct {
	fd       int
	pausedAt transport.Time // 0: it accepts
}

// listenerIndex stands in for a connection's index.
const listenerIndex = -1

func (s *listener) watch(epollFD int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: listenerIndex}
	if err := unix.EpollCtl(epollFD, unix.EPOLL_CTL_ADD, s.fd, &event); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// accept takes new connections.
func (l *Link) accept(now transport.Time) {
	for range acceptBurst {
		var from sock.Addr
		size := uint32(len(from))
		fd, _, e := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(l.listener.fd), uintptr(unsafe.Pointer(&from)), uintptr(unsafe.Pointer(&size)),
			unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		switch e {
		case 0:
			l.welcome(int(fd), &from, now)
		case unix.EAGAIN:
			return
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			// The connection stays where it is, and epoll would tell of it without end.
			l.stats.AcceptErrors++
			if unix.EpollCtl(l.epollFD, unix.EPOLL_CTL_DEL, l.listener.fd, nil) == nil {
				l.listener.pausedAt = now
				l.sweepSoon(now)
			}
			return
		default: // an error of the connection's, accept(2): it is gone
		}
	}
}

// resume accepts again after a pause.
func (l *Link) resume(now transport.Time) {
	if s := &l.listener; s.pausedAt != 0 && now.Sub(s.pausedAt) >= acceptPause && s.watch(l.epollFD) == nil {
		s.pausedAt = 0
	}
}

// welcome makes a connection of an accepted socket.
func (l *Link) welcome(fd int, from *sock.Addr, now transport.Time) {
	c := &conn{fd: fd, opened: true, head: noFrame, since: now, heardAt: now}
	c.path = transport.Path{RemoteIP: from.IP(), RemotePort: from.Port(), LocalIP: l.router.Fixed(), LocalPort: l.router.Port(), MTU: frameBytes}
	if sock.IsLinkLocal(&c.path.RemoteIP) {
		sock.PutScope(&c.path, from.Scope())
	}
	var own sock.Addr
	err := error(nil)
	if c.path.LocalIP == [16]byte{} {
		if err = own.Name(fd); err == nil {
			c.path.LocalIP = own.IP()
		}
	}
	c.key = keyOf(&c.path)
	if err == nil && l.conns.n >= l.conns.limit {
		l.stats.Refused++
		err = unix.EMFILE
	}
	if err == nil {
		err = l.add(c)
	}
	if err != nil {
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		_ = unix.Close(fd)
		return
	}
	l.stats.Accepted++
	l.report(transport.PeerConnected, &c.path, nil)
}
