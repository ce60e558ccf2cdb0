package xdp

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/transport"
)

// Alloc hands out a free frame to send.
func (l *Link) Alloc(f *transport.Frame) bool {
	id, ok := l.frames.alloc()
	if !ok {
		l.stats.NoFrame++
		return false
	}
	f.ID, f.Data = id, l.room(id)
	return true
}

// room is where a frame to send has its data.
func (l *Link) room(id uint32) []byte {
	from := l.frames.addr(id) + dataOffset
	to := from + uint64(l.caps.FrameBytes)
	return l.memory[from:to:to]
}

// Send takes the first n frames into flight.
func (l *Link) Send(fs []transport.Frame) (n int, err error) {
	if err := l.err(); err != nil {
		return 0, err
	}
	l.headers.follow(l.dev)
	fs = fs[:min(len(fs), burst)]
	queued := 0
	for i := range fs {
		f := &fs[i]
		if f.Path.Opaque[opaqueFlags]&viaKernel != 0 {
			break
		}
		if l.descs[queued], err = l.pack(f); err != nil {
			break
		}
		queued++
	}
	n = l.socket.Transmit(l.descs[:queued])
	for i := range fs[:n] {
		l.frames.move(fs[i].ID, ownedCaller, ownedInFlight)
	}
	l.stats.Sent += uint64(n)
	l.kick = l.kick || n > 0
	switch {
	case n < queued:
		l.stats.TxFull++
		return n, nil
	case err == nil && queued < len(fs):
		return l.sendViaKernel(fs, queued)
	}
	return n, err
}

// pack writes the headers in front of a frame's data and describes the packet.
func (l *Link) pack(f *transport.Frame) (unix.XDPDesc, error) {
	if len(f.Data) > int(f.Path.MTU) {
		return unix.XDPDesc{}, ErrTooLong
	}
	header, err := l.headers.of(&f.Path, l.dev)
	if err != nil {
		return unix.XDPDesc{}, err
	}
	chunk := l.frames.addr(f.ID)
	data := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(f.Data))) - uintptr(unsafe.Pointer(&l.memory[0])))
	from, to := data-uint64(header.Len()), data+uint64(len(f.Data))
	if data-chunk > l.frames.chunkBytes() || from < chunk || to > chunk+l.frames.chunkBytes() {
		panic("xdp: the data of a frame to send does not lie in its buffer; cut its end only")
	}
	header.Put(l.memory[from:to], f.ECN)
	return unix.XDPDesc{Addr: from, Len: uint32(to - from)}, nil
}

// Flush makes the kernel look at what was sent.
func (l *Link) Flush() error {
	if !l.kick {
		return nil
	}
	err := l.socket.Kick()
	if err == nil {
		l.kick = false
		return nil
	}
	return l.kickFailed(err)
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
	}
	return fmt.Errorf("xdp: %w", err)
}

// Completed fills fs with frames whose flight ended.
func (l *Link) Completed(fs []transport.Frame) int {
	n := l.socket.Complete(l.addrs[:min(len(fs), burst)])
	for i, addr := range l.addrs[:n] {
		id := l.frames.id(addr)
		l.frames.move(id, ownedInFlight, ownedCaller)
		fs[i] = transport.Frame{ID: id, Data: l.room(id)}
	}
	for n < len(fs) && len(l.local) > 0 {
		last := len(l.local) - 1
		id := l.local[last]
		l.local = l.local[:last]
		l.frames.move(id, ownedInFlight, ownedCaller)
		fs[n] = transport.Frame{ID: id, Data: l.room(id)}
		n++
	}
	return n
}
