package tcp

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/transport"
)

// readBytes is how much one system call reads at most: a burst of some large packets, or hundreds of small ones; it stays in the caches.
const readBytes = 64 << 10

// input is what was read last. All connections share it: whole packets are copied from it into frames, which takes a hundredth of what the
// kernel takes for them, and spares every connection a buffer of its own, and the Link the question what to do when one small packet that
// is kept for long holds a large buffer.
type input struct {
	buf    []byte
	lo, hi int   // what is left in it
	conn   *conn // whose it is
}

// Recv implements transport.Link: one system call for each peer that has sent something, and one for those that have not.
func (l *Link) Recv(fs []transport.Frame) (int, error) {
	if l.closed.Load() {
		return 0, transport.ErrClosed
	}
	fs = fs[:min(len(fs), burst)]
	n := 0
	if l.rx.lo < l.rx.hi {
		n = l.take(fs)
	}
	if n < len(fs) && !l.starved.Load() {
		l.poll.refill(l)
		for n < len(fs) && !l.starved.Load() {
			c := l.poll.pop()
			if c == nil {
				break
			}
			if l.read(c) {
				n += l.take(fs[n:])
			}
		}
	}
	if left := !l.starved.Load() && (l.poll.waits() || l.whole()); left != l.left.Load() {
		l.left.Store(left)
	}
	if n > 0 {
		now := transport.Now()
		for i := range fs[:n] {
			fs[i].Stamp = now // one clock reading for all
		}
	}
	return n, nil
}

// take turns whole packets in the input into frames.
func (l *Link) take(fs []transport.Frame) (n int) {
	in := &l.rx
	c := in.conn
	for n < len(fs) {
		packet, size, err := deframe(in.buf[in.lo:in.hi])
		if err != nil {
			l.stats.Malformed++
			l.lose(c, err)
			return n
		}
		if size == 0 {
			return n
		}
		id, ok := l.frames.TakeFill()
		if !ok {
			l.starved.Store(true)
			return n
		}
		l.frames.Lend(id)
		in.lo += size
		c.heard = true
		f := &fs[n]
		n++
		f.Data, f.ID, f.ECN, f.Path = l.frames.Data(id, len(packet)), id, 0, c.path
		copy(f.Data, packet)
	}
	return n
}

// whole tells whether a packet is left in the input.
func (l *Link) whole() bool {
	_, size, err := deframe(l.rx.buf[l.rx.lo:l.rx.hi])
	return size > 0 || err != nil
}

// read fills the input from a connection; false when there is nothing new. What the input holds is no whole packet.
func (l *Link) read(c *conn) bool {
	in := &l.rx
	if in.conn != c {
		if in.conn != nil {
			in.conn.rest = append(in.conn.rest[:0], in.buf[in.lo:in.hi]...)
		}
		in.conn, in.lo, in.hi = c, 0, copy(in.buf, c.rest)
		c.rest = c.rest[:0]
	} else if in.lo > 0 {
		in.lo, in.hi = 0, copy(in.buf, in.buf[in.lo:in.hi])
	}
	n, e := receive(c.fd, in.buf[in.hi:])
	if n > 0 {
		in.hi += n
		return true
	}
	err := end(n, e)
	if c.failed != nil {
		err = c.failed
	}
	if err != nil {
		l.lose(c, err)
	}
	return false
}

func receive(fd int, b []byte) (int, syscall.Errno) {
	n, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), 0
}
