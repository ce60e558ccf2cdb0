package sim

import (
	"errors"
	"net/netip"
	"slices"
	"unsafe"

	"github.com/fastrpc/fastrpc/transport"
)

// ErrRead is why a Fetch failed.
var ErrRead = errors.New("sim: there is nothing to read")

// Reads counts what became of the Fetches of a Network's Links.
type Reads struct {
	Done    uint64
	Refused uint64 // by LinkOptions.FetchFails, or because nothing is exposed there: on hardware this ends a connection
	Broken  uint64 // by a Partition, or a Close
}

// Reads returns the counts.
func (n *Network) Reads() Reads { return n.reads }

const (
	fetchSlots  = 8        // parts of messages that a Link exposes at once
	slotBytes   = 24 << 10 // of each
	fetchMemory = 1 << 20  // bytes to fetch into
)

// remote is the memory of a Link that others read, and that it reads into. Both are overwritten when they are given back, so that who uses them
// still will notice.
type remote struct {
	slots  []slot
	memory int // bytes that are not taken
	under  []*read
	ended  []transport.Fetch
}

type slot struct {
	to     netip.AddrPort // zero: free
	key    uint32
	broken uint64 // direction.broken, when it was filled
	data   []byte
}

// read is a Fetch under way: to the other Link, and with the data back.
type read struct {
	of     *Link
	fetch  transport.Fetch
	dir    *direction // from of
	broken uint64
	data   []byte // on the way back
	back   bool
}

func (n *Network) broken(a, b *node) uint64 {
	return n.direction(a.addr, b.addr).broken + n.direction(b.addr, a.addr).broken
}

// Exposable implements transport.Fetcher. Half of what is free is one peer's at most.
func (l *Link) Exposable(p *transport.Path) int {
	free, own := 0, 0
	for i := range l.remote.slots {
		switch l.remote.slots[i].to {
		case netip.AddrPort{}:
			free++
		case p.Remote():
			own++
		}
	}
	if l.closed || own >= free {
		return 0
	}
	return slotBytes
}

// Expose implements transport.Fetcher. Parts are bound to the way that the packets take: they are gone when that is cut.
func (l *Link) Expose(p *transport.Path, data []byte) (transport.Exposed, bool) {
	for i := range l.remote.slots {
		s := &l.remote.slots[i]
		if s.to.IsValid() {
			continue
		}
		l.net.keys++
		s.to, s.key = p.Remote(), l.net.keys
		s.broken = l.net.broken(l.node, l.net.node(s.to))
		s.data = append(s.data[:0], data...)
		return transport.Exposed{Addr: uint64(i) << 32, Key: s.key, ID: uint32(i)}, true
	}
	return transport.Exposed{}, false
}

// Withdraw implements transport.Fetcher.
func (l *Link) Withdraw(id uint32) {
	s := &l.remote.slots[id]
	if !s.to.IsValid() {
		panic("sim: Withdraw of what is not exposed")
	}
	s.to = netip.AddrPort{}
	spoil(s.data)
}

func spoil(b []byte) {
	for i := range b {
		b[i] = 0xdd
	}
}

// Memory implements transport.Fetcher.
func (l *Link) Memory(n int) []byte {
	if n > l.remote.memory {
		return nil
	}
	l.remote.memory -= n
	return make([]byte, n)
}

// FreeMemory implements transport.Fetcher.
func (l *Link) FreeMemory(b []byte) {
	for _, r := range l.remote.under {
		if at := uintptr(unsafe.Pointer(&r.fetch.Into[0])) - uintptr(unsafe.Pointer(&b[0])); at < uintptr(len(b)) {
			panic("sim: memory is given back that a read is to write to")
		}
	}
	spoil(b)
	l.remote.memory += cap(b)
}

// Fetch implements transport.Fetcher: a read takes a round trip.
func (l *Link) Fetch(fs []transport.Fetch) {
	for i := range fs {
		to := l.net.node(fs[i].Path.Remote())
		r := &read{of: l, fetch: fs[i], dir: l.net.direction(l.node.addr, to.addr), broken: l.net.broken(l.node, to)}
		l.remote.under = append(l.remote.under, r)
		l.net.travel(r, r.dir)
	}
}

func (n *Network) travel(r *read, d *direction) {
	i, rec := n.queue.record()
	rec.read = r
	n.queue.push(n.now.Add(d.faults.Delay+n.jitter(&d.faults)), i)
}

// step goes on with a read that has come to the other side, or back.
func (n *Network) step(r *read) {
	home, other := r.dir.from, r.dir.to
	switch {
	case r.of.closed:
		return // nobody waits
	case home.link != r.of || r.dir.cut || n.broken(home, other) != r.broken || other.link == nil:
		n.reads.Broken++
		r.fetch.Err = ErrRead
	case r.back:
		copy(r.fetch.Into, r.data)
		n.reads.Done++
	default:
		data, void := other.link.lookUp(&r.fetch, home.addr, r.broken)
		if data != nil && !n.chance(r.of.options.FetchFails) {
			r.data, r.back = append(r.data, data...), true
			n.travel(r, n.direction(other.addr, home.addr))
			return
		}
		r.fetch.Err = ErrRead
		if void {
			n.reads.Broken++
		} else {
			n.reads.Refused++
		}
	}
	r.of.remote.under = slices.DeleteFunc(r.of.remote.under, func(x *read) bool { return x == r })
	r.of.remote.ended = append(r.of.remote.ended, r.fetch)
}

// lookUp finds what a read is for. void: it was exposed before the way was cut.
func (l *Link) lookUp(f *transport.Fetch, from netip.AddrPort, broken uint64) (data []byte, void bool) {
	i := int(f.Addr >> 32)
	if i >= len(l.remote.slots) {
		return nil, false
	}
	s := &l.remote.slots[i]
	if s.key != f.Key || s.broken != broken {
		return nil, broken > 0
	}
	if s.to != from || len(f.Into) > len(s.data) {
		return nil, false
	}
	return s.data[:len(f.Into)], false
}

// Fetched implements transport.Fetcher.
func (l *Link) Fetched(fs []transport.Fetch) int {
	n := copy(fs, l.remote.ended)
	l.remote.ended = l.remote.ended[:copy(l.remote.ended, l.remote.ended[n:])]
	return n
}
