//go:build rdma

package rdma

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	verbs "github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/transport"
)

// conn is one connection. It belongs to the Link's owner, but for what its goroutine has for itself until it tells: see rc_life.go.
type conn struct {
	index   int    // in the table; -1: not there, or no longer
	serial  uint32 // tells it from others that had the index, or its queue pair's number
	key     peerKey
	path    transport.Path // of what it delivers
	dialled bool
	state   connState
	err     error // why it ended
	silent  bool  // another one is in its place: what still comes is dropped, and nobody is told of its end

	qp       *verbs.QP
	qpn      uint32
	waiting  fifo // frames that the queue pair has no room for yet
	posted   fifo // frames that it has
	receives fifo // of its own
	shared   bool // it had a share of receives
	inline   int  // bytes that a work request takes itself
	unmarked int  // sends since the last that asks for a completion
	dirty    bool // in RC.dirty
	thirsty  bool // in RC.thirsty
	blocked  bool // counted in RC.blocked
	lastSeen bool // its steps.last is closed; notes.mu guards it

	exposed int       // windows that peers may read
	windows []*window // what its goroutine frees before the queue pair
	toRead  []uint32  // reads that wait
	reading int       // that are under way

	heard   bool // something came since the connections were looked after last
	proven  bool // something came ever
	moved   bool // a send completed since then
	since   transport.Time
	heardAt transport.Time
	stuckAt transport.Time // it has sends under way, of which none completed since; 0: not so

	steps
}

// connState is how far a connection has come.
type connState uint8

const (
	connJoining connState = iota // its queue pair is being connected
	connOpen
	connEnding // its queue pair is being emptied; what came before is still delivered
	connOver   // only the frames that the card may still read are not home
)

// peerKey names a peer: the other end's address.
type peerKey struct {
	ip   [16]byte
	port uint16
}

func keyOf(p *transport.Path) peerKey { return peerKey{p.RemoteIP, p.RemotePort} }

// table holds the connections.
type table struct {
	all    []*conn // by index; nil: free
	holes  []int
	n      int
	limit  int
	idle   time.Duration
	byPeer map[peerKey]*conn // joining (dialled), open or ending
	byQPN  map[uint32]*conn  // that may have receives in the completion queue
	last   *conn             // that was sent to
	from   *conn             // that was received from
	fromQP uint32

	refused   peerKey // could not be connected to a moment ago
	refusedAt transport.Time
}

func newTable(limit int, idle time.Duration) table {
	return table{limit: limit, idle: idle, byPeer: map[peerKey]*conn{}, byQPN: map[uint32]*conn{}}
}

func (t *table) put(c *conn) {
	if n := len(t.holes); n > 0 {
		c.index, t.holes = t.holes[n-1], t.holes[:n-1]
	} else {
		c.index = len(t.all)
		t.all = append(t.all, nil)
	}
	t.all[c.index] = c
	t.n++
}

// hide makes c one that nobody sends to.
func (t *table) hide(c *conn) {
	if t.byPeer[c.key] == c {
		delete(t.byPeer, c.key)
	}
	if t.last == c {
		t.last = nil
	}
}

// deafen makes c one that nothing is received from: its queue pair's number may soon be another's.
func (t *table) deafen(c *conn) {
	if t.byQPN[c.qpn] == c {
		delete(t.byQPN, c.qpn)
	}
	t.from = nil
}

func (t *table) remove(c *conn) {
	t.all[c.index] = nil
	t.holes = append(t.holes, c.index)
	c.index = -1
	t.n--
}

// ofQPN finds the connection that a receive is of; nil: it is over.
func (t *table) ofQPN(qpn uint32) *conn {
	if t.from == nil || t.fromQP != qpn {
		t.from, t.fromQP = t.byQPN[qpn], qpn
	}
	return t.from
}

// workID names c and how many sends a completion is about.
func (c *conn) workID(sends int) uint64 {
	return uint64(c.index)<<48 | uint64(c.serial)<<16 | uint64(sends)
}

