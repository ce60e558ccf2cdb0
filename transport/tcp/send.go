package tcp

import (
	"encoding/binary"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/transport"
)

// gather is the batch for sendmsg(2), and which connections have something for it.
type gather struct {
	iovs    [burst]unix.Iovec
	header  unix.Msghdr
	dirty   []*conn // have frames that came since the last Flush
	blocked int     // connections that wait for room in the kernel
}

// Send implements transport.Link. The system call comes with Flush, one for each peer. It takes every frame: those for which the kernel has no
// room wait in their connection, so that a peer that does not read holds up no other. Frames for a peer that a listening Link has no
// connection with, and those of a connection that ends, complete and are lost.
func (l *Link) Send(fs []transport.Frame) (n int, err error) {
	if l.closed.Load() {
		return 0, transport.ErrClosed
	}
	fs = fs[:min(len(fs), burst)]
	for ; n < len(fs); n++ {
		f := &fs[n]
		l.frames.MustOwn(f, "Send")
		if len(f.Data) > int(min(f.Path.MTU, frameBytes)) || len(f.Data) == 0 {
			return n, fmt.Errorf("tcp: frame of %d bytes on a path of %d: cut it to Path.MTU: %w", len(f.Data), f.Path.MTU, unix.EMSGSIZE)
		}
		if f.Path.RemotePort == 0 || !l.router.Serves(&f.Path.RemoteIP) {
			return n, fmt.Errorf("tcp: %v cannot be reached from %v: %w", f.Path.Remote(), l.router.IP(), unix.EAFNOSUPPORT)
		}
		l.frames.Launch(f)
		if c := l.connTo(&f.Path); c != nil && c.failed == nil {
			l.enqueue(c, f)
		} else {
			l.frames.Land(f.ID)
			l.stats.Lost++
		}
	}
	return n, nil
}

// enqueue puts a frame behind the others of its connection.
func (l *Link) enqueue(c *conn, f *transport.Frame) {
	binary.LittleEndian.PutUint32(l.frames.Headroom(f.ID)[headroom-lengthBytes:], uint32(len(f.Data)))
	l.next[f.ID] = noFrame
	if c.head == noFrame {
		c.head = f.ID
	} else {
		l.next[c.tail] = f.ID
	}
	c.tail = f.ID
	c.queued++
	if !c.dirty {
		c.dirty = true
		l.tx.dirty = append(l.tx.dirty, c)
	}
}

// Flush implements transport.Link: one system call for each peer that something was sent to. What the kernel has no room for stays in flight,
// for a later Flush or Recv.
func (l *Link) Flush() error {
	if l.closed.Load() {
		return transport.ErrClosed
	}
	if l.tx.blocked > 0 {
		l.look()
	}
	for i, c := range l.tx.dirty {
		l.tx.dirty[i] = nil
		c.dirty = false
		if !c.blocked && c.fd >= 0 {
			l.kick(c)
		}
	}
	l.tx.dirty = l.tx.dirty[:0]
	return nil
}

// kick gives a connection's frames to the kernel. Each that it takes has completed: it made a copy.
func (l *Link) kick(c *conn) {
	for c.head != noFrame {
		sent, e := l.push(c)
		switch e {
		case 0:
			if !c.opened {
				c.opened = true
				l.stats.Opened++
				l.report(transport.PeerConnected, &c.path, nil)
			}
			l.taken(c, sent)
		case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM: // EAGAIN also while the peer has not answered the connect
			l.block(c, true, transport.Now())
			return
		case unix.EINTR:
		default:
			// What was received before is read first: it may say why the peer has closed.
			c.failed = e
			l.drop(c)
			l.poll.enlist(c)
			l.left.Store(true)
		}
	}
	l.block(c, false, 0)
}

// push makes one system call for the first frames of a connection.
func (l *Link) push(c *conn) (sent int, e syscall.Errno) {
	const flags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
	t := &l.tx
	n, skip := 0, c.offset
	for id := c.head; id != noFrame && n < burst; id = l.next[id] {
		t.iovs[n].Base = (*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(l.frames.Headroom(id))), headroom-lengthBytes+skip))
		t.iovs[n].SetLen(lengthBytes + l.frames.Len(id) - skip)
		n, skip = n+1, 0
	}
	var r uintptr
	if n == 1 {
		r, _, e = unix.RawSyscall6(unix.SYS_SENDTO, uintptr(c.fd), uintptr(unsafe.Pointer(t.iovs[0].Base)), uintptr(t.iovs[0].Len), flags, 0, 0)
	} else {
		t.header.Iov = &t.iovs[0]
		t.header.SetIovlen(n)
		r, _, e = unix.RawSyscall(unix.SYS_SENDMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&t.header)), flags)
	}
	return int(r), e
}

// taken completes the frames that the kernel has now.
func (l *Link) taken(c *conn, sent int) {
	sent += c.offset
	for c.head != noFrame {
		size := lengthBytes + l.frames.Len(c.head)
		if sent < size {
			break
		}
		sent -= size
		id := c.head
		c.head = l.next[id]
		c.queued--
		l.frames.Land(id)
	}
	c.offset = sent
}
