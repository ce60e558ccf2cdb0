package xdp

import (
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bpf"
	"github.com/fastrpc/fastrpc/transport"
)

// openLink opens the i-th Link of the device. It is in d.links from its first resource on.
func (d *device) openLink(i int) error {
	s := &d.settings
	l := &Link{
		dev: d, queue: int(s.queues[i]), first: i == 0, hot: make([]*kernelSocket, 0, maxHot), busyPoll: s.busyPoll > 0,
		memory: d.umem.Bytes(),
		local:  make([]uint32, 0, s.frames),
	}
	shift := uint(bits.TrailingZeros(uint(s.chunk)))
	l.frames = newFrames(uint64(i*s.memory()), shift, shift+uint(bits.TrailingZeros(uint(s.span))), s.frames)
	l.events.waiting = make([]transport.Event, 0, maxEvents)
	if err := l.park.open(); err != nil {
		return err
	}
	d.links = append(d.links, l)

	c := afxdp.SocketConfig{
		Ifindex: d.key.ifindex, Queue: l.queue,
		RxEntries: l.frames.half, FillEntries: l.frames.half, TxEntries: l.frames.half, CompletionEntries: uint32(s.frames * s.span),
		Mode: d.copyMode(), MultiBuffer: s.multiBuffer,
		BusyPoll: afxdp.BusyPoll{Micros: s.busyPoll, Budget: burst, Prefer: s.busyPoll > 0},
	}
	if i > 0 {
		c.Shared = d.links[0].socket
	}
	l.depth = min(startDepth, int(l.frames.half))
	c.Fill = make([]uint64, l.depth)
	l.filled = l.frames.takeReserve(c.Fill)
	var err error
	if l.socket, err = afxdp.Open(d.umem, c); err != nil {
		return err
	}
	l.fd, l.zeroCopy = l.socket.FD(), l.socket.ZeroCopy()
	if l.zeroCopy {
		l.depth = int(l.frames.half)
		l.fill()
	}
	if l.busyPoll || s.pollThread {
		l.beginPolling()
	}
	if err := d.prog.SetSocket(l.queue, l.fd); err != nil {
		return err
	}
	copying, delay := "copy", burst*copyDelay
	if l.zeroCopy {
		copying, delay = "zero-copy", 0
	}
	l.caps = transport.Caps{
		Scheme: scheme, Name: fmt.Sprintf("xdp %s queue %d (%v, %s)", d.name, l.queue, d.prog.Mode(), copying),
		Frames: s.frames, FrameBytes: s.span*s.chunk - dataOffset, Burst: burst, ECN: true, BurstDelay: delay,
	}
	return nil
}

// copyDelay is what the kernel takes to copy a packet, hand it to the driver and, over veth, to the receiver: all within the kick.
const copyDelay = 2500 * time.Nanosecond

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