// ofWork reads a workID; nil: the connection is no more.
func (t *table) ofWork(id uint64) (c *conn, sends int) {
	if i := int(id >> 48); i < len(t.all) {
		c = t.all[i]
	}
	if c != nil && c.serial != uint32(id>>16) {
		c = nil
	}
	return c, int(id & 0xffff)
}

// connTo finds the connection of a path, or opens one; nil where there is none to be had.
func (l *RC) connTo(p *transport.Path) *conn {
	t := &l.conns
	if c := t.last; c != nil && c.key.port == p.RemotePort && c.key.ip == p.RemoteIP {
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

// refusedFor is how long after a connection was refused the next is tried: a burst makes one attempt, not sixty-four.
const refusedFor = 5 * time.Millisecond

// connect opens a connection. It does not block: frames wait until the peer has answered.
func (l *RC) connect(p *transport.Path, key peerKey) *conn {
	if t := &l.conns; t.refused == key && transport.Now().Sub(t.refusedAt) < refusedFor {
		return nil
	}
	c := l.begin(p)
	if c != nil {
		l.adopt(c)
	}
	return c
}

// newConn makes a connection that nobody knows.
func (l *RC) newConn(key peerKey, path transport.Path) *conn {
	path.MTU = rcFrameBytes
	now, serial := transport.Now(), l.serial.Add(1)
	putSerial(&path, serial)
	return &conn{index: -1, serial: serial, key: key, path: path, since: now, heardAt: now, steps: newSteps()}
}

// adopt makes c one of the owner's.
func (l *RC) adopt(c *conn) {
	if c.index >= 0 {
		return
	}
	l.conns.put(c)
	if c.dialled && l.conns.byPeer[c.key] == nil {
		l.conns.byPeer[c.key] = c
	}
	l.tendSoon(c.since)
}

// opened lets c carry packets. Another connection with the same peer is one that the peer has given up.
func (l *RC) opened(c *conn) {
	if c.state != connJoining {
		return
	}
	c.state = connOpen
	if old := l.conns.byPeer[c.key]; old != nil && old != c {
		l.lose(old, unix.ECONNRESET)
		l.farewell(old)
		old.silent = true
	}
	l.conns.byPeer[c.key] = c
	if c.dialled {
		l.stats.Opened++
	} else {
		l.stats.Accepted++
	}
	l.report(transport.PeerConnected, &c.path, nil)
	l.soil(c)
}

// lose ends a connection. Those that wait for it are lost at once; those that the card may still read, when its queue pair is gone.
func (l *RC) lose(c *conn, err error) {
	if c.state >= connEnding {
		return
	}
	l.notes.leave(c)
	if c.state == connJoining {
		if c.dialled {
			l.stats.Failed++
		}
		if c.dialled && !errors.Is(err, unix.ETIMEDOUT) { // else nobody said no: whoever waits decides for how long
			l.conns.refused, l.conns.refusedAt = c.key, transport.Now()
			l.report(transport.Unreachable, &c.path, err)
		}
		l.conns.hide(c)
		c.silent = true
	}
	c.state, c.err = connEnding, err
	l.abandon(&c.waiting)
	l.block(c, false)
	close(c.end)
}

// farewell tells the session, once everything that came before was delivered.
func (l *RC) farewell(c *conn) {
	if c.silent {
		return
	}
	c.silent = true
	l.stats.Ended++
	l.conns.hide(c)
	l.report(transport.PeerClosed, &c.path, c.err)
}

// abandon completes frames that are lost.
func (l *RC) abandon(q *fifo) {
	for q.len > 0 {
		l.frames.Land(q.pop(l.next))
		l.stats.Lost++
	}
}

// block counts the connections with frames that their queue pair has no room for.
func (l *RC) block(c *conn, on bool) {
	if c.blocked != on {
		if c.blocked = on; on {
			l.blocked++
			l.alert = true
			l.tendSoon(transport.Now())
		} else {
			l.blocked--
		}
	}
}

func (l *RC) report(kind transport.EventKind, path *transport.Path, err error) {
	l.events.push(transport.Event{Kind: kind, Path: *path, Err: err})
}
