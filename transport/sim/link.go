package sim

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"syscall"

	"github.com/fastrpc/fastrpc/transport"
)

// ErrIdle is what Wait without a limit answers when nothing is under way: in virtual time it could never end.
var ErrIdle = errors.New("sim: nothing is under way, so that Wait without a limit would never end")

const maxEvents = 256 // that a Link keeps until Events asks; those beyond are dropped, as a kernel's error queue does

// Link is an end of a Network.
type Link struct {
	buffers
	net     *Network
	home    *node // the address that it was opened on, and believes to have
	node    *node // the one that the network has it on: another after a Rebind
	caps    transport.Caps
	options LinkOptions
	dirs    map[netip.AddrPort]*direction // by destination
	lastTo  transport.Path                // the latest destination, and the way there
	lastDir *direction
	empty   []uint32  // frames to receive into
	arrived []arrival // from head on; packed when its capacity, four times what can arrive, is used up
	head    int
	remote  remote
	waiting []int32 // records of a reliable sender that found no frame, in order
	events  []transport.Event
	woken   atomic.Bool
	closed  bool
}

type arrival struct {
	dir    *direction
	stamp  transport.Time
	id     uint32
	length uint16
	ecn    uint8
}

var (
	_ transport.Link    = (*Link)(nil)
	_ transport.Fetcher = (*Link)(nil)
)

// Link opens a Link on addr, one host's address and port. It panics when a Link is open there; after a Close, a crash as the others see it, a
// new one may come up on the same address.
func (n *Network) Link(addr netip.AddrPort, o LinkOptions) *Link {
	o = o.withDefaults()
	nd := n.node(addr)
	if nd.link != nil {
		panic(fmt.Sprintf("sim: %v has a Link already", addr))
	}
	l := &Link{
		buffers: newBuffers(o), net: n, home: nd, node: nd, caps: o.caps("sim " + nd.addr.String()), options: o,
		dirs:    map[netip.AddrPort]*direction{},
		arrived: make([]arrival, 0, 2*o.Frames),
	}
	for id := o.Frames - 1; id >= l.sending; id-- {
		l.empty = append(l.empty, uint32(id))
	}
	if o.FetchLeast > 0 {
		l.remote = remote{slots: make([]slot, fetchSlots), memory: fetchMemory}
	}
	nd.link = l
	return l
}

// Addr is the address that the Link was opened on.
func (l *Link) Addr() netip.AddrPort { return l.home.addr }

// Caps implements transport.Link.
func (l *Link) Caps() transport.Caps { return l.caps }

// Resolve implements transport.Link. Every address can be reached, whether a Link is open there or not.
func (l *Link) Resolve(ctx context.Context, local, remote netip.AddrPort) (transport.Path, error) {
	if err := ctx.Err(); err != nil {
		return transport.Path{}, fmt.Errorf("sim: resolve %v: %w", remote, err)
	}
	if err := checkResolve(l.home.addr, local, remote); err != nil {
		return transport.Path{}, err
	}
	if p := local.Port(); p != 0 && p != l.home.addr.Port() {
		return transport.Path{}, fmt.Errorf("sim: port %d is not this Link's: it is %v", p, l.home.addr)
	}
	p := pathOf(l.home.addr, remote)
	p.MTU = uint16(l.mtu)
	return p, nil
}

func checkResolve(own, local, remote netip.AddrPort) error {
	if !remote.IsValid() || remote.Port() == 0 || remote.Addr().IsUnspecified() {
		return fmt.Errorf("sim: resolve: %v is not one host's address and port", remote)
	}
	if remote.Addr().Unmap().Is4() != own.Addr().Is4() {
		return fmt.Errorf("sim: resolve %v from %v: %w", remote, own, syscall.EAFNOSUPPORT)
	}
	if a := local.Addr(); a.IsValid() && !a.IsUnspecified() && a.Unmap() != own.Addr() {
		return fmt.Errorf("sim: resolve: %v is not this Link's address: it is %v: %w", a, own, syscall.EADDRNOTAVAIL)
	}
	return nil
}

// Alloc implements transport.Link.
func (l *Link) Alloc(f *transport.Frame) bool { return !l.closed && l.alloc(f) }

// Send implements transport.Link. Packets leave from the Link's address, whatever Path.LocalIP says.
func (l *Link) Send(fs []transport.Frame) (int, error) {
	if l.closed {
		return 0, transport.ErrClosed
	}
	fs = fs[:min(len(fs), l.options.Burst)]
	for i := range fs {
		f := &fs[i]
		dir, err := l.way(&f.Path)
		if err != nil {
			return i, err
		}
		if err := l.launch(f); err != nil {
			return i, err
		}
		l.net.send(dir, f.Data, f.ECN&3, l.options.Reliable)
		if l.options.CompleteAfter == 0 {
			l.land(f.ID)
			continue
		}
		rec, r := l.net.queue.record()
		r.sender, r.frame = l, f.ID
		l.net.queue.push(l.net.now.Add(l.options.CompleteAfter), rec)
	}
	return len(fs), nil
}

