//go:build rdma

package rdma

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	verbs "github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/transport"
)

var _ transport.Fetcher = (*RC)(nil)

// defaultFetch, of settings.go, is where reading begins to be worth it. On soft-RoCE (kernel 7.2, emulated; BenchmarkRendezvous, both ways, median
// of three), calls took with reads, as a part of the time that they took in packets: 0.98 at 48 KiB, 0.95 at 64 KiB, 0.97 at 96 KiB, of which none is
// beyond the noise; 0.81 at 128 KiB, 0.84 at 256 KiB, 0.86 at 1 MiB. Hardware has not been measured.
const (
	connReads = 8  // of one connection under way at once, which does with them at 100 Gbit/s for 80 µs; further ones wait
	linkReads = 64 // of all

	// What a workID has in the place of a number of sends.
	workRead   = 1 << 15 // and the index of a read
	workUnbind = 1 << 14 // and that of a window
)

// readList are the reads of a Link: see transport.Fetcher.
type readList struct {
	all   []read
	free  []uint32
	posts int // under way
	ended []transport.Fetch
	work  [connReads]verbs.SendWR
}

type read struct {
	fetch transport.Fetch
	conn  *conn // nil: free
}

// Exposable implements transport.Fetcher. Of the windows that are free, and its own, a connection has half.
func (l *RC) Exposable(p *transport.Path) int {
	m := l.memory()
	if m == nil {
		return 0
	}
	if m.free == 0 {
		l.reap() // some may be about to
	}
	if c := l.conns.byPeer[keyOf(p)]; c == nil || c.state != connOpen || c.exposed >= m.free {
		return 0
	}
	return windowBytes
}

// Expose implements transport.Fetcher.
func (l *RC) Expose(p *transport.Path, data []byte) (e transport.Exposed, ok bool) {
	m, c := l.memory(), l.conns.byPeer[keyOf(p)]
	if m == nil || m.free == 0 || c == nil || c.state != connOpen {
		return e, false
	}
	id := 0
	for m.windows[id].state != windowFree {
		id++
	}
	w := &m.windows[id]
	copy(m.mem.Bytes()[id*windowBytes:][:windowBytes], data)
	key, err := w.mw.Bind(c.qp, c.workID(0), m.mr, id*windowBytes, len(data), verbs.RemoteRead, 0)
	if err != nil {
		l.lose(c, err)
		return e, false
	}
	w.conn, w.state = c, windowBound
	m.free--
	c.exposed++
	return transport.Exposed{Addr: m.mr.Addr() + uint64(id*windowBytes), Key: key, ID: uint32(id)}, true
}

// Withdraw implements transport.Fetcher.
func (l *RC) Withdraw(id uint32) {
	m := l.pool.Load()
	w := &m.windows[id]
	w.given = true
	if w.state != windowBound {
		m.release(w)
		return
	}
	w.conn.exposed--
	if w.conn.state != connOpen {
		return // it goes with the queue pair
	}
	w.state = windowEnding
	if err := w.mw.Invalidate(w.conn.qp, w.conn.workID(workUnbind|int(id)), verbs.Signaled); err != nil {
		l.lose(w.conn, err)
	}
}

// unbound notes that a window's invalidation has completed.
func (l *RC) unbound(id int) {
	m := l.pool.Load()
	w := &m.windows[id]
	w.conn, w.state = nil, windowVoid
	m.release(w)
}

// Memory implements transport.Fetcher.
func (l *RC) Memory(n int) []byte {
	if m := l.memory(); m != nil {
		return m.take(n)
	}
	return nil
}

// FreeMemory implements transport.Fetcher.
func (l *RC) FreeMemory(b []byte) { l.pool.Load().put(b) }

// Fetch implements transport.Fetcher. What was told over a connection is read over the same one.
func (l *RC) Fetch(fs []transport.Fetch) {
	r := &l.reads
	for i := range fs {
		f := &fs[i]
		c := l.conns.byPeer[keyOf(&f.Path)]
		if c == nil || c.state != connOpen || c.serial != serialOf(&f.Path) {
			f.Err = unix.ECONNRESET
			r.ended = append(r.ended, *f)
			continue
		}
		id := uint32(len(r.all))
		if n := len(r.free); n > 0 {
			id, r.free = r.free[n-1], r.free[:n-1]
		} else {
			r.all = append(r.all, read{})
		}
		r.all[id] = read{*f, c}
		c.toRead = append(c.toRead, id)
		l.readMore(c)
	}
}

// readMore begins reads of c that wait, by one call into libibverbs.
func (l *RC) readMore(c *conn) {
	r, m, n := &l.reads, l.pool.Load(), 0
	for ; n < len(c.toRead) && c.reading+n < connReads && r.posts+n < linkReads; n++ {
		id := c.toRead[n]
		f := &r.all[id].fetch
		w := &r.work[n]
		w.ID, w.Op, w.Flags, w.NumSGE = c.workID(workRead|int(id)), verbs.OpRead, verbs.Signaled, 1
		w.SGE[0] = verbs.SGE{Addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(f.Into)))), Length: uint32(len(f.Into)), Key: m.mr.LKey()}
		w.RemoteAddr, w.RemoteKey = f.Addr, f.Key
	}
	if n == 0 {
		return
	}
	c.toRead = c.toRead[:copy(c.toRead, c.toRead[n:])]
	c.reading += n
	r.posts += n
	if _, err := c.qp.PostSend(r.work[:n]); err != nil {
		l.lose(c, err)
	}
}

// readDone notes that a read has completed.
func (l *RC) readDone(c *conn, id uint32) {
	r := &l.reads
	c.moved = true
	c.reading--
	r.posts--
	l.stats.Reads++
	l.endRead(id, nil)
	l.readMore(c)
	if r.posts == linkReads-1 { // others may have waited for this
		for i := range r.all {
			if o := r.all[i].conn; o != nil && len(o.toRead) > 0 && o.state == connOpen {
				l.readMore(o)
			}
		}
	}
}

func (l *RC) endRead(id uint32, err error) {
	r := &l.reads
	f := r.all[id].fetch
	f.Err = err
	r.ended = append(r.ended, f)
	r.all[id] = read{}
	r.free = append(r.free, id)
}

// dropReads ends the reads of a connection whose queue pair is no more: nothing is written to their memory any more.
func (l *RC) dropReads(c *conn) {
	l.reads.posts -= c.reading
	c.reading, c.toRead = 0, nil
	for id := range l.reads.all {
		if l.reads.all[id].conn == c {
			l.endRead(uint32(id), unix.ECONNRESET)
		}
	}
}

// Fetched implements transport.Fetcher.
func (l *RC) Fetched(fs []transport.Fetch) int {
	r := &l.reads
	n := copy(fs, r.ended)
	r.ended = r.ended[:copy(r.ended, r.ended[n:])]
	return n
}

// A Path that packets come by has the number of the connection.
func putSerial(p *transport.Path, serial uint32) { binary.NativeEndian.PutUint32(p.Opaque[:], serial) }
func serialOf(p *transport.Path) uint32          { return binary.NativeEndian.Uint32(p.Opaque[:]) }
