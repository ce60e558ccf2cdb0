//go:build rdma

package rdma

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	verbs "github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/transport"
)

// readable is what a completion channel is when a completion came.
const readable = unix.POLLIN

// inlineBytes is up to what length a payload goes into the work request itself, so that the card need not fetch it.
const inlineBytes = 64

// spot is where a Link stands: a port of a device, with an address.
type spot struct {
	device string
	port   int
	from   verbs.GIDEntry
	local  netip.AddrPort
}

// openLink makes a Link and gives the card its receiving frames.
func openLink(s spot, frames int) (l *Link, err error) {
	l = &Link{local: s.local, ip: s.local.Addr().As16(), port: s.port, from: s.from, peers: newPeers()}
	defer func() {
		if err != nil {
			l.release()
		}
	}()
	if l.ctx, err = verbs.Open(s.device); err != nil {
		return l, err
	}
	port, err := l.ctx.Port(s.port)
	if err != nil {
		return l, err
	}
	if !port.Active {
		return l, transport.Mark(transport.ErrPrecondition, fmt.Errorf("port %d of %s is %s: is its cable, or its network interface, up ('rdma link')? %w",
			s.port, s.device, port.State, verbs.ErrNoPort))
	}
	l.mtu = port.MTU
	if err := l.openQueues(frames); err != nil {
		return l, err
	}
	l.caps = transport.Caps{
		Scheme: "rdma", Name: fmt.Sprintf("rdma %s port %d (UD, %v)", s.device, s.port, s.from.Type),
		Frames: frames, FrameBytes: l.mtu, Burst: burst,
	}
	for i := range l.sends {
		l.sends[i] = verbs.SendWR{Op: verbs.OpSendImm, NumSGE: 1, QKey: verbs.UDPQKey}
		l.recvs[i].NumSGE = 1
	}
	if l.refill(); l.failed {
		return l, errors.New("the card did not take the receiving frames")
	}
	l.watch()
	return l, nil
}

func (l *Link) openQueues(frames int) (err error) {
	limits := l.ctx.Limits()
	if frames/2 > limits.MaxWork || frames > limits.MaxCQEs {
		return invalid("%d frames: %s has queues of %d and completion queues of %d: %w", frames, l.ctx.Name(), limits.MaxWork, limits.MaxCQEs, unix.EINVAL)
	}
	mem, err := unix.Mmap(-1, 0, frames*frameStride(l.mtu), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("mmap of packet memory: %w", err)
	}
	l.frames = newFrames(mem, frames, l.mtu)
	_ = unix.Madvise(mem, unix.MADV_HUGEPAGE) // fewer entries in the card's tables, where the kernel grants it
	if l.pd, err = l.ctx.AllocPD(); err != nil {
		return err
	}
	if l.mr, err = l.pd.Register(mem, verbs.LocalWrite); err != nil {
		return err
	}
	if l.cq, err = l.ctx.CreateCQ(frames-frames/2, true); err != nil {
		return err
	}
	if l.scq, err = l.ctx.CreateCQ(frames/2, false); err != nil {
		return err
	}
	l.qp, err = l.pd.CreateQP(verbs.QPConfig{
		Type: verbs.UD, Send: l.scq, Recv: l.cq, SendWork: frames / 2, RecvWork: frames - frames/2, InlineMax: inlineBytes,
	})
	if err != nil {
		return err
	}
	l.inline = l.qp.InlineMax()
	if err := l.parker.Open(l.cq.FD()); err != nil {
		return err
	}
	return l.qp.ReadyUD(l.port, verbs.UDPQKey)
}

// Close implements transport.Link.
func (l *Link) Close() error {
	if l.closed.Swap(true) {
		return transport.ErrClosed
	}
	l.events.cancel()
	l.events.ended.Wait()
	return l.release()
}

// release gives back what there is, also of a Link that did not come to be.
func (l *Link) release() error {
	var errs []error
	closeIf := func(there bool, c interface{ Close() error }) {
		if there {
			errs = append(errs, c.Close())
		}
	}
	closeIf(l.cm != nil, l.cm)
	l.parker.Close()
	closeIf(l.qp != nil, l.qp)
	l.peers.close()
	closeIf(l.cq != nil, l.cq)
	closeIf(l.scq != nil, l.scq)
	closeIf(l.mr != nil, l.mr)
	closeIf(l.pd != nil, l.pd)
	closeIf(l.ctx != nil, l.ctx)
	if l.frames.mem != nil {
		errs = append(errs, unix.Munmap(l.frames.mem))
	}
	return errors.Join(errs...)
}
