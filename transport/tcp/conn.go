package tcp

import (
	"encoding/binary"
	"errors"
	"io"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/sock"
	"github.com/fastrpc/fastrpc/transport"
)

// conn is one connection, from accept(2) or connect(2) on.
type conn struct {
	fd     int
	index  int    // in the table
	serial uint32 // tells it from others that had the index
	key    peerKey
	path   transport.Path // of what it delivers

	dialled bool
	opened  bool  // the handshake is over
	heard   bool  // something came since the last sweep
	proven  bool  // something came ever
	failed  error // by a send; what was received is still to be read

	head, tail uint32 // frames that the kernel has not taken, linked by Link.next; noFrame: none
	queued     int
	offset     int // bytes of the first that it has taken, length included

	dirty   bool   // in gather.dirty
	blocked bool   // epoll tells when there is room again
	inTodo  bool   // in poller.todo
	rest    []byte // a part of a frame that was read, while another connection has the buffer

	since     transport.Time // it was opened
	heardAt   transport.Time // of the last sweep that found that something had come
	blockedAt transport.Time
}

const noFrame = 1<<32 - 1

// peerKey names a connection. The local address is part of it: a peer may have one connection to each.
type peerKey struct {
	remoteIP [16]byte
	localIP  [16]byte
	port     uint16
	scope    uint32
}

func keyOf(p *transport.Path) peerKey {
	return peerKey{remoteIP: p.RemoteIP, localIP: p.LocalIP, port: p.RemotePort, scope: binary.NativeEndian.Uint32(p.Opaque[:])}
}

// table holds the connections.
type table struct {
	all            []*conn // by index; nil: free
	holes          []int
	n              int
	serial         uint32
	limit          int
	byPeer         map[peerKey]*conn
	last           *conn // that was asked for
	busyPollMicros int

	refused   peerKey // could not be connected to a moment ago
	refusedAt transport.Time
}

func (t *table) put(c *conn) {
	t.serial++
	c.serial = t.serial
	if n := len(t.holes); n > 0 {
		c.index, t.holes = t.holes[n-1], t.holes[:n-1]
	} else {
		c.index = len(t.all)
		t.all = append(t.all, nil)
	}
	t.all[c.index] = c
	t.byPeer[c.key] = c
	t.n++
}

func (t *table) remove(c *conn) {
	t.all[c.index] = nil
	t.holes = append(t.holes, c.index)
	t.n--
	if t.byPeer[c.key] == c {
		delete(t.byPeer, c.key)
	}
	if t.last == c {
		t.last = nil
	}
}

// connTo finds the connection of a path, or opens one; nil where there is none to be had.
func (l *Link) connTo(p *transport.Path) *conn {
	t := &l.conns
	if c := t.last; c != nil && c.path.RemotePort == p.RemotePort && c.path.RemoteIP == p.RemoteIP && c.path.LocalIP == p.LocalIP &&
		c.path.Opaque == p.Opaque {
		return c
	}
	key := keyOf(p)
	c := t.byPeer[key]
	if c == nil && !l.listening {
		c = l.connect(p, key)
	}
	if c != nil {
		t.last = c
	}
	return c
}

// refusedFor is how long after a connection could not be opened at once the next is tried: a burst to a host without a route makes one
// attempt, not sixty-four.
const refusedFor = 5 * time.Millisecond

// connect opens a connection from the Link's port. It does not block: frames wait until the peer has answered.
func (l *Link) connect(p *transport.Path, key peerKey) *conn {
	t, now := &l.conns, transport.Now()
	if t.refused == key && now.Sub(t.refusedAt) < refusedFor {
		return nil
	}
	c := &conn{fd: -1, key: key, path: *p, dialled: true, head: noFrame, since: now, heardAt: now}
	c.path.MTU = frameBytes
	err := l.dial(c)
	if err == nil {
		return c
	}
	if c.fd >= 0 {
		l.giveBack(c.fd)
	}
	t.refused, t.refusedAt = key, now
	l.stats.Failed++
	l.report(transport.Unreachable, p, err)
	return nil
}

func (l *Link) dial(c *conn) (err error) {
	if n := len(l.spare); n > 0 {
		c.fd, l.spare = l.spare[n-1], l.spare[:n-1]
	} else if c.fd, err = l.another(); err != nil {
		return err
	}
	var a sock.Addr
	a.Set(l.router.V6(), &c.path.RemoteIP, c.path.RemotePort, c.key.scope)
	if err := a.Connect(c.fd, l.router.V6()); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	return l.add(c)
}

