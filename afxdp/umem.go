//go:build linux

package afxdp

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// UmemConfig describes a UMEM.
type UmemConfig struct {
	Chunks        int  // how many chunks, at least 1
	ChunkBytes    int  // size of a chunk: a power of two from 2048 to the size of a page, 4096 on most machines
	HeadroomBytes int  // kept free in front of received packets, beyond the kernel's own XDP_PACKET_HEADROOM of 256; usually 0
	HugePages     bool // ask for 2 MiB pages; without reserved ones (vm.nr_hugepages) normal pages are taken, see Umem.HugePages
	Unaligned     bool // ChunkBytes need not be a power of two; see Umem.At. Zero-copy then wants HugePages
	TxMetadata    bool // packets can have a TxRequest (Linux 6.8); see TxMetadataBytes
	TxSoftwareSum bool // in copy mode the kernel itself computes the checksums of TxRequests, whatever the device can (Linux 6.8)
}

// Umem is the packet memory of one or more sockets. Its methods other than Close may be called from any goroutine; who may touch which bytes
// is told in the package documentation.
type Umem struct {
	mem       []byte // the whole mapping
	size      uint64 // the part that is cut into chunks
	stride    uint64 // from one chunk's start to the next one's
	chunkMask uint64 // clears the offset within a chunk; 0 when unaligned
	cfg       UmemConfig

	mu      sync.Mutex
	sockets int // open ones
	closed  bool
}

// MaxUmemBytes is how large a Umem can be.
const MaxUmemBytes = 1 << 31

const (
	hugePageBytes = 2 << 20
	cacheLine     = 64
)

