package session

import (
	"unsafe"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// cacheLine of the processors that matter, bytes.
const cacheLine = 64

// hotLines is how many cache lines of a Conn packets touch.
const hotLines = (unsafe.Offsetof(Conn{}.Tag) + cacheLine - 1) / cacheLine

// Fetch brings the sessions of a burst of received packets into the processor's caches, before HandlePacket takes one after the other: where
// there are thousands of sessions each comes from memory, and so the processor waits for many at a time. It changes nothing.
func (e *Endpoint) Fetch(fs []transport.Frame) {
	if e.open <= fewSessions {
		return
	}
	sum := e.fetched // somewhere to put what was read, so that the compiler does not leave the reading out
	for i := range fs {
		b := fs[i].Data
		if len(b) < wire.DataHeaderBytes {
			continue
		}
		index := indexOf(wire.SessionOf(b))
		if int(index) >= len(e.conns) || e.conns[index] == nil {
			continue
		}
		sum += e.conns[index].fetch()
	}
	for i := range fs { // what they point to
		b := fs[i].Data
		if len(b) < wire.DataHeaderBytes {
			continue
		}
		if c := e.lookup(wire.SessionOf(b)); c != nil {
			sum += c.fetchMore()
		}
	}
	e.fetched = sum
}

func (c *Conn) fetch() (sum byte) {
	lines := (*[hotLines * cacheLine]byte)(unsafe.Pointer(c))
	for i := range hotLines {
		sum += lines[i*cacheLine]
	}
	return sum
}

func (c *Conn) fetchMore() (sum byte) {
	if l := &c.sent; len(l.ring) > 0 && len(l.items) > 0 {
		sum = byte(l.at(l.next).at) + byte(l.item(l.nextItem).epoch)
	}
	if len(c.slots) > 0 {
		sum += byte(c.slots[0].seq)
	}
	return sum
}
