package sim

import (
	"fmt"
	"syscall"
	"unsafe"

	"github.com/fastrpc/fastrpc/transport"
)

// home says where a buffer is; see transport.FrameCounts.
type home uint8

const (
	free home = iota
	receive
	borrowed
	inFlight
)

// buffers is the frame memory of one Link and the books about it. The lower half of the IDs serves Alloc, the upper half receives, so that
// neither direction can starve the other; a received frame that is sent in place still comes home to the receiving half.
type buffers struct {
	mem        []byte
	frameBytes int
	sending    int // IDs below it serve Alloc
	mtu        int
	at         []home
	length     []uint16 // of a frame in flight
	unused     []uint32 // stack of free frames
	done       []uint32 // ring of frames whose flight ended, not yet collected
	doneHead   int
	doneLen    int
}

func newBuffers(o LinkOptions) buffers {
	b := buffers{
		mem:        make([]byte, o.Frames*o.FrameBytes),
		frameBytes: o.FrameBytes,
		sending:    o.Frames / 2,
		mtu:        o.MTU,
		at:         make([]home, o.Frames),
		length:     make([]uint16, o.Frames),
		unused:     make([]uint32, 0, o.Frames),
		done:       make([]uint32, o.Frames),
	}
	for id := range o.Frames {
		if id < b.sending {
			b.unused = append(b.unused, uint32(b.sending-1-id))
		} else {
			b.at[id] = receive
		}
	}
	return b
}

// Counts implements transport.Link. It looks at every frame: packets, which are many, do not pay for it.
func (b *buffers) Counts() (c transport.FrameCounts) {
	for _, at := range b.at {
		switch at {
		case free:
			c.Free++
		case receive:
			c.Receive++
		case borrowed:
			c.Borrowed++
		case inFlight:
			c.InFlight++
		}
	}
	return c
}

// data is buffer id cut to n bytes; it cannot grow into the next buffer.
func (b *buffers) data(id uint32, n int) []byte {
	start := int(id) * b.frameBytes
	return b.mem[start : start+n : start+b.frameBytes]
}

func (b *buffers) alloc(f *transport.Frame) bool {
	last := len(b.unused) - 1
	if last < 0 {
		return false
	}
	id := b.unused[last]
	b.unused = b.unused[:last]
	b.at[id] = borrowed
	f.Data, f.ID = b.data(id, b.frameBytes), id
	return true
}

// launch takes f into flight. A frame that the caller does not own is its mistake and panics; one that does not fit its path is refused.
func (b *buffers) launch(f *transport.Frame) error {
	if int(f.ID) >= len(b.at) || b.at[f.ID] != borrowed || unsafe.SliceData(f.Data) != &b.mem[int(f.ID)*b.frameBytes] {
		b.mustOwn(f, "Send")
		panic(fmt.Sprintf("sim: Send of frame %d whose Data does not begin where Alloc or Recv put it", f.ID))
	}
	if len(f.Data) > b.mtu || len(f.Data) > int(f.Path.MTU) {
		return tooLong(len(f.Data), min(b.mtu, int(f.Path.MTU)))
	}
	b.at[f.ID] = inFlight
	b.length[f.ID] = uint16(len(f.Data))
	return nil
}

func tooLong(n, mtu int) error {
	return fmt.Errorf("sim: frame of %d bytes on a path of %d: cut it to Path.MTU: %w", n, mtu, syscall.EMSGSIZE)
}

// land ends a frame's flight.
func (b *buffers) land(id uint32) {
	i := b.doneHead + b.doneLen
	if i >= len(b.done) {
		i -= len(b.done)
	}
	b.done[i] = id
	b.doneLen++
}

// collect hands landed frames back, Data as it was sent.
func (b *buffers) collect(fs []transport.Frame) int {
	n := min(len(fs), b.doneLen)
	for i := range n {
		id := b.done[b.doneHead]
		if b.doneHead++; b.doneHead == len(b.done) {
			b.doneHead = 0
		}
		b.at[id] = borrowed
		fs[i].Data, fs[i].ID = b.data(id, int(b.length[id])), id
	}
	b.doneLen -= n
	return n
}

// lend hands a received buffer out.
func (b *buffers) lend(id uint32) { b.at[id] = borrowed }

// release takes f back; true: it is one of those that receive.
func (b *buffers) release(f *transport.Frame) (receives bool) {
	b.mustOwn(f, "Free")
	if int(f.ID) >= b.sending {
		b.at[f.ID] = receive
		return true
	}
	b.at[f.ID] = free
	b.unused = append(b.unused, f.ID)
	return false
}

// mustOwn panics unless f is one of this Link's buffers and in the caller's hands.
func (b *buffers) mustOwn(f *transport.Frame, op string) {
	if int(f.ID) >= len(b.at) {
		panic(fmt.Sprintf("sim: %s of frame %d, which is not of this Link", op, f.ID))
	}
	if b.at[f.ID] != borrowed {
		panic(fmt.Sprintf("sim: %s of frame %d, which is %s", op, f.ID, [...]string{"free already", "with the receiver", "", "in flight"}[b.at[f.ID]]))
	}
	if f.Data == nil { // named by its ID alone
		return
	}
	start := uintptr(unsafe.Pointer(&b.mem[int(f.ID)*b.frameBytes]))
	if uintptr(unsafe.Pointer(unsafe.SliceData(f.Data)))-start >= uintptr(b.frameBytes) {
		panic(fmt.Sprintf("sim: %s of frame %d of another Link", op, f.ID))
	}
}