// NewUmem maps the memory and touches all of it, so that the data path takes no page faults. The kernel learns of it when the first socket
// is opened. Close it after its sockets.
func NewUmem(c UmemConfig) (*Umem, error) {
	page := os.Getpagesize()
	powerOf2 := c.ChunkBytes&(c.ChunkBytes-1) == 0
	if c.ChunkBytes < 2048 || c.ChunkBytes > page || !powerOf2 && !c.Unaligned { // net/xdp/xdp_umem.c, xdp_umem_reg
		return nil, fmt.Errorf("afxdp: chunks of %d bytes; the kernel takes 2048 to %d, and without Unaligned a power of two", c.ChunkBytes, page)
	}
	if c.Chunks < 1 || c.Chunks > MaxUmemBytes/c.ChunkBytes {
		return nil, fmt.Errorf("afxdp: UMEM of %d chunks; 1 to %d of this size are possible", c.Chunks, MaxUmemBytes/c.ChunkBytes)
	}
	if c.HeadroomBytes < 0 || c.HeadroomBytes >= c.ChunkBytes-unix.XDP_PACKET_HEADROOM {
		return nil, fmt.Errorf("afxdp: headroom of %d bytes leaves nothing of a chunk of %d", c.HeadroomBytes, c.ChunkBytes)
	}
	u := &Umem{cfg: c, stride: uint64(c.ChunkBytes+cacheLine-1) &^ (cacheLine - 1)}
	u.size = uint64(c.Chunks) * u.stride
	if !c.Unaligned {
		u.chunkMask = ^(u.stride - 1)
	}
	var err error
	if c.HugePages {
		u.mem, err = mapMemory(int((u.size+hugePageBytes-1)&^(hugePageBytes-1)), unix.MAP_HUGETLB|unix.MAP_HUGE_2MB|unix.MAP_POPULATE)
	}
	if !c.HugePages || err != nil {
		u.cfg.HugePages = false
		if u.mem, err = mapMemory(int(u.size), 0); err == nil {
			touch(u.mem)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("afxdp: mapping a UMEM of %d bytes: %w", u.size, err)
	}
	return u, nil
}

func mapMemory(bytes, flags int) ([]byte, error) {
	return unix.Mmap(-1, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|flags)
}

// touch brings the memory in, on transparent huge pages where the kernel gives them (/sys/kernel/mm/transparent_hugepage/enabled: madvise or
// always): packets come to frames all over it, and a few entries of the TLB then cover them.
func touch(mem []byte) {
	_ = unix.Madvise(mem, unix.MADV_HUGEPAGE)
	if unix.Madvise(mem, unix.MADV_POPULATE_WRITE) == nil { // Linux 5.14
		return
	}
	for i := 0; i < len(mem); i += 4096 {
		mem[i] = 0
	}
}

// HugePages says whether the memory really stands on huge pages.
func (u *Umem) HugePages() bool { return u.cfg.HugePages }

// Chunks returns the number of chunks.
func (u *Umem) Chunks() int { return u.cfg.Chunks }

// ChunkBytes returns the size of a chunk.
func (u *Umem) ChunkBytes() int { return u.cfg.ChunkBytes }

// Bytes returns the whole memory; a chunk's address is its index. It ends with Close.
func (u *Umem) Bytes() []byte { return u.mem[:u.size:u.size] }

// An address in an unaligned UMEM has the chunk's start in its lower 48 bits and an offset from there in its upper 16 (if_xdp.h,
// XSK_UNALIGNED_BUF_OFFSET_SHIFT). The kernel takes the lower bits alone for the chunk.
const (
	unalignedShift = 48
	unalignedMask  = 1<<unalignedShift - 1
)

// At returns the address of the byte at an offset from the start of a chunk: the sum in an aligned UMEM; in an unaligned one the offset goes
// into the upper 16 bits, as in received descriptors, so that a completed address still names its chunk.
func (u *Umem) At(chunk uint64, offset int) uint64 {
	if u.cfg.Unaligned {
		return chunk + uint64(offset)<<unalignedShift
	}
	return chunk + uint64(offset)
}

// place is the index of an address in the memory.
func (u *Umem) place(addr uint64) uint64 {
	if u.cfg.Unaligned {
		return addr&unalignedMask + addr>>unalignedShift
	}
	return addr
}

// Base returns the address of the chunk that addr lies in. Received descriptors point behind the headroom, and completions repeat the
// address that was transmitted: Base gives the chunk's name back. In an unaligned UMEM, too, chunks are those that a FrameStack hands out, at
// multiples of ChunkBytes rounded up to 64; who places them elsewhere has no use for Base, Chunk and FrameStack.
func (u *Umem) Base(addr uint64) uint64 {
	if u.chunkMask == 0 {
		addr = u.place(addr)
		return addr - addr%u.stride
	}
	return addr & u.chunkMask
}

// Chunk returns the whole chunk that addr lies in, nil if addr is outside the UMEM.
func (u *Umem) Chunk(addr uint64) []byte {
	base := u.Base(addr)
	if base >= u.size {
		return nil
	}
	end := base + uint64(u.cfg.ChunkBytes)
	return u.mem[base:end:end]
}

// Data returns the bytes that d describes; their capacity goes to the chunk's end. It returns nil if they are not within one chunk. In an
// unaligned UMEM they may lie anywhere, and have no further capacity.
func (u *Umem) Data(d unix.XDPDesc) []byte {
	if u.chunkMask == 0 {
		from := u.place(d.Addr)
		if to := from + uint64(d.Len); to <= u.size {
			return u.mem[from:to:to]
		}
		return nil
	}
	base := d.Addr & u.chunkMask
	to, end := d.Addr+uint64(d.Len), base+u.stride
	if base >= u.size || to > end {
		return nil
	}
	return u.mem[d.Addr:to:end]
}

// Close unmaps the memory. It refuses while sockets use it; a second Close does nothing. No slice of the memory may be touched after it.
func (u *Umem) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sockets > 0 {
		return fmt.Errorf("afxdp: %d sockets still use this UMEM; close them first", u.sockets)
	}
	if u.closed {
		return nil
	}
	u.closed = true
	mem := u.mem
	u.mem, u.size = nil, 0
	return unix.Munmap(mem)
}

// retain counts a socket in.
func (u *Umem) retain() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return errors.New("afxdp: the UMEM is closed")
	}
	u.sockets++
	return nil
}

func (u *Umem) release() {
	u.mu.Lock()
	u.sockets--
	u.mu.Unlock()
}
