package sock

import (
	"fmt"
	"unsafe"

	"github.com/fastrpc/fastrpc/transport"
)

// home says where a frame is; see transport.FrameCounts.
type home uint8

const (
	free home = iota
	receive
	borrowed
	inFlight
)

// Frames is a Link's packet memory and the books about it. The lower half of the IDs serves Alloc, the upper half receives, so that neither
// direction starves the other; a frame returns to its own half. It belongs to the Link's owner.
type Frames struct {
	name     string
	mem      []byte
	bytes    int // capacity of a frame
	headroom int // in front of each frame's Data, the Link's own
	sending  int // IDs below it serve Alloc
	at       []home
	length   []uint16 // of a frame in flight
	toSend   []uint32 // stack
	toFill   []uint32 // stack of receiving frames
	done     []uint32 // ring of frames whose flight ended
	doneHead int
	doneLen  int
	counts   transport.FrameCounts
}

// NewFrames makes n frames of the given capacity, each with headroom in front of it. name is the Link's, for panics. They lie on Go's heap:
// a lease that outlives Close reads stale bytes at worst.
func NewFrames(name string, n, bytes, headroom int) Frames {
	return NewFramesIn(name, make([]byte, n*(headroom+bytes)), n, bytes, headroom)
}

// NewFramesIn is NewFrames in memory of the caller's, n×(headroom+bytes) of it.
func NewFramesIn(name string, mem []byte, n, bytes, headroom int) Frames {
	p := Frames{
		name: name, mem: mem, bytes: bytes, headroom: headroom, sending: n / 2,
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

func (p *Frames) start(id uint32) int { return int(id)*(p.headroom+p.bytes) + p.headroom }

// Data is frame id cut to n bytes.
func (p *Frames) Data(id uint32, n int) []byte {
	start := p.start(id)
	return p.mem[start : start+n : start+p.bytes]
}

// Headroom is what lies in front of frame id's Data, directly.
func (p *Frames) Headroom(id uint32) []byte {
	start := p.start(id)
	return p.mem[start-p.headroom : start : start]
}

// Len is how much of frame id was sent.
func (p *Frames) Len(id uint32) int { return int(p.length[id]) }

// Sending is how many of the frames serve Alloc.
func (p *Frames) Sending() int { return p.sending }

// Counts is transport.Link's.
func (p *Frames) Counts() transport.FrameCounts { return p.counts }

// MustOwn panics unless f is one of this Link's frames and in the caller's hands.
func (p *Frames) MustOwn(f *transport.Frame, op string) {
	if int(f.ID) >= len(p.at) {
		panic(fmt.Sprintf("%s: %s of frame %d, which is not of this Link", p.name, op, f.ID))
	}
	if at := p.at[f.ID]; at != borrowed {
		panic(fmt.Sprintf("%s: %s of frame %d, which is %s", p.name, op, f.ID, [...]string{"free already", "with the receiver", "", "in flight"}[at]))
	}
	if f.Data == nil { // named by its ID alone
		return
	}
	start := uintptr(unsafe.Pointer(&p.mem[p.start(f.ID)]))
	if uintptr(unsafe.Pointer(unsafe.SliceData(f.Data)))-start >= uintptr(p.bytes) {
		panic(fmt.Sprintf("%s: %s of frame %d of another Link", p.name, op, f.ID))
	}
}

// Launch takes a frame that the caller owns into flight.
func (p *Frames) Launch(f *transport.Frame) {
	if unsafe.SliceData(f.Data) != &p.mem[p.start(f.ID)] {
		panic(fmt.Sprintf("%s: Send of frame %d whose Data does not begin where Alloc or Recv put it", p.name, f.ID))
	}
	p.at[f.ID] = inFlight
	p.length[f.ID] = uint16(len(f.Data))
	p.counts.Borrowed--
	p.counts.InFlight++
}

// Land ends a frame's flight.
func (p *Frames) Land(id uint32) {
	i := p.doneHead + p.doneLen
	if i >= len(p.done) {
		i -= len(p.done)
	}
	p.done[i] = id
	p.doneLen++
}

// Landed is how many frames Completed would return.
func (p *Frames) Landed() int { return p.doneLen }

// TakeFill takes a receiving frame, for the Link to fill; false when there is none. It stays counted as the Link's until Lend.
func (p *Frames) TakeFill() (id uint32, ok bool) {
	last := len(p.toFill) - 1
	if last < 0 {
		return 0, false
	}
	id = p.toFill[last]
	p.toFill = p.toFill[:last]
	return id, true
}

// PutFill gives back what TakeFill took.
func (p *Frames) PutFill(id uint32) { p.toFill = append(p.toFill, id) }

// Fillable is how many TakeFill has.
func (p *Frames) Fillable() int { return len(p.toFill) }

// Recall takes back every receiving frame that is not lent, also those that TakeFill has handed out.
func (p *Frames) Recall() {
	p.toFill = p.toFill[:0]
	for id, at := range p.at {
		if at == receive {
			p.toFill = append(p.toFill, uint32(id))
		}
	}
}

// Lend hands a filled frame to the caller of Recv.
func (p *Frames) Lend(id uint32) {
	p.at[id] = borrowed
	p.counts.Receive--
	p.counts.Borrowed++
}

// Alloc is transport.Link's.
func (p *Frames) Alloc(f *transport.Frame) bool {
	last := len(p.toSend) - 1
	if last < 0 {
		return false
	}
	id := p.toSend[last]
	p.toSend = p.toSend[:last]
	p.at[id] = borrowed
	p.counts.Free--
	p.counts.Borrowed++
	f.Data, f.ID = p.Data(id, p.bytes), id
	return true
}

// Free is transport.Link's.
func (p *Frames) Free(fs []transport.Frame) {
	for i := range fs {
		p.MustOwn(&fs[i], "Free")
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

// Completed is transport.Link's. Data is as it was sent; Path is not kept.
func (p *Frames) Completed(fs []transport.Frame) int {
	n := min(len(fs), p.doneLen)
	for i := range n {
		id := p.done[p.doneHead]
		if p.doneHead++; p.doneHead == len(p.done) {
			p.doneHead = 0
		}
		p.at[id] = borrowed
		fs[i] = transport.Frame{Data: p.Data(id, int(p.length[id])), ID: id}
	}
	p.doneLen -= n
	p.counts.InFlight -= n
	p.counts.Borrowed += n
	return n
}
