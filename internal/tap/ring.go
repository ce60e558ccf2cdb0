package tap

import (
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The ring of a queue is a stream of records in a power of two of bytes. Positions grow for ever and are taken modulo its size. A record is
// a header and the packet's bytes, padded to the header's size, so that a header never wraps; the bytes may.

const recordBytes = 16 // of a header, and what records are aligned to

// record is the header.
type record struct {
	stamp  int64  // ns since 1970
	length uint32 // of the frame, bytes
	kept   uint16 // of them, that follow
	flags  uint8
	_      uint8
}

// Flags of a record.
const (
	flagOut   = 1 << iota // sent; else received
	flagRest              // the frame goes on a packet whose first frame was before it
	flagMore              // the packet goes on in the next frame of the same direction
	flagsUsed = flagOut | flagRest | flagMore
)

// control is what the writer tells the reader, at the beginning of a queue's part of the memory.
type control struct {
	head    atomic.Uint64 // position behind the last whole record
	dropped atomic.Uint64 // packets that found the ring full
}

// position is the reader's: up to where it has read.
type position struct {
	tail atomic.Uint64
	_    [56]byte // no two queues share a cache line
}

// ring is the writing end. It belongs to the queue's owner, but for close.
type ring struct {
	state atomic.Uint32 // of ringState

	data    []byte
	control *control
	reader  *position
	base    int64 // wall clock at stamp 0, ns
	snap    uint32

	head, tail uint64 // tail: the reader's position when it was last looked at
	dropped    uint64
	within     [2]bool // by direction: the next frame goes on a packet
	losing     [2]bool // a frame of that packet was lost, and so is the rest of it
}

type ringState = uint32

const (
	ringIdle ringState = iota
	ringBusy           // the owner writes
	ringClosed
)

// write copies a burst. It gives up at once if the ring is closed, because its memory is going.
func (r *ring) write(d Direction, now int64, memory []byte, descs []unix.XDPDesc) {
	if !r.state.CompareAndSwap(ringIdle, ringBusy) {
		return
	}
	rec := record{stamp: r.base + now}
	for i := range descs {
		e := &descs[i]
		rec.flags, rec.length, rec.kept = 0, e.Len, uint16(min(e.Len, r.snap))
		if d == Out {
			rec.flags = flagOut
		}
		if r.within[d] {
			rec.flags |= flagRest
		} else {
			r.losing[d] = false
		}
		if r.within[d] = e.Options&unix.XDP_PKT_CONTD != 0; r.within[d] {
			rec.flags |= flagMore
		}
		if !r.losing[d] && !r.put(&rec, memory[e.Addr:e.Addr+uint64(rec.kept)]) {
			r.losing[d] = true
			r.dropped++
		}
	}
	r.control.head.Store(r.head)
	r.control.dropped.Store(r.dropped)
	r.state.Store(ringIdle)
}

// put copies a record, if there is room. The reader's position is looked at only if the last look leaves too little, and not believed when
// it is impossible.
func (r *ring) put(rec *record, kept []byte) bool {
	size := uint64(len(r.data))
	need := recordBytes + (uint64(len(kept))+recordBytes-1)&^(recordBytes-1)
	if r.head-r.tail+need > size {
		if tail := r.reader.tail.Load(); tail-r.tail <= r.head-r.tail {
			r.tail = tail
		}
		if r.head-r.tail+need > size {
			return false
		}
	}
	at := r.head & (size - 1)
	*(*record)(unsafe.Pointer(&r.data[at])) = *rec
	at = (at + recordBytes) & (size - 1)
	n := copy(r.data[at:], kept)
	copy(r.data, kept[n:])
	r.head += need
	return true
}

// close ends the writing: when it returns, nobody touches the ring's memory any more. An owner in the middle of a burst is waited for, which
// takes as long as it takes to copy one.
func (r *ring) close() {
	for !r.state.CompareAndSwap(ringIdle, ringClosed) {
		if r.state.Load() == ringClosed {
			return
		}
		runtime.Gosched()
	}
}
