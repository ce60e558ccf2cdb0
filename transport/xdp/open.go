package xdp

import (
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bpf"
	"github.com/fastrpc/fastrpc/transport"
)

// openLink opens the i-th Link of the device. It is in d.links from its first resource on.
func (d *device) openLink(i int) error {
	s := &d.settings
	l := &Link{
		dev: d, queue: int(s.queues[i]), first: i == 0, busyPoll: s.busyPoll > 0,
		memory: d.umem.Bytes(),
		frames: newFrames(uint64(i*s.frames*s.chunk), uint(bits.TrailingZeros(uint(s.chunk))), s.frames),
		local:  make([]uint32, 0, s.frames),
	}
	l.events.waiting = make([]transport.Event, 0, maxEvents)
	if err := l.park.open(); err != nil {
		return err
	}
	d.links = append(d.links, l)

	c := afxdp.SocketConfig{
		Ifindex: d.key.ifindex, Queue: l.queue,
		RxEntries: l.frames.half, FillEntries: l.frames.half, TxEntries: l.frames.half, CompletionEntries: uint32(s.frames),
		Mode:     d.copyMode(),
		BusyPoll: afxdp.BusyPoll{Micros: s.busyPoll, Budget: burst, Prefer: s.busyPoll > 0},
	}
	if i > 0 {
		c.Shared = d.links[0].socket
	}
	for id := range l.frames.half {
		c.Fill = append(c.Fill, l.frames.addr(id))
	}
	var err error
	if l.socket, err = afxdp.Open(d.umem, c); err != nil {
		return err
	}
	l.fd, l.zeroCopy = l.socket.FD(), l.socket.ZeroCopy()
	if err := d.prog.SetSocket(l.queue, l.fd); err != nil {
		return err
	}
	copying := "copy"
	if l.zeroCopy {
		copying = "zero-copy"
	}
	l.caps = transport.Caps{
		Scheme: scheme, Name: fmt.Sprintf("xdp %s queue %d (%v, %s)", d.name, l.queue, d.prog.Mode(), copying),
		Frames: s.frames, FrameBytes: s.chunk - dataOffset, Burst: burst, ECN: true,
	}
	return nil
}

// copyMode is what to ask of the socket. A generic program gets copies of packets, whatever the driver could do.
func (d *device) copyMode() afxdp.Mode {
	switch {
	case d.settings.zeroCopy == on:
		return afxdp.ZeroCopy
	case d.settings.zeroCopy == off || d.prog.Mode() == bpf.Generic:
		return afxdp.Copy
	}
	return afxdp.PreferZeroCopy
}

// shut closes what the Link holds. Nobody uses it any more.
func (l *Link) shut() error {
	l.state.Store(linkClosed)
	l.park.wake() // a Wait that should not be there any more would keep the queue's socket open
	l.frames.spare = nil
	l.local = nil
	err := l.park.close()
	if l.socket != nil {
		err = errors.Join(err, l.socket.Close())
	}
	return err
}

// kickFailed sorts out what Flush met. Packets stay in the TX ring while the device is busy or down, and go with a later Flush; protocols
// above take them for lost meanwhile.
func (l *Link) kickFailed(err error) error {
	switch {
	case errors.Is(err, afxdp.ErrRetry):
		l.stats.KickRetries++
		return nil
	case errors.Is(err, afxdp.ErrDeviceGone):
		return l.dev.goneErr
	case errors.Is(err, afxdp.ErrClosed):
		return transport.ErrClosed
	case errors.Is(err, unix.EMSGSIZE), errors.Is(err, unix.EINVAL):
		l.stats.KickRetries++
		return nil
	}
	return fmt.Errorf("xdp: %w", err)
}
