package xdp

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/internal/tap"
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
	to := from + l.frames.size(id) - dataOffset
	return l.memory[from:to:to]
}

// Send takes the first n frames into flight.
func (l *Link) Send(fs []transport.Frame) (n int, err error) {
	if err := l.err(); err != nil {
		return 0, err
	}
	l.headers.follow(l.dev)
	fs = fs[:min(len(fs), burst)]
	queued, parts, bytes := 0, 0, uint64(0)
	for i := range fs {
		f := &fs[i]
		if f.Path.Opaque[opaqueFlags]&viaKernel != 0 {
			break
		}
		if l.descs[parts], err = l.pack(f); err != nil {
			break
		}
		bytes += uint64(l.descs[parts].Len)
		if l.frames.parts == nil {
			parts++
		} else {
			parts += l.split(parts, f.ID)
		}
		queued++
	}
	sent := l.socket.Transmit(l.descs[:parts])
	if w := l.tap.Watched(); w != nil {
		w.Packets(tap.Out, l.memory, l.descs[:sent])
	}
	if n = queued; sent < parts {
		n, bytes = l.whole(sent)
	}
	l.stats.SentBytes += bytes
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
	start := l.frames.addr(f.ID)
	data := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(f.Data))) - uintptr(unsafe.Pointer(&l.memory[0])))
	from, to := data-uint64(header.Len()), data+uint64(len(f.Data))
	if size := l.frames.size(f.ID); data-start > size || from < start || to > start+size {
		panic("xdp: the data of a frame to send does not lie in its buffer; cut its end only")
	}
	header.Put(l.memory[from:to], f.ECN)
	return unix.XDPDesc{Addr: from, Len: uint32(to - from)}, nil
}

// split cuts the packet in l.descs[at] at the ends of its chunks, beyond which no descriptor may go, and returns into how many parts.
func (l *Link) split(at int, id uint32) (parts int) {
	d := l.descs[at]
	for {
		part := &l.descs[at+parts]
		*part = d
		parts++
		room := l.frames.chunkLeft(d.Addr)
		if d.Len <= room {
			l.frames.parts[id] = uint8(parts)
			return parts
		}
		part.Len, part.Options = room, unix.XDP_PKT_CONTD
		d.Addr, d.Len = d.Addr+uint64(room), d.Len-room
	}
}

// whole is how many packets the first sent of l.descs are, and of how many bytes.
func (l *Link) whole(sent int) (n int, bytes uint64) {
	for i := range l.descs[:sent] {
		bytes += uint64(l.descs[i].Len)
		if l.descs[i].Options&unix.XDP_PKT_CONTD == 0 {
			n++
		}
	}
	return n, bytes
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
func (l *Link) Completed(fs []transport.Frame) (n int) {
	for more := true; more && n < len(fs); {
		want := min(len(fs)-n, burst)
		got := l.socket.Complete(l.addrs[:want])
		more = got == want
		for _, addr := range l.addrs[:got] {
			id := l.frames.id(addr)
			if !l.frames.landed(id) {
				continue
			}
			l.frames.move(id, ownedInFlight, ownedCaller)
			fs[n] = transport.Frame{ID: id, Data: l.room(id)}
			n++
		}
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
