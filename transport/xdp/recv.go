package xdp

import (
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/netpath"
	"github.com/fastrpc/fastrpc/transport"
)

const (
	// startDepth is how many frames the kernel has to receive into at first, where it copies packets. It uses them in turn, so that few of
	// them stay in the second-level cache and the TLB, which thousands do not: that would cost some 100 ns a packet. A full burst doubles
	// the number. Drivers with zero-copy take what their own rings hold, and get all from the start.
	startDepth = 256
	fillBatch  = 32 // frames that the fill ring may lack before Recv fills it (Free fills it always), and the least that counts as a full burst
)

// Recv fills fs with received packets.
func (l *Link) Recv(fs []transport.Frame) (n int, err error) {
	if err := l.err(); err != nil {
		return 0, err
	}
	if l.busyPoll {
		_ = l.socket.WakeFill() // receives; what is wrong shows elsewhere
	}
	want := min(len(fs), burst)
	if l.kernelDue && want > 1 {
		want-- // a queue that is never empty does not keep the kernel's sockets out
	}
	got := l.socket.Receive(l.descs[:want])
	if w := l.tap.Watched(); w != nil {
		l.attend(w, got)
	}
	if got > 0 {
		if l.askNAPI {
			l.learnNAPI()
		}
		now := transport.Now()
		l.filled -= got
		for i := range got {
			l.stats.ReceivedBytes += uint64(l.descs[i].Len)
			if l.unpack(&l.descs[i], &fs[n]) {
				fs[n].Stamp = now
				n++
			}
		}
		l.stats.Received += uint64(n)
		if got == want && got >= fillBatch && l.depth < int(l.frames.half) { // more comes in a turn than one burst
			l.depth = min(2*l.depth, int(l.frames.half))
		}
		if l.depth-l.filled >= min(fillBatch, l.depth/2) {
			l.fill() // Free may be long in coming
		}
		l.kernelDue = l.kernelDue || l.first && now.Sub(l.kernelTime) >= kernelInterval
	} else if l.first {
		l.idle()
	}
	if l.kernelDue && n < len(fs) {
		n += l.recvViaKernel(fs[n:])
	}
	return n, nil
}

// unpack makes a frame of a received packet; false when it is none of ours.
func (l *Link) unpack(d *unix.XDPDesc, f *transport.Frame) bool {
	id := l.frames.id(d.Addr)
	l.frames.move(id, ownedReceive, ownedCaller)
	start, end := d.Addr, d.Addr+uint64(d.Len)
	if d.Options&unix.XDP_PKT_CONTD != 0 || l.joint.state != jointNone {
		var whole bool
		if start, end, whole = l.join(d); !whole {
			return false
		}
		id = l.joint.id
	}
	p := &l.parsed
	if netpath.Parse(l.memory[start:end], p) != nil {
		l.stats.Malformed++
		l.frames.free(id)
		return false
	}
	if bound := l.dev.bound.Load(); bound != nil && !isBound(*bound, &p.DstIP, p.DstPort) {
		l.stats.NotOurs++
		l.frames.free(id)
		return false
	}
	from, to := start+uint64(p.Offset), start+uint64(p.Offset+p.Bytes)
	// Field by field: a composite literal would be built elsewhere and copied.
	f.Data, f.ID, f.ECN = l.memory[from:to:to], id, p.ECN
	path := &f.Path
	path.RemoteIP, path.LocalIP, path.RemotePort, path.LocalPort = p.SrcIP, p.DstIP, p.SrcPort, p.DstPort
	path.MTU = l.dev.payload(&p.SrcIP)
	putNextHop(&path.Opaque, p.SrcMAC, p.VLAN)
	return true
}

// Free gives frames back.
func (l *Link) Free(fs []transport.Frame) {
	for i := range fs {
		l.frames.free(fs[i].ID)
	}
	if l.filled < l.depth {
		l.fill()
	}
}

// fill gives the kernel frames to receive into, up to depth. The fill ring has room for every receiving frame, but for an instant after a
// packet came out of a full one, see afxdp.Socket.Fill; what it does not take goes with the next fill.
func (l *Link) fill() {
	for l.filled < l.depth {
		n := l.frames.takeReserve(l.addrs[:min(burst, l.depth-l.filled)])
		took := l.socket.Fill(l.addrs[:n])
		l.filled += took
		if took < burst {
			l.frames.untakeReserve(l.addrs[took:n])
			break
		}
	}
	_ = l.socket.WakeFill() // an error is temporary, and the next one mends it, or the interface is gone, which the watcher tells
}
