package xdp

import (
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/netpath"
	"github.com/fastrpc/fastrpc/transport"
)

const (
	// The kernel's sockets are looked at this often, by a clock that is read once in clockTurns turns that found nothing; and for hotTurns
	// turns in a row after they delivered.
	kernelInterval = time.Millisecond
	clockTurns     = 256
	hotTurns       = 1024
	maxHot         = 16 // sockets
)

// idle decides, in a turn that received nothing, whether to look at the kernel's sockets.
func (l *Link) idle() {
	if l.turns++; l.turns%clockTurns == 0 && transport.Now().Sub(l.kernelTime) >= kernelInterval {
		l.kernelDue = true
	}
	if len(l.hot) > 0 || l.kernelReady.Load() {
		l.kernelDue = true
	}
}

// recvViaKernel looks at the kernel's sockets: at those that have something, which is a system call however many there are, or, between two
// such looks, at those that delivered lately.
func (l *Link) recvViaKernel(fs []transport.Frame) (n int) {
	now := transport.Now()
	l.kernelDue = false
	if l.kernelReady.Swap(false) || now.Sub(l.kernelTime) >= kernelInterval {
		l.kernelTime = now
		n = l.drainReady(fs)
	} else {
		n = l.drainHot(fs)
	}
	for i := range fs[:n] {
		fs[i].Stamp = now
	}
	return n
}

// drainReady drains the sockets that have something.
func (l *Link) drainReady(fs []transport.Frame) (n int) {
	for _, s := range l.dev.ready.look(*l.dev.sockets.Load()) {
		if got := l.drain(s, fs[n:]); got > 0 {
			n += got
			if s.hot == 0 && len(l.hot) < cap(l.hot) {
				l.hot = append(l.hot, s)
			}
			s.hot = hotTurns
		}
	}
	return n
}

// drainHot drains those that delivered lately.
func (l *Link) drainHot(fs []transport.Frame) (n int) {
	still := l.hot[:0]
	for _, s := range l.hot {
		got := l.drain(s, fs[n:])
		if s.hot--; got > 0 {
			s.hot = hotTurns
		}
		n += got
		if s.pollFD.Load() < 0 {
			s.hot = 0
		}
		if s.hot > 0 {
			still = append(still, s)
		}
	}
	clear(l.hot[len(still):])
	l.hot = still
	return n
}

// drain takes packets and errors from a socket.
func (l *Link) drain(s *kernelSocket, fs []transport.Frame) (n int) {
	for turns := 0; n < len(fs) && turns < 2*burst; turns++ {
		id, ok := l.frames.alloc()
		if !ok {
			l.stats.NoFrame++ // the packet waits in the socket
			return n
		}
		r := &l.kernel
		err := s.recv(l.room(id), r)
		if err == nil && l.acceptViaKernel(r) {
			kernelPath(&r.path, r.ifindex)
			r.path.MTU = l.dev.payload(&r.path.RemoteIP)
			data := l.room(id)[:r.n:r.n]
			fs[n] = transport.Frame{Data: data, Path: r.path, ID: id, ECN: r.ecn}
			n++
			l.stats.ViaKernel++
			continue
		}
		l.frames.release(id)
		if err == unix.EAGAIN {
			return n
		}
		if err != nil {
			l.takeErrors(s)
		}
	}
	return n
}

// acceptViaKernel counts what is not to be delivered.
func (l *Link) acceptViaKernel(r *received) bool {
	if r.cut {
		l.stats.TooLong++
		return false
	}
	if bound := l.dev.bound.Load(); bound != nil && !isBound(*bound, &r.path.LocalIP, r.path.LocalPort) {
		l.stats.NotOurs++
		return false
	}
	if !l.dev.allows(&r.path.RemoteIP) {
		l.stats.Denied++
		return false
	}
	return true
}

// allows tells whether a source is in the list that the steering program goes by; what it denies comes to the kernel's socket.
func (d *device) allows(ip *[16]byte) bool {
	if len(d.settings.prefixes) == 0 {
		return true
	}
	addr := netip.AddrFrom16(*ip).Unmap()
	for _, p := range d.settings.prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// takeErrors turns ICMP's answers to our packets into events. Any Link may have the session that sent them, so all are told.
func (l *Link) takeErrors(s *kernelSocket) {
	r := &l.kernel
	for range burst {
		if s.recvError(r) != nil {
			return
		}
		e := transport.Event{Kind: transport.Unreachable, Path: r.path, Err: r.err}
		if errors.Is(r.err, unix.EMSGSIZE) {
			e.Kind = transport.MTUChanged
			e.Path.MTU = uint16(min(netpath.MaxPayload(int(min(r.mtu, 1<<16)), !isMapped(&r.path.RemoteIP)), int(l.dev.payload(&r.path.RemoteIP))))
		}
		l.dev.tell(e)
	}
}

// sendViaKernel sends the frames from fs[n] on that answer packets of the kernel's sockets; the frames before it have been sent.
func (l *Link) sendViaKernel(fs []transport.Frame, n int) (int, error) {
	for n < len(fs) && fs[n].Path.Opaque[opaqueFlags]&viaKernel != 0 {
		f := &fs[n]
		if len(f.Data) > int(f.Path.MTU) {
			return n, ErrTooLong
		}
		s := l.dev.socketOf(f.Path.LocalPort, &f.Path.LocalIP)
		if s == nil {
			return n, transport.ErrClosed
		}
		err := s.send(f.Data, &f.Path, f.ECN)
		if err == unix.EAGAIN || err == unix.ENOBUFS {
			l.stats.TxFull++
			return n, nil
		}
		if err != nil { // perhaps that of an earlier packet; a datagram may be lost
			l.stats.SendDropped++
		} else {
			l.stats.SentViaKernel++
		}
		l.frames.move(f.ID, ownedCaller, ownedInFlight)
		l.local = append(l.local, f.ID) // never grows: it has room for every frame
		n++
	}
	return n, nil
}
