package udp

import (
	"fmt"
	"unsafe"

	"github.com/fastrpc/fastrpc/transport"
)

const (
	frameBytes    = 2048 // a page holds two; more than any path without jumbo frames carries
	defaultFrames = 2048
)

// home says where a frame is; see transport.FrameCounts.
type home uint8

const (
	free home = iota
	receive
	borrowed
	inFlight
)

// frames is the Link's packet memory and the books about it. The lower half of the IDs serves Alloc, the upper half receives, so that neither
// direction starves the other; a frame returns to its own half.
type frames struct {
	mem      []byte // on Go's heap: a lease that outlives Close reads stale bytes at worst
	sending  int    // IDs below it serve Alloc
	at       []home
	length   []uint16 // of a frame in flight
	toSend   []uint32 // stack
	toFill   []uint32 // stack of receiving frames that no slot of the socket's batch holds
	done     []uint32 // ring of frames whose flight ended
	doneHead int
	doneLen  int
	counts   transport.FrameCounts
}

func newFrames(n int) frames {
	p := frames{
		mem: make([]byte, n*frameBytes), sending: n / 2,
		at: make([]home, n), length: make([]uint16, n),
		toSend: make([]uint32, 0, n/2), toFill: make([]uint32, 0, n-n/2), done: make([]uint32, n),
		counts: transport.FrameCounts{Free: n / 2, Receive: n - n/2},
	}
	for id := uint32(n); id > 0; id-- { // so that low IDs come first
		if int(id) > p.sending {
			p.at[id-1] = receive
			p.toFill = append(p.toFill, id-1)
		} else {
			p.toSend = append(p.toSend, id-1)
		}
	}
	return p
}

// data is frame id cut to n bytes.
func (p *frames) data(id uint32, n int) []byte {
	start := int(id) * frameBytes
	return p.mem[start : start+n : start+frameBytes]
}

// mustOwn panics unless f is one of this Link's frames and in the caller's hands.
func (p *frames) mustOwn(f *transport.Frame, op string) {
	if int(f.ID) >= len(p.at) {
		panic(fmt.Sprintf("udp: %s of frame %d, which is not of this Link", op, f.ID))
	}
	if at := p.at[f.ID]; at != borrowed {
		panic(fmt.Sprintf("udp: %s of frame %d, which is %s", op, f.ID, [...]string{"free already", "with the receiver", "", "in flight"}[at]))
	}
	if f.Data == nil { // named by its ID alone
		return
	}
	start := uintptr(unsafe.Pointer(&p.mem[int(f.ID)*frameBytes]))
	if uintptr(unsafe.Pointer(unsafe.SliceData(f.Data)))-start >= frameBytes {
		panic(fmt.Sprintf("udp: %s of frame %d of another Link", op, f.ID))
	}
}

// launch takes a frame that the caller owns into flight.
func (p *frames) launch(f *transport.Frame) {
	if unsafe.SliceData(f.Data) != &p.mem[int(f.ID)*frameBytes] {
		panic(fmt.Sprintf("udp: Send of frame %d whose Data does not begin where Alloc or Recv put it", f.ID))
	}
	p.at[f.ID] = inFlight
	p.length[f.ID] = uint16(len(f.Data))
	p.counts.Borrowed--
	p.counts.InFlight++
}

// land ends a frame's flight.
func (p *frames) land(id uint32) {
	i := p.doneHead + p.doneLen
	if i >= len(p.done) {
		i -= len(p.done)
	}
	p.done[i] = id
	p.doneLen++
}

// Alloc implements transport.Link.
func (l *Link) Alloc(f *transport.Frame) bool {
	p := &l.frames
	last := len(p.toSend) - 1
	if last < 0 || l.closed.Load() {
		return false
	}
	id := p.toSend[last]
	p.toSend = p.toSend[:last]
	p.at[id] = borrowed
	p.counts.Free--
	p.counts.Borrowed++
	f.Data, f.ID = p.data(id, frameBytes), id
	return true
}

// Free implements transport.Link.
func (l *Link) Free(fs []transport.Frame) {
	p := &l.frames
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
			p.toFill = append(p.toFill, id)
		}
	}
}

// Completed implements transport.Link. Data is as it was sent; Path is not kept.
func (l *Link) Completed(fs []transport.Frame) int {
	p := &l.frames
	n := min(len(fs), p.doneLen)
	for i := range n {
		id := p.done[p.doneHead]
		if p.doneHead++; p.doneHead == len(p.done) {
			p.doneHead = 0
		}
		p.at[id] = borrowed
		fs[i] = transport.Frame{Data: p.data(id, int(p.length[id])), ID: id}
	}
	p.doneLen -= n
	p.counts.InFlight -= n
	p.counts.Borrowed += n
	return n
}

// Counts implements transport.Link.
func (l *Link) Counts() transport.FrameCounts { return l.frames.counts }
