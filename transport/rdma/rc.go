//go:build rdma

package rdma

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/sock"
	verbs "github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/transport"
)

const (
	rcFrameBytes = 8 << 10 // long messages need fewer frames; the card cuts them to its port's MTU
	rcDepth      = 128     // sends of one queue pair under way at once; further ones wait in their connection
	rcOwn        = 32      // receives of one queue pair, where a device has no shared receive queues
)

// RC is a Link over reliable connections, a queue pair for each peer, which share their receives where the device can.
type RC struct {
	card
	listening bool
	reserved  *verbs.Reservation // the port of a Link that dials
	srq       *verbs.SRQ         // nil: each queue pair has receives of its own
	renewable bool               // no connection uses it, and one has
	fault     error              // it could not be made anew
	depth     int

	conns   table
	dirty   []*conn         // have frames that came since the last Flush
	blocked int             // connections with frames for which their queue pair has no room
	alert   bool            // one was added since the send queue was armed
	done    [burst]verbs.WC // of sends, as they are polled
	quiet   []*conn         // ended: nothing more gets into the receive queue

	shares  chan fifo // receives of connections' own; see share
	owed    int       // frames that are to become shares
	thirsty []*conn   // may need receives of their own

	notes notes // from the goroutines of connections
	life  context.Context
	stop  context.CancelFunc
	lives sync.WaitGroup

	reads    readList
	pool     atomic.Pointer[pool]  // nil: none, or not yet
	pooling  bool                  // it was asked for
	unpooled atomic.Pointer[error] // why there is none

	turns   int          // Recvs that found nothing since the clock was read
	tendAt  atomic.Int64 // a transport.Time: when connections are to be looked after; 0: never
	tendDue atomic.Bool  // a Wait ended because of it
	dry     bool         // Alloc found none
	stats   RCStats
	serial  atomic.Uint32 // of connections
	refused atomic.Uint64
}

var _ transport.Link = (*RC)(nil)

// RCStats counts what happened to connections.
type RCStats struct {
	Accepted      uint64
	Opened        uint64 // dialled, with success
	Failed        uint64 // dialled in vain; each is an Unreachable event as well, unless nobody answered
	Ended         uint64 // each is a PeerClosed event
	Idle          uint64 // of these: closed here, because nothing came
	Stalled       uint64 // of these: closed here, because the peer did not take what was sent
	Refused       uint64 // not accepted, because there were as many as may be
	Lost          uint64 // frames that were sent and for which there was no connection, or that it ended with
	Stale         uint64 // completions of queue pairs that are no more
	Reads         uint64 // of parts of messages that peers have exposed
	Unpooled      error  // why there is no memory for messages that are fetched, if there was to be any
	EventsDropped uint64
}

// Stats is for the goroutine that owns the Link.
func (l *RC) Stats() RCStats {
	s := l.stats
	s.Refused = l.refused.Load()
	if err := l.unpooled.Load(); err != nil {
		s.Unpooled = *err
	}
	s.EventsDropped = l.events.dropped.Load()
	return s
}

// openRC makes a Link and gives the card its receiving frames. The Link closes cm, also if there is an error.
func openRC(cm *verbs.CM, at spot, s settings, listening bool) (*RC, error) {
	l := &RC{card: card{cm: cm}, listening: listening}
	if err := l.start(at, s); err != nil {
		_ = l.release()
		return nil, err
	}
	return l, nil
}

