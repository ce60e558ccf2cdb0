//go:build linux

package afxdp

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// UmemConfig describes a UMEM.
type UmemConfig struct {
	Chunks        int  // how many chunks, at least 1
	ChunkBytes    int  // size of a chunk: 2048 or 4096
	HeadroomBytes int  // kept free in front of received packets, beyond the kernel's own XDP_PACKET_HEADROOM of 256; usually 0
	HugePages     bool // ask for 2 MiB pages; without reserved ones (vm.nr_hugepages) normal pages are taken, see Umem.HugePages
}

// Umem is the packet memory of one or more sockets. Its methods other than Close may be called from any goroutine; who may touch which bytes
// is told in the package documentation.
type Umem struct {
	mem       []byte // the whole mapping
	size      uint64 // the part that is cut into chunks
	chunkMask uint64 // clears the offset within a chunk
	cfg       UmemConfig

	mu      sync.Mutex
	sockets int // open ones
	closed  bool
}

const hugePageBytes = 2 << 20

// NewUmem maps the memory and touches all of it, so that the data path takes no page faults. The kernel learns of it when the first socket
// is opened. Close it after its sockets.
func NewUmem(c UmemConfig) (*Umem, error) {
	if c.ChunkBytes != 2048 && c.ChunkBytes != 4096 { // xdp_umem_reg: 2048 up to a page, a power of two in aligned mode
		return nil, fmt.Errorf("afxdp: chunks of %d bytes; the kernel takes 2048 or 4096", c.ChunkBytes)
	}
	if c.Chunks < 1 || c.Chunks > 1<<31/c.ChunkBytes {
		return nil, fmt.Errorf("afxdp: UMEM of %d chunks; 1 to %d of this size are possible", c.Chunks, 1<<31/c.ChunkBytes)
	}
	if c.HeadroomBytes < 0 || c.HeadroomBytes >= c.ChunkBytes-unix.XDP_PACKET_HEADROOM {
		return nil, fmt.Errorf("afxdp: headroom of %d bytes leaves nothing of a chunk of %d", c.HeadroomBytes, c.ChunkBytes)
	}
	u := &Umem{cfg: c, size: uint64(c.Chunks) * uint64(c.ChunkBytes), chunkMask: ^uint64(c.ChunkBytes - 1)}
	var err error
	if c.HugePages {
		u.mem, err = mapMemory(int((u.size+hugePageBytes-1)&^(hugePageBytes-1)), unix.MAP_HUGETLB|unix.MAP_POPULATE)
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

// Base returns the address of the chunk that addr lies in. Received descriptors point behind the headroom, and completions repeat the
// address that was transmitted: Base gives the chunk's name back.
func (u *Umem) Base(addr uint64) uint64 { return addr & u.chunkMask }

// Chunk returns the whole chunk that addr lies in, nil if addr is outside the UMEM.
func (u *Umem) Chunk(addr uint64) []byte {
	base := addr & u.chunkMask
	if base >= u.size {
		return nil
	}
	end := base + uint64(u.cfg.ChunkBytes)
	return u.mem[base:end:end]
}

// Data returns the bytes that d describes; their capacity goes to the chunk's end. It returns nil if they are not within one chunk.
func (u *Umem) Data(d unix.XDPDesc) []byte {
	chunk := u.Chunk(d.Addr)
	from := d.Addr &^ u.chunkMask
	if to := from + uint64(d.Len); to <= uint64(len(chunk)) {
		return chunk[from:to]
	}
	return nil
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
