package bench

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

func init() {
	Register(spinTCP{name: "spin-tcp"})
	Register(spinTCP{name: "spin-tcp-busy", busy: true})
}

// spinTCP is the kernel's TCP path at its best: non-blocking sockets read in a tight loop, past Go's netpoller and its scheduler. With busy, each
// read that finds nothing polls the device's queue: see setBusy.
type spinTCP struct {
	name string
	busy bool
}

func (s spinTCP) Name() string { return s.name }
func (spinTCP) Bypass() bool   { return false }

// Has tells that a server spins over one connection at a time, with one call on it.
func (spinTCP) Has(w string) bool { return w == Latency || w == Sizes || w == Idle }

func (s spinTCP) Serve(ctx context.Context, e Endpoint, ready func(Ready)) error {
	l, err := tcpSocket(e.Local)
	if err != nil {
		return err
	}
	defer unix.Close(l)
	if err := unix.Listen(l, 8); err != nil {
		return fmt.Errorf("listen on %v: %w", e.Local, err)
	}
	name, err := unix.Getsockname(l)
	if err != nil {
		return fmt.Errorf("getsockname: %w", err)
	}
	ready(Ready{Addr: addrPort(name)})

	var stop atomic.Bool
	defer context.AfterFunc(ctx, func() { stop.Store(true) })()
	buf := make([]byte, e.Size)
	for {
		fd, err := acceptTCP(ctx, l)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err = s.setBusy(fd); err == nil {
			err = spinEcho(fd, buf, &stop)
		}
		unix.Close(fd)
		if err != nil && err != io.EOF && ctx.Err() == nil {
			return err
		}
	}
}

// spinEcho serves one connection until the client closes it (io.EOF) or stop is set.
func spinEcho(fd int, buf []byte, stop *atomic.Bool) error {
	for {
		if err := spinRead(fd, buf, stop, 0); err != nil {
			return err
		}
		if err := spinWrite(fd, buf, stop); err != nil {
			return err
		}
	}
}

func (s spinTCP) Connect(ctx context.Context, e Endpoint) (Caller, error) {
	fd, err := tcpSocket(netip.AddrPortFrom(e.Local.Addr(), 0))
	if err != nil {
		return nil, err
	}
	err = connectTCP(ctx, fd, e.Remote)
	if err == nil {
		err = s.setBusy(fd)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	c := &spinCaller{fd: fd, echo: make([]byte, e.Size)}
	if s.busy {
		return newBusyCaller(c, &e), nil
	}
	return c, nil
}

type spinCaller struct {
	fd   int
	echo []byte
	stop atomic.Bool // never set: the time limit ends a call
}

func (c *spinCaller) Call(payload []byte) error {
	if err := spinWrite(c.fd, payload, &c.stop); err != nil {
		return err
	}
	if err := spinRead(c.fd, c.echo, &c.stop, callLimit); err != nil {
		return err
	}
	return verify(c.echo, payload)
}

func (c *spinCaller) Close() error { return unix.Close(c.fd) }

// RawSyscall instead of unix.Read: the runtime is not told about a call that returns at once, which saves it some 50 ns each way.

func spinRead(fd int, buf []byte, stop *atomic.Bool, limit idleLimit) error {
	idle := idler{stop: stop, limit: limit, every: 256}
	for len(buf) > 0 {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
		switch errno {
		case 0:
			if n == 0 {
				return io.EOF
			}
			buf = buf[n:]
		case unix.EAGAIN, unix.EINTR:
			if err := idle.turn(); err != nil {
				return err
			}
		default:
			return fmt.Errorf("read: %w", errno)
		}
	}
	return nil
}

func spinWrite(fd int, buf []byte, stop *atomic.Bool) error {
	idle := idler{stop: stop, limit: callLimit, every: 256}
	for len(buf) > 0 {
		n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
		switch errno {
		case 0:
			buf = buf[n:]
		case unix.EAGAIN, unix.EINTR:
			if err := idle.turn(); err != nil {
				return err
			}
		default:
			return fmt.Errorf("write: %w", errno)
		}
	}
	return nil
}