func (l *RC) start(at spot, s settings) (err error) {
	l.life, l.stop = context.WithCancel(context.Background())
	if !l.listening {
		if l.reserved, err = l.cm.Reserve(verbs.RC, at.local.Addr()); err != nil {
			return err
		}
		at.local = l.reserved.Addr()
	}
	l.oneSided = linkReads + 2*windows // of windows also the binds, which complete when they fail
	if err := l.open(at, s.frames, rcFrameBytes, 0); err != nil {
		return err
	}
	l.caps.Name = fmt.Sprintf("rdma %s port %d (RC, %v)", at.device, at.port, at.from.Type)
	l.caps.Reliable, l.caps.Ordered = true, true
	limits := l.ctx.Limits()
	l.depth = min(rcDepth, l.frames.Sending(), limits.MaxWork)
	if limits.MaxWindows >= windows && limits.MaxReadAtomic >= connReads && limits.MaxWork >= l.depth+ownWork {
		l.caps.FetchLeast = s.rendezvous
	} else if s.rendezvous > 0 {
		err := fmt.Errorf("%s: messages are read with %d memory windows, %d reads at once and queues of %d: %w", at.device, windows, connReads, l.depth+ownWork, verbs.ErrUnsupported)
		l.unpooled.Store(&err)
	}
	l.conns = newTable(min(s.conns, limits.MaxQPs), s.idle)
	for i := range l.sends {
		l.sends[i].Op = verbs.OpSend
	}
	l.notes.byQPN, l.notes.dialled = map[uint32]*conn{}, map[peerKey]*conn{}
	receiving := s.frames - l.frames.Sending()
	if limits.MaxSRQs > 0 && !withoutShared {
		if l.srq, err = l.pd.CreateSRQ(receiving); err != nil {
			return err
		}
	} else {
		l.shares, l.owed = make(chan fifo, receiving/rcOwn), receiving/rcOwn*rcOwn
	}
	if err := l.refill(); err != nil {
		return err
	}
	l.watch(deviceEvents+2*l.conns.limit+burst, l.ofQP)
	return nil
}

// Close implements transport.Link. What was flushed leaves first, if the peers take it within a moment.
func (l *RC) Close() error {
	if l.closed.Swap(true) {
		return transport.ErrClosed
	}
	if l.notes.any.Load() {
		l.read()
	}
	for end := transport.Now().Add(closeLimit); l.inFlight() && transport.Now() < end; {
		l.reap()
	}
	return l.release()
}

// inFlight tells whether a connection has sends under way.
func (l *RC) inFlight() bool {
	for _, c := range l.conns.all {
		if c != nil && c.state == connOpen && c.posted.len > 0 {
			return true
		}
	}
	return false
}

func (l *RC) release() error {
	l.stop()
	err := l.cm.Close() // which disconnects them all
	l.notes.close()
	l.lives.Wait()
	if l.srq != nil && l.fault == nil {
		err = errors.Join(err, l.srq.Close())
	}
	if p := l.pool.Load(); p != nil {
		err = errors.Join(err, p.close())
	}
	return errors.Join(err, l.card.release())
}

// Resolve implements transport.Link. A Link that dials opens the connection, unless it has it, and waits for that.
func (l *RC) Resolve(ctx context.Context, local, remote netip.AddrPort) (transport.Path, error) {
	p := transport.Path{RemoteIP: remote.Addr().As16(), RemotePort: remote.Port(), LocalIP: l.ip, LocalPort: l.local.Port(), MTU: rcFrameBytes}
	err := l.check(local, remote)
	switch {
	case err != nil:
	case remote.Addr().Is6() && remote.Addr().IsLinkLocalUnicast():
		err = sock.Invalid("a link-local address is only for datagrams (qp=ud): %w", unix.EADDRNOTAVAIL)
	case l.listening:
		var r *verbs.Route
		if r, err = l.route(ctx, verbs.RC, l.somePort(), remote); err == nil {
			_ = r.Close()
		}
	default:
		err = l.reach(ctx, &p)
	}
	if err != nil {
		return transport.Path{}, fmt.Errorf("rdma: resolve %v: %w", remote, err)
	}
	return p, nil
}

func (l *RC) reach(ctx context.Context, p *transport.Path) error {
	c := l.begin(p)
	if c == nil {
		return errFull
	}
	select {
	case <-c.joined:
		return c.refusal
	case <-ctx.Done():
		return ctx.Err()
	case <-l.life.Done():
		return transport.ErrClosed
	}
}

// Alloc implements transport.Link.
func (l *RC) Alloc(f *transport.Frame) bool {
	if l.closed.Load() {
		return false
	}
	ok := l.frames.Alloc(f)
	if !ok && !l.dry {
		l.tendSoon(transport.Now())
	}
	l.dry = !ok
	return ok
}

// Completed implements transport.Link. Data is as it was sent; Path is not kept. A frame completes when the peer's card has it.
func (l *RC) Completed(fs []transport.Frame) int {
	if l.notes.any.Load() {
		l.read()
	}
	if l.frames.Landed() < len(fs) && l.frames.Counts().InFlight > l.frames.Landed() && !l.closed.Load() {
		l.reap()
	}
	return l.frames.Completed(fs)
}

// withoutShared opens Links without a shared receive queue although the device has some, as tests want it.
var withoutShared bool
