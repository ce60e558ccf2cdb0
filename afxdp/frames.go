//go:build linux

package afxdp

import "fmt"

// FrameStack keeps the free chunks of a partition of a UMEM, last in first out, so that the chunk still in the CPU's cache is used next.
//
// A chunk is either here or with whoever took it, who may pass it on (to the kernel through Fill and Transmit, to other code) and is
// followed by exactly one Free. The stack belongs to one goroutine at a time. Freeing a chunk that is here already, or that is not of the
// partition, is a mistake of the program that would let two packets share memory: it panics.
type FrameStack struct {
	_     linePad
	free  []uint64 // addresses
	out   []bool   // by chunk of the partition: taken
	first uint64   // address of the partition's first chunk
	shift uint     // log2 of the chunk size
	_     linePad
}

// linePad keeps what one CPU writes for each packet off the cache lines of what another does; x86 fetches lines of 64 bytes in pairs.
type linePad [128]byte

// NewFrameStack makes a stack of the chunks from number first on, chunks many, all free. Partitions of one UMEM must not overlap.
func NewFrameStack(u *Umem, first, chunks int) (*FrameStack, error) {
	if first < 0 || chunks < 1 || first > u.Chunks()-chunks {
		return nil, fmt.Errorf("afxdp: a partition of %d chunks from number %d is not inside a UMEM of %d", chunks, first, u.Chunks())
	}
	f := &FrameStack{free: make([]uint64, chunks), out: make([]bool, chunks), shift: 11}
	if u.ChunkBytes() == 4096 {
		f.shift = 12
	}
	f.first = uint64(first) << f.shift
	for i := range f.free {
		f.free[i] = f.first + uint64(chunks-1-i)<<f.shift // the first Alloc gives the first chunk
	}
	return f, nil
}

// Alloc takes the address of a free chunk; false when there is none.
func (f *FrameStack) Alloc() (addr uint64, ok bool) {
	top := len(f.free) - 1
	if top < 0 {
		return 0, false
	}
	addr = f.free[top]
	f.free = f.free[:top]
	f.out[(addr-f.first)>>f.shift] = true
	return addr, true
}

// AllocBurst fills addrs as far as there are free chunks and returns how many it took.
func (f *FrameStack) AllocBurst(addrs []uint64) int {
	n := min(len(addrs), len(f.free))
	for i := range addrs[:n] {
		addrs[i], _ = f.Alloc()
	}
	return n
}

// Free gives back the chunk that addr lies in, so a received descriptor's or a completed address will do.
func (f *FrameStack) Free(addr uint64) {
	i := (addr - f.first) >> f.shift // an address below the partition wraps around to a large number
	if i >= uint64(len(f.out)) {
		panic(fmt.Sprintf("afxdp: freed address %#x is not of this partition of %d chunks from %#x", addr, len(f.out), f.first))
	}
	if !f.out[i] {
		panic(fmt.Sprintf("afxdp: chunk at %#x freed twice", f.first+i<<f.shift))
	}
	f.out[i] = false
	f.free = append(f.free, f.first+i<<f.shift) // never grows: at most one entry a chunk
}

// FreeBurst frees each of addrs.
func (f *FrameStack) FreeBurst(addrs []uint64) {
	for _, addr := range addrs {
		f.Free(addr)
	}
}

// Available returns how many chunks are free.
func (f *FrameStack) Available() int { return len(f.free) }

// Size returns how many chunks the partition has.
func (f *FrameStack) Size() int { return len(f.out) }
