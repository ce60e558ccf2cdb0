package xdp

import (
	"fmt"

	"github.com/fastrpc/fastrpc/transport"
)

// owner says who has a frame. The order is that of transport.FrameCounts.
type owner uint8

const (
	ownedFree     owner = iota // in frames.spare
	ownedReceive               // in the fill ring, the RX ring, on its way between them, or in frames.reserve
	ownedCaller                // borrowed
	ownedInFlight              // in the TX ring, the completion ring, or on its way between them
	owners
)

func (o owner) String() string {
	return [owners]string{"free", "waiting to receive", "borrowed", "in flight"}[o]
}

// frames are a queue's packet buffers: a partition of the UMEM that no other queue uses, so that it needs no lock. The lower half
// receives, the upper half sends; neither direction can starve the other. A frame returns to its own half wherever it went meanwhile.
//
// A frame to receive is one chunk, because it is the kernel that chooses the chunks of a packet. A frame to send has as many chunks in a row as
// the largest packet needs, and its bytes are one slice.
type frames struct {
	base      uint64 // address of frame 0
	shift     uint   // log2 of the chunk size
	half      uint32 // frames below it receive
	send      uint64 // address of frame half
	sendShift uint   // log2 of the bytes of a frame to send

	parts   []uint8 // of a packet in flight: the descriptors that are not completed; nil where every packet has one
	owner   []owner
	spare   []uint32 // frames ready for Alloc, the last used on top, because its bytes are still in the cache
	reserve []uint32 // receiving frames that the kernel does not have, likewise
}

func newFrames(base uint64, shift, sendShift uint, n int) frames {
	f := frames{base: base, shift: shift, half: uint32(n / 2), send: base + uint64(n/2)<<shift, sendShift: sendShift}
	f.owner, f.spare, f.reserve = make([]owner, n), make([]uint32, 0, n-n/2), make([]uint32, 0, n/2)
	if sendShift > shift {
		f.parts = make([]uint8, n)
	}
	for id := uint32(n); id > 0; { // the lowest on top
		if id--; id >= f.half {
			f.spare = append(f.spare, id)
		} else {
			f.owner[id] = ownedReceive
			f.reserve = append(f.reserve, id)
		}
	}
	return f
}

// addr is the UMEM address of a frame.
func (f *frames) addr(id uint32) uint64 {
	if id < f.half {
		return f.base + uint64(id)<<f.shift
	}
	return f.sendAddr(id)
}

// sendAddr is that of a frame to send.
func (f *frames) sendAddr(id uint32) uint64 { return f.send + uint64(id-f.half)<<f.sendShift }

// size is how many bytes a frame has.
func (f *frames) size(id uint32) uint64 {
	if id < f.half {
		return 1 << f.shift
	}
	return 1 << f.sendShift
}

// chunkLeft is how many bytes there are from addr to the end of its chunk.
func (f *frames) chunkLeft(addr uint64) uint32 { return uint32(1<<f.shift - addr&(1<<f.shift-1)) }

// id finds the frame in which addr lies. The kernel gives back what it was given, or we cannot go on.
func (f *frames) id(addr uint64) uint32 {
	id := (addr - f.base) >> f.shift
	if id >= uint64(f.half) {
		id = uint64(f.half) + (addr-f.send)>>f.sendShift
		if id >= uint64(len(f.owner)) {
			panic(fmt.Sprintf("xdp: the kernel returned address %#x, which is not of this queue's %d frames from %#x", addr, len(f.owner), f.base))
		}
	}
	return uint32(id)
}

// alloc takes a frame of the sending half.
func (f *frames) alloc() (uint32, bool) {
	top := len(f.spare) - 1
	if top < 0 {
		return 0, false
	}
	id := f.spare[top]
	f.spare = f.spare[:top]
	f.move(id, ownedFree, ownedCaller)
	return id, true
}

// free puts a borrowed frame back where it belongs.
func (f *frames) free(id uint32) {
	if id >= f.half {
		f.release(id)
	} else {
		f.giveReserve(id)
	}
}

// release puts a borrowed frame of the sending half back.
func (f *frames) release(id uint32) {
	f.move(id, ownedCaller, ownedFree)
	f.spare = append(f.spare, id) // never grows: a frame of this half is there once
}

// takeReserve fills addrs with receiving frames for the kernel and returns how many.
func (f *frames) takeReserve(addrs []uint64) int {
	n := min(len(addrs), len(f.reserve))
	left := len(f.reserve) - n
	for i, id := range f.reserve[left:] {
		addrs[n-1-i] = f.addr(id)
	}
	f.reserve = f.reserve[:left]
	return n
}

// untakeReserve puts back what takeReserve took.
func (f *frames) untakeReserve(addrs []uint64) {
	for _, addr := range addrs {
		f.reserve = append(f.reserve, f.id(addr))
	}
}

// giveReserve takes a borrowed receiving frame back.
func (f *frames) giveReserve(id uint32) {
	f.move(id, ownedCaller, ownedReceive)
	f.reserve = append(f.reserve, id) // never grows: a frame of this half is there once
}

// move hands a frame over, and panics when it is not where the caller of the Link believes it to be: two packets would share its memory.
func (f *frames) move(id uint32, from, to owner) {
	if f.owner[id] != from {
		f.misplaced(id, from)
	}
	f.owner[id] = to
}

//go:noinline
func (f *frames) misplaced(id uint32, want owner) {
	panic(fmt.Sprintf("xdp: frame %d is %v, not %v: it was given back or sent twice", id, f.owner[id], want))
}

// landed takes note that a descriptor of a frame in flight is completed, and tells whether it was the last.
func (f *frames) landed(id uint32) bool {
	if f.parts == nil {
		return true
	}
	f.parts[id]--
	return f.parts[id] == 0
}

// counts counts the frames where they are: slower than to keep the sums up to date, but on nobody's way, and it cannot be wrong.
func (f *frames) counts() transport.FrameCounts {
	var n [owners]int
	for _, o := range f.owner {
		n[o]++
	}
	return transport.FrameCounts{Free: n[ownedFree], Receive: n[ownedReceive], Borrowed: n[ownedCaller], InFlight: n[ownedInFlight]}
}
