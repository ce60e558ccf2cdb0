package xdp

import (
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/netpath"
)

// maxSpan is how many chunks a frame to send has at most. Of a received packet as large, each chunk holds XDP's headroom beside its part.
const maxSpan = 4

// joint is a packet that came in several chunks, while it is put together: its parts lie behind a headroom each and cannot be one slice. They
// are copied into a frame to send, which is as long as the largest packet, and their chunks go back to receive.
type joint struct {
	state jointState
	id    uint32 // the frame
	bytes uint64 // that are there
}

type jointState uint8

const (
	jointNone jointState = iota
	jointOpen            // a packet is being put together
	jointLost            // what is still to come of a packet is dropped
)

// joinOffset is where a joint packet begins in its frame, so that what its headers carry begins as that of a packet to send does.
const joinOffset = dataOffset - netpath.EthernetBytes - netpath.IPv4Bytes - netpath.UDPBytes

// join takes a part of a packet. With the last one the packet is whole and stands from start to end, in frame l.joint.id, which is the caller's.
func (l *Link) join(d *unix.XDPDesc) (start, end uint64, whole bool) {
	j := &l.joint
	if j.state == jointNone {
		j.state, j.bytes = jointLost, 0
		// A quarter of the frames to send is kept for those who send. What is lost here, the protocol sends again.
		if len(l.frames.spare) <= cap(l.frames.spare)/4 {
			l.stats.NoFrame++
		} else if id, ok := l.frames.alloc(); ok {
			l.frames.move(id, ownedCaller, ownedReceive) // nobody has it yet
			j.state, j.id = jointOpen, id
		}
	}
	if j.state == jointOpen {
		start = l.frames.sendAddr(j.id) + joinOffset
		end = start + j.bytes
		if room := l.frames.sendAddr(j.id) + 1<<l.frames.sendShift - end; uint64(d.Len) > room {
			l.stats.TooLong++
			l.frames.move(j.id, ownedReceive, ownedCaller)
			l.frames.release(j.id)
			j.state = jointLost
		} else {
			copy(l.memory[end:end+uint64(d.Len)], l.memory[d.Addr:d.Addr+uint64(d.Len)])
			j.bytes += uint64(d.Len)
			end += uint64(d.Len)
		}
	}
	l.frames.giveReserve(l.frames.id(d.Addr))
	if d.Options&unix.XDP_PKT_CONTD != 0 {
		return 0, 0, false
	}
	if whole = j.state == jointOpen; whole {
		l.frames.move(j.id, ownedReceive, ownedCaller)
	}
	j.state = jointNone
	return start, end, whole
}