// another makes one more socket on the Link's port, for a second peer.
func (l *Link) another() (int, error) {
	fd, v6, err := l.binding.Open(unix.SOCK_STREAM)
	if err == nil {
		err = configure(fd, l.conns.busyPollMicros)
	}
	if err == nil {
		_, err = l.binding.Bind(fd, v6, "-t")
	}
	if err != nil && fd >= 0 {
		_ = unix.Close(fd)
		fd = -1
	}
	return fd, err
}

// giveBack dissolves a dialled socket's connection, with a reset if there is one, and keeps it for the next: connect(2) to AF_UNSPEC. It stays
// bound (tcp_disconnect in net/ipv4/tcp.c keeps the port of an explicit bind), so that no other socket can get between, and belongs to the
// network namespace that the Link was opened in, whichever the thread of a later connect is in.
func (l *Link) giveBack(fd int) {
	var none sock.Addr
	if none.Connect(fd, l.router.V6()) != nil {
		_ = unix.Close(fd)
		return
	}
	_, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR) // else the next connection would begin with this one's error
	l.spare = append(l.spare, fd)
}

// add makes c a connection of the Link.
func (l *Link) add(c *conn) error {
	if old := l.conns.byPeer[c.key]; old != nil { // it has ended, and this end has not read so far
		l.lose(old, unix.ECONNRESET)
	}
	l.conns.put(c)
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c.index), Pad: int32(c.serial)}
	if err := unix.EpollCtl(l.epollFD, unix.EPOLL_CTL_ADD, c.fd, &event); err != nil {
		l.conns.remove(c)
		return err
	}
	l.poll.recount(l)
	l.sweepSoon(c.since)
	return nil
}

// block has epoll tell when the kernel takes more of c's frames, or no longer.
func (l *Link) block(c *conn, on bool, now transport.Time) {
	if c.blocked == on {
		return
	}
	c.blocked, c.blockedAt = on, now
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c.index), Pad: int32(c.serial)}
	if on {
		event.Events |= unix.EPOLLOUT
		l.tx.blocked++
		l.sweepSoon(now)
	} else {
		l.tx.blocked--
	}
	_ = unix.EpollCtl(l.epollFD, unix.EPOLL_CTL_MOD, c.fd, &event) // it cannot fail for a descriptor that is in the set
}

// lose ends a connection, tells the session, and counts what was on its way as lost.
func (l *Link) lose(c *conn, err error) {
	switch {
	case c.opened || !c.dialled:
		l.stats.Ended++
		l.report(transport.PeerClosed, &c.path, err)
	case errors.Is(err, unix.ETIMEDOUT): // nobody said no: whoever waits decides for how long
		l.stats.Failed++
	default:
		l.stats.Failed++
		l.conns.refused, l.conns.refusedAt = c.key, transport.Now()
		l.report(transport.Unreachable, &c.path, err)
	}
	l.finish(c)
}

// finish takes a connection out of everything.
func (l *Link) finish(c *conn) {
	l.drop(c)
	if c.blocked {
		c.blocked = false
		l.tx.blocked--
	}
	if l.rx.conn == c {
		l.rx.conn, l.rx.lo, l.rx.hi = nil, 0, 0
	}
	l.conns.remove(c)
	l.poll.recount(l)
	switch {
	case c.dialled && !l.closed.Load():
		_ = unix.EpollCtl(l.epollFD, unix.EPOLL_CTL_DEL, c.fd, nil)
		l.giveBack(c.fd)
	case l.closed.Load(): // in order: the kernel still sends what it has, unless something was left unread
		l.drain(c.fd)
		_ = unix.Close(c.fd)
	default:
		_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		_ = unix.Close(c.fd)
	}
	c.fd = -1
}

// drop completes the frames that wait in a connection: they are lost.
func (l *Link) drop(c *conn) {
	for c.head != noFrame {
		id := c.head
		c.head = l.next[id]
		l.frames.Land(id)
		l.stats.Lost++
	}
	c.queued, c.offset = 0, 0
}

// drain reads what nobody will ask for: a socket that is closed with unread bytes resets its connection, and what it has still to send is lost.
func (l *Link) drain(fd int) {
	for range 16 {
		if n, err := receive(fd, l.rx.buf); n <= 0 || err != 0 {
			return
		}
	}
}

// end is why a connection is over that recv(2) returned n and e for; nil while it is not.
func end(n int, e syscall.Errno) error {
	switch {
	case n > 0 || e == unix.EAGAIN || e == unix.EINTR:
		return nil
	case e == 0:
		return io.EOF
	}
	return e
}
