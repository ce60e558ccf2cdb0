package rdma

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Memory is mapped memory for a region.
type Memory struct {
	bytes []byte
	huge  bool
}

const hugePageBytes = 2 << 20

// Map maps at least bytes of memory, on huge pages of 2 MiB where the machine has enough of them reserved ('sysctl vm.nr_hugepages=N'): a card
// with few pages to translate finds them all in its cache. Else it is usual memory, which the kernel is advised to put on transparent huge
// pages. All of it is zero.
func Map(bytes int) (*Memory, error) {
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	if bytes < 1 {
		return nil, failedAs(ErrLimit, "mmap", int(unix.EINVAL), "%d bytes", bytes)
	}
	rounded := (bytes + hugePageBytes - 1) &^ (hugePageBytes - 1)
	if mem, err := unix.Mmap(-1, 0, rounded, prot, flags|unix.MAP_HUGETLB|unix.MAP_HUGE_2MB|unix.MAP_POPULATE); err == nil {
		return &Memory{bytes: mem, huge: true}, nil
	}
	mem, err := unix.Mmap(-1, 0, bytes, prot, flags)
	if err != nil {
		return nil, fmt.Errorf("rdma: mmap of %d bytes: %w", bytes, err)
	}
	_ = unix.Madvise(mem, unix.MADV_HUGEPAGE) // a wish
	return &Memory{bytes: mem}, nil
}

// Bytes is the memory, to be registered as a whole or in parts.
func (m *Memory) Bytes() []byte { return m.bytes }

// Huge tells whether it is on reserved huge pages.
func (m *Memory) Huge() bool { return m.huge }

// Close unmaps it; its regions must be closed.
func (m *Memory) Close() error {
	if m.bytes == nil {
		return ErrClosed
	}
	err := unix.Munmap(m.bytes)
	m.bytes = nil
	if err != nil {
		return fmt.Errorf("rdma: munmap: %w", err)
	}
	return nil
}
