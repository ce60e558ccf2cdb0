//go:build rdma

package rdma

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/sock"
	verbs "github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/transport"
)

const (
	burst       = verbs.Burst     // packets that one call into libibverbs moves
	readable    = unix.POLLIN     // what a completion channel is when a completion came
	inlineBytes = 64              // up to this length a payload goes into the work request itself, so that the card need not fetch it
	markEvery   = 32              // sends at most for each that asks for a completion, which tells of those before it, too
	recvPolls   = 8               // of a Recv that finds nothing, within its call into C: else a poll would be little of a turn's time
	refillAt    = 16              // frames wait before the card gets them back: a call for each would cost more than a packet
	closeLimit  = time.Second / 5 // for what was flushed to leave before Close destroys the queues
)

// spot is where a Link stands: a port of a device, with an address.
type spot struct {
	device string
	port   int
	from   verbs.GIDEntry
	local  netip.AddrPort
}

// card is what Links of both kinds have: an open device, frames in registered memory, two completion queues, and a place to wait at.
type card struct {
	caps  transport.Caps
	spot  spot
	local netip.AddrPort
	ip    [16]byte // of local
	mtu   int      // of the device's port, bytes

	ctx *verbs.Context
	cm  *verbs.CM
	pd  *verbs.PD
	mr  *verbs.MR
	cq  *verbs.CQ // of receives; its descriptor tells of sends, too
	scq *verbs.CQ // of sends

	mem    *verbs.Memory // of the frames
	frames sock.Frames
	next   []uint32 // see fifo
	inline int

	oneSided int // completions of sends beside those of frames

	sends [burst]verbs.SendWR // as they are posted
	recvs [burst]verbs.RecvWR
	wcs   [burst]verbs.WC // as they are polled

	events events
	armed  atomic.Bool // receives make an event
	sarmed atomic.Bool // sends do
	closed atomic.Bool
	parker sock.Parking
}

// open opens the device and takes the memory: n frames of the given capacity, or of the port's MTU.
func (l *card) open(at spot, n, bytes, headroom int) (err error) {
	l.spot, l.local, l.ip = at, at.local, at.local.Addr().As16()
	if l.ctx, err = verbs.Open(at.device); err != nil {
		return err
	}
	port, err := l.ctx.Port(at.port)
	if err != nil {
		return err
	}
	if !port.Active {
		return transport.Mark(transport.ErrPrecondition, fmt.Errorf("port %d of %s is %s: is its cable, or its network interface, up ('rdma link')? %w",
			at.port, at.device, port.State, verbs.ErrNoPort))
	}
	if l.mtu = port.MTU; bytes == 0 {
		bytes = port.MTU
	}
	if limits := l.ctx.Limits(); n/2 > limits.MaxWork || n > limits.MaxCQEs {
		return sock.Invalid("%d frames: %s has queues of %d and completion queues of %d: %w", n, at.device, limits.MaxWork, limits.MaxCQEs, unix.EINVAL)
	}
	if l.mem, err = verbs.Map(n * (headroom + bytes)); err != nil {
		return err
	}
	mem := l.mem.Bytes()[:n*(headroom+bytes)]
	l.frames, l.next = sock.NewFramesIn("rdma", mem, n, bytes, headroom), make([]uint32, n)
	if l.pd, err = l.ctx.AllocPD(); err != nil {
		return err
	}
	if l.mr, err = l.pd.Register(mem, verbs.LocalWrite); err != nil {
		return err
	}
	if l.cq, err = l.ctx.CreateCQ(n-n/2, true); err != nil {
		return err
	}
	if l.scq, err = l.cq.Sibling(n/2 + l.oneSided); err != nil {
		return err
	}
	for i := range l.recvs {
		l.recvs[i].NumSGE, l.sends[i].NumSGE = 1, 1
	}
	l.caps = transport.Caps{Scheme: "rdma", Frames: n, FrameBytes: bytes, Burst: burst}
	return l.parker.Open(l.cq.FD())
}

// release gives back what there is, also of a card that was not opened to the end. Its connection manager and queue pairs are closed before.
func (l *card) release() error {
	l.events.close()
	l.parker.Close()
	var errs []error
	closeIf := func(there bool, c interface{ Close() error }) {
		if there {
			errs = append(errs, c.Close())
		}
	}
	closeIf(l.scq != nil, l.scq)
	closeIf(l.cq != nil, l.cq)
	closeIf(l.mr != nil, l.mr)
	closeIf(l.pd != nil, l.pd)
	closeIf(l.ctx != nil, l.ctx)
	if l.mem != nil {
		errs = append(errs, l.mem.Close())
	}
	return errors.Join(errs...)
}

// check refuses ends that no path of this Link has.
func (l *card) check(local, remote netip.AddrPort) error {
	if local.Port() != 0 && local.Port() != l.local.Port() {
		return fmt.Errorf("port %d is not this Link's: it is %d: %w", local.Port(), l.local.Port(), unix.EADDRNOTAVAIL)
	}
	if !remote.IsValid() || remote.Port() == 0 || remote.Addr().IsUnspecified() || remote.Addr().IsMulticast() {
		return sock.Invalid("not one host's address and port: %w", unix.EDESTADDRREQ)
	}
	return nil
}

// route finds the way to a remote address, which must lead over the Link's port of its device. It is to be closed.
func (l *card) route(ctx context.Context, kind verbs.QPType, local, remote netip.AddrPort) (*verbs.Route, error) {
	r, err := l.cm.Resolve(ctx, kind, local, remote)
	if err != nil {
		return nil, err
	}
	if device, port := r.Device(); device != l.ctx.Name() || port != l.spot.port {
		_ = r.Close()
		return nil, fmt.Errorf("the way leads over port %d of %s, and this Link is on port %d of %s: %w", port, device, l.spot.port, l.ctx.Name(), unix.EHOSTUNREACH)
	}
	return r, nil
}

// somePort is the Link's address with any port.
func (l *card) somePort() netip.AddrPort { return netip.AddrPortFrom(l.local.Addr(), 0) }

// failed says which Link an error is of.
func (l *card) failed(err error) error { return fmt.Errorf("rdma: %s: %w", l.caps.Name, err) }

func (l *card) address() netip.AddrPort { return l.local }

// Caps implements transport.Link.
func (l *card) Caps() transport.Caps { return l.caps }

// Free implements transport.Link. The card gets receiving frames back in bursts, with the next Recv.
func (l *card) Free(fs []transport.Frame) { l.frames.Free(fs) }

// Counts implements transport.Link.
func (l *card) Counts() transport.FrameCounts { return l.frames.Counts() }

// Wake implements transport.Link.
func (l *card) Wake() { l.parker.Wake() }

// wait parks until a completion queue that was armed has something, until, or Wake.
func (l *card) wait(until transport.Time) error {
	if !l.armed.Swap(true) {
		return l.cq.Arm() // what came before makes no event: it is for a Recv to look, before the next Wait
	}
	ready, err := l.parker.Wait(until, readable)
	if err != nil {
		return fmt.Errorf("rdma: %w", err)
	}
	if ready != 0 {
		if err := l.cq.Acknowledge(); err != nil {
			return err
		}
		l.armed.Store(false) // whichever of them it was
		l.sarmed.Store(false)
	}
	return nil
}
