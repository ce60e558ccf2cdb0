//go:build linux

package afxdp

import (
	"fmt"
	"math/bits"
)

// FrameStack keeps the free chunks of a partition of a UMEM, last in first out, so that the chunk still in the CPU's cache is used next.
//
// A chunk is either here or with whoever took it, who may pass it on (to the kernel through Fill and Transmit, to other code) and is
// followed by exactly one Free. The stack belongs to one goroutine at a time. Freeing a chunk that is here already, or that is not of the
// partition, is a mistake of the program that would let two packets share memory: it panics.
type FrameStack struct {
	_      linePad
	free   []uint64 // addresses
	out    []bool   // by chunk of the partition: taken
	first  uint64   // address of the partition's first chunk
	stride uint64   // from one chunk to the next
	shift  uint     // log2 of stride; 0 when unaligned
	usable int      // chunks that are ever handed out
	_      linePad
}

// linePad keeps what one CPU writes for each packet off the cache lines of what another does; x86 fetches lines of 64 bytes in pairs.
type linePad [128]byte

// NewFrameStack makes a stack of the chunks from number first on, chunks many, all free. Partitions of one UMEM must not overlap.
func NewFrameStack(u *Umem, first, chunks int) (*FrameStack, error) {
	if first < 0 || chunks < 1 || first > u.Chunks()-chunks {
		return nil, fmt.Errorf("afxdp: a partition of %d chunks from number %d is not inside a UMEM of %d", chunks, first, u.Chunks())
	}
	f := &FrameStack{stride: u.stride, free: make([]uint64, 0, chunks), out: make([]bool, chunks)}
	if !u.cfg.Unaligned {
		f.shift = uint(bits.TrailingZeros(uint(u.ChunkBytes())))
	}
	f.first = uint64(first) * u.stride
	for i := chunks - 1; i >= 0; i-- { // the first Alloc gives the first chunk
		addr := f.first + uint64(i)*u.stride
		if u.cfg.HugePages && addr/hugePageBytes != (addr+u.stride-1)/hugePageBytes {
			// Two huge pages need not lie side by side in the device's memory; a zero-copy driver then refuses a chunk that lies in
			// both (net/xdp/xsk_buff_pool.c, xp_check_unaligned).
			continue
		}
		f.free = append(f.free, addr)
	}
	f.usable = len(f.free)
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
	f.out[f.index(addr)] = true
	return addr, true
}

// index is the number of the chunk that addr lies in, counted from the partition's first; an address below the partition wraps around to a
// large one.
func (f *FrameStack) index(addr uint64) uint64 {
	if f.shift == 0 {
		return (addr&unalignedMask + addr>>unalignedShift - f.first) / f.stride
	}
	return (addr - f.first) >> f.shift
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
	i := f.index(addr)
	if i >= uint64(len(f.out)) {
		panic(fmt.Sprintf("afxdp: freed address %#x is not of this partition of %d chunks from %#x", addr, len(f.out), f.first))
	}
	chunk := f.first + i*f.stride
	if !f.out[i] {
		panic(fmt.Sprintf("afxdp: chunk at %#x freed twice", chunk))
	}
	f.out[i] = false
	f.free = append(f.free, chunk) // never grows: at most one entry a chunk
}

// FreeBurst frees each of addrs.
func (f *FrameStack) FreeBurst(addrs []uint64) {
	for _, addr := range addrs {
		f.Free(addr)
	}
}

// Available returns how many chunks are free.
func (f *FrameStack) Available() int { return len(f.free) }

// Size returns how many chunks are free when all are: those of the partition, without the few of an unaligned UMEM on huge pages that lie
// across the border of two pages.
func (f *FrameStack) Size() int { return f.usable }