// way finds the direction of a path, mostly the same as last time.
func (l *Link) way(p *transport.Path) (*direction, error) {
	if l.lastDir != nil && *p == l.lastTo {
		return l.lastDir, nil
	}
	remote := p.Remote()
	dir := l.dirs[remote]
	if dir == nil {
		if err := checkResolve(l.home.addr, netip.AddrPort{}, remote); err != nil {
			return nil, err
		}
		dir = l.net.direction(l.node.addr, remote)
		l.dirs[remote] = dir
	}
	l.lastTo, l.lastDir = *p, dir
	return dir, nil
}

// Flush implements transport.Link. Sent packets are on their way already.
func (l *Link) Flush() error {
	if l.closed {
		return transport.ErrClosed
	}
	return nil
}

// Completed implements transport.Link. Data is as it was sent; the other fields are left as they are.
func (l *Link) Completed(fs []transport.Frame) int { return l.collect(fs) }

// Recv implements transport.Link.
func (l *Link) Recv(fs []transport.Frame) (int, error) {
	if l.closed {
		return 0, transport.ErrClosed
	}
	n := min(len(fs), len(l.arrived)-l.head, l.options.Burst)
	for i := range n {
		a := &l.arrived[l.head]
		l.head++
		l.lend(a.id)
		f := &fs[i]
		*f = transport.Frame{Data: l.data(a.id, int(a.length)), Path: a.dir.back, Stamp: a.stamp, ID: a.id, ECN: a.ecn}
		f.Path.MTU = uint16(l.mtu)
		if a.dir.to != l.home {
			own := l.home.addr
			f.Path.LocalIP, f.Path.LocalPort = own.Addr().As16(), own.Port()
		}
	}
	if l.head == len(l.arrived) {
		l.arrived, l.head = l.arrived[:0], 0
	}
	return n, nil
}

// Free implements transport.Link.
func (l *Link) Free(fs []transport.Frame) {
	for i := range fs {
		if !l.release(&fs[i]) {
			continue
		}
		l.empty = append(l.empty, fs[i].ID)
		if len(l.waiting) > 0 {
			l.admit()
		}
	}
}

// admit delivers the first packet that waited for a frame.
func (l *Link) admit() {
	i := l.waiting[0]
	if !l.deliver(&l.net.queue.records[i]) {
		return
	}
	l.waiting = l.waiting[:copy(l.waiting, l.waiting[1:])]
	l.net.note(Delivered, &l.net.queue.records[i])
	l.net.end(i)
}

// deliver copies a packet into a frame; false when there is none.
func (l *Link) deliver(r *record) bool {
	last := len(l.empty) - 1
	if last < 0 {
		return false
	}
	id := l.empty[last]
	l.empty = l.empty[:last]
	if l.head > 0 && len(l.arrived) == cap(l.arrived) {
		l.arrived = l.arrived[:copy(l.arrived, l.arrived[l.head:])]
		l.head = 0
	}
	copy(l.data(id, l.frameBytes), r.packet)
	l.arrived = append(l.arrived, arrival{r.dir, l.net.now, id, uint16(len(r.packet)), r.ecn})
	return true
}

// Events implements transport.Link.
func (l *Link) Events(es []transport.Event) int {
	n := copy(es, l.events)
	l.events = l.events[:copy(l.events, l.events[n:])]
	return n
}

func (l *Link) report(e transport.Event) {
	if len(l.events) == maxEvents {
		l.net.eventsDropped++
		return
	}
	l.events = append(l.events, e)
}

// Wait implements transport.Link in virtual time: unless there is a reason to return at once, it advances the Network to the next thing
// due, at most to until, and returns, whichever Link that was for. So a loop that serves all Links of the Network and then waits on any
// of them sees every packet at its time. Without a limit, and with nothing under way, it answers ErrIdle.
func (l *Link) Wait(until transport.Time) error {
	if l.closed {
		return transport.ErrClosed
	}
	if l.woken.Swap(false) || l.head < len(l.arrived) {
		return nil
	}
	next, ok := l.net.Next()
	switch {
	case until != 0 && (!ok || next > until):
		next = until
	case !ok:
		return ErrIdle
	}
	l.net.Advance(next)
	return nil
}

// Wake implements transport.Link.
func (l *Link) Wake() { l.woken.Store(true) }

// Close implements transport.Link: the other Links see a crash. What is under way to the address goes to the next Link that opens there.
func (l *Link) Close() error {
	if l.closed {
		return transport.ErrClosed
	}
	l.closed = true
	l.node.link = nil
	for _, i := range l.waiting {
		l.net.note(NoListener, &l.net.queue.records[i])
		l.net.end(i)
	}
	l.waiting = nil
	return nil
}
