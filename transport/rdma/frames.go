package rdma

import (
	"fmt"
	"unsafe"

	"github.com/fastrpc/fastrpc/transport"
)

// A frame's buffer begins with room for the header that the card writes before a received datagram, so that Data lies on a cache line.
const (
	headroom  = 64
	cacheLine = 64
)

// home says where a frame is; see transport.FrameCounts.
type home uint8

const (
	free home = iota
	receive
	borrowed
	inFlight
)

// frames is the books about a Link's packet memory. The lower half of the IDs serves Alloc, the upper half receives, so that neither
// direction starves the other; a frame returns to its own half.
type frames struct {
	mem     []byte // registered
	stride  int    // of a buffer
	bytes   int    // of Frame.Data
	sending int    // IDs below it serve Alloc
	at      []home
	length  []uint16 // of a frame in flight
	toSend  []uint32 // stack
	toPost  []uint32 // stack of receiving frames that the card does not have
	done    ring     // frames whose flight ended
	posted  ring     // frames in flight, in the order in which the card has them
	counts  transport.FrameCounts
}

// frameStride is the size of the buffers for so many bytes of data.
func frameStride(bytes int) int { return headroom + (bytes+cacheLine-1)&^(cacheLine-1) }

func newFrames(mem []byte, n, bytes int) frames {
	p := frames{
		mem: mem, stride: frameStride(bytes), bytes: bytes, sending: n / 2,
		at: make([]home, n), length: make([]uint16, n),
		toSend: make([]uint32, 0, n/2), toPost: make([]uint32, 0, n-n/2), done: newRing(n), posted: newRing(n),
		counts: transport.FrameCounts{Free: n / 2, Receive: n - n/2},
	}
	for id := uint32(n); id > 0; id-- { // so that low IDs come first
		if int(id) > p.sending {
			p.at[id-1] = receive
			p.toPost = append(p.toPost, id-1)
		} else {
			p.toSend = append(p.toSend, id-1)
		}
	}
	return p
}

// offset of a frame's Data in the memory.
func (p *frames) offset(id uint32) int { return int(id)*p.stride + headroom }

// data is frame id cut to n bytes.
func (p *frames) data(id uint32, n int) []byte {
	start := p.offset(id)
	return p.mem[start : start+n : start+p.bytes]
}

// mustOwn panics unless f is one of this Link's frames and in the caller's hands.
func (p *frames) mustOwn(f *transport.Frame, op string) {
	if int(f.ID) >= len(p.at) {
		panic(fmt.Sprintf("rdma: %s of frame %d, which is not of this Link", op, f.ID))
	}
	if at := p.at[f.ID]; at != borrowed {
		panic(fmt.Sprintf("rdma: %s of frame %d, which is %s", op, f.ID, [...]string{"free already", "with the receiver", "", "in flight"}[at]))
	}
	if f.Data == nil { // named by its ID alone
		return
	}
	if uintptr(unsafe.Pointer(unsafe.SliceData(f.Data)))-uintptr(unsafe.Pointer(&p.mem[p.offset(f.ID)])) >= uintptr(p.bytes) {
		panic(fmt.Sprintf("rdma: %s of frame %d of another Link", op, f.ID))
	}
}

// launch takes a frame that the caller owns into flight.
func (p *frames) launch(f *transport.Frame) {
	if unsafe.SliceData(f.Data) != &p.mem[p.offset(f.ID)] {
		panic(fmt.Sprintf("rdma: Send of frame %d whose Data does not begin where Alloc or Recv put it", f.ID))
	}
	p.at[f.ID] = inFlight
	p.length[f.ID] = uint16(len(f.Data))
	p.posted.push(f.ID)
	p.counts.Borrowed--
	p.counts.InFlight++
}

// land ends the flight of the n frames that were launched first.
func (p *frames) land(n int) {
	for range n {
		p.done.push(p.posted.pop())
	}
}

// take hands a receiving frame that was filled with n bytes to the caller.
func (p *frames) take(id uint32, n int) []byte {
	p.at[id] = borrowed
	p.counts.Receive--
	p.counts.Borrowed++
	return p.data(id, n)
}

func (p *frames) alloc(f *transport.Frame) bool {
	last := len(p.toSend) - 1
	if last < 0 {
		return false
	}
	id := p.toSend[last]
	p.toSend = p.toSend[:last]
	p.at[id] = borrowed
	p.counts.Free--
	p.counts.Borrowed++
	f.Data, f.ID = p.data(id, p.bytes), id
	return true
}

func (p *frames) free(fs []transport.Frame) {
	for i := range fs {
		p.mustOwn(&fs[i], "Free")
		id := fs[i].ID
		p.counts.Borrowed--
		if int(id) < p.sending {
			p.at[id] = free
			p.counts.Free++
			p.toSend = append(p.toSend, id)
		} else {
			p.at[id] = receive
			p.counts.Receive++
			p.toPost = append(p.toPost, id)
		}
	}
}

// completed hands out frames whose flight ended.
func (p *frames) completed(fs []transport.Frame) int {
	n := min(len(fs), p.done.len)
	for i := range n {
		id := p.done.pop()
		p.at[id] = borrowed
		fs[i] = transport.Frame{Data: p.data(id, int(p.length[id])), ID: id}
	}
	p.counts.InFlight -= n
	p.counts.Borrowed += n
	return n
}

// ring is a bounded queue of frame IDs.
type ring struct {
	ids       []uint32
	head, len int
}

func newRing(n int) ring { return ring{ids: make([]uint32, n)} }

func (r *ring) push(id uint32) {
	i := r.head + r.len
	if i >= len(r.ids) {
		i -= len(r.ids)
	}
	r.ids[i] = id
	r.len++
}

func (r *ring) pop() uint32 {
	id := r.ids[r.head]
	if r.head++; r.head == len(r.ids) {
		r.head = 0
	}
	r.len--
	return id
}

// reset takes back all that the card has, which has forgotten it: what was in flight has landed, and every receiving frame is to be posted.
func (p *frames) reset() {
	p.land(p.posted.len)
	p.toPost = p.toPost[:0]
	for id, at := range p.at {
		if at == receive {
			p.toPost = append(p.toPost, uint32(id))
		}
	}
}
