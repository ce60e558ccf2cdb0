package netpath

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ErrClosed is what closed Tables answer.
var ErrClosed = fmt.Errorf("netpath: tables are closed: %w", os.ErrClosed)

// Tables gives access to the route and neighbour tables of one network namespace. It is safe for concurrent use.
type Tables struct {
	handle *netlink.Handle   // requests
	events *nl.NetlinkSocket // notifications, read by run
	done   chan struct{}     // run has ended

	udp4, udp6 int // sockets to knock at neighbours with; -1 without the family

	lookups  sync.WaitGroup
	closed   chan struct{}
	mu       sync.Mutex            // of closing, and of
	watchers map[*watcher]struct{} // nil once closed
}

// Open gives access to the tables of the calling thread's network namespace, for good: the methods of Tables may be called from any
// goroutine, on any thread. It takes two netlink sockets, two UDP sockets and a goroutine, and needs no privilege.
func Open() (*Tables, error) {
	runtime.LockOSThread() // both sockets in one namespace, also when the caller has not locked its thread
	defer runtime.UnlockOSThread()
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netpath: netlink: %w", err)
	}
	events, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_IFADDR,
		unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		handle.Close()
		return nil, fmt.Errorf("netpath: netlink: %w", err)
	}
	t := &Tables{
		handle: handle, events: events, done: make(chan struct{}), closed: make(chan struct{}), watchers: map[*watcher]struct{}{},
		udp4: udpSocket(unix.AF_INET), udp6: udpSocket(unix.AF_INET6),
	}
	go t.run()
	return t, nil
}

// udpSocket opens a socket that nothing is received from. A kernel without the family has no neighbours of it either.
func udpSocket(family int) int {
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
}

// Close ends lookups in progress and all watchers, waits until the last call of theirs has returned (it is not to be called from one), and
// releases what Open took.
func (t *Tables) Close() error {
	t.mu.Lock()
	open := t.watchers != nil
	if open {
		t.watchers = nil
		close(t.closed)
	}
	t.mu.Unlock()
	if !open {
		return ErrClosed
	}
	t.lookups.Wait()
	t.events.Close() // which ends run
	<-t.done
	t.handle.Close()
	for _, fd := range []int{t.udp4, t.udp6} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	return nil
}

// enter keeps Close waiting until t.lookups.Done.
func (t *Tables) enter() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.watchers == nil {
		return ErrClosed
	}
	t.lookups.Add(1)
	return nil
}

// Lookup is Tables.Lookup in the calling thread's network namespace.
func Lookup(ctx context.Context, dst, src netip.Addr) (Route, error) {
	t, err := Open()
	if err != nil {
		return Route{}, err
	}
	defer t.Close()
	return t.Lookup(ctx, dst, src)
}

// run hands what the kernel notifies to the watchers.
func (t *Tables) run() {
	defer close(t.done)
	for {
		messages, from, err := t.events.Receive()
		if err != nil {
			select {
			case <-t.closed:
				return
			default: // ENOBUFS: the socket's buffer was full; or a message that could not be read
				t.notify(Change{Kind: Overrun})
				continue
			}
		}
		if from.Pid != nl.PidKernel {
			continue // any process may write to our socket
		}
		for _, m := range messages {
			if c, ok := decode(m.Header.Type, m.Data); ok {
				t.notify(c)
			}
		}
	}
}
