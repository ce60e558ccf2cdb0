package tap

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The memory of a capture is two memfds, because they are sealed differently: the rings, which the reader maps but cannot write, and the
// reader's positions. Each is an array over the queues.

const (
	controlBytes  = 4096 // of a queue's control, before its data: a page, so that the data begin at one
	positionBytes = int(unsafe.Sizeof(position{}))

	minRing  = 64 << 10  // bytes
	maxRings = 256 << 20 // bytes of all queues of a capture
)

// memory is both memfds, mapped.
type memory struct {
	rings, positions []byte
	queues, size     int // size: of one ring's data
}

func (m *memory) control(i int) *control {
	return (*control)(unsafe.Pointer(&m.rings[i*(controlBytes+m.size)]))
}

func (m *memory) data(i int) []byte {
	from, to := i*(controlBytes+m.size)+controlBytes, (i+1)*(controlBytes+m.size)
	return m.rings[from:to:to]
}

func (m *memory) position(i int) *position {
	return (*position)(unsafe.Pointer(&m.positions[i*positionBytes]))
}

func (m *memory) ringsBytes() int     { return m.queues * (controlBytes + m.size) }
func (m *memory) positionsBytes() int { return m.queues * positionBytes }

// makeMemory makes the writer's end. All pages are there when it returns, so that no packet waits for one. The descriptors are for the
// reader; the memory does without them.
func makeMemory(queues, size int) (m memory, fds [2]int, err error) {
	m = memory{queues: queues, size: size}
	fds = [2]int{-1, -1}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.unmap(), closeAll(fds[:]))
		}
	}()
	const fixed = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	if fds[0], m.rings, err = makeSealed("fastrpc-capture", m.ringsBytes(), fixed|unix.F_SEAL_FUTURE_WRITE); err != nil {
		return m, fds, err
	}
	fds[1], m.positions, err = makeSealed("fastrpc-capture-read", m.positionsBytes(), fixed)
	return m, fds, err
}

// makeSealed makes a memfd, maps it to be written, and then seals it.
func makeSealed(name string, bytes, seals int) (fd int, mapping []byte, err error) {
	if fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING); err != nil {
		return -1, nil, fmt.Errorf("memfd_create: %w", err)
	}
	if err = unix.Fallocate(fd, 0, 0, int64(bytes)); err != nil {
		return fd, nil, fmt.Errorf("%d bytes of memory for a capture: %w", bytes, err)
	}
	if mapping, err = unix.Mmap(fd, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return fd, nil, fmt.Errorf("mmap: %w", err)
	}
	if _, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals|unix.F_SEAL_SEAL); err != nil {
		return fd, mapping, fmt.Errorf("F_ADD_SEALS (Linux 5.1 is needed): %w", err)
	}
	return fd, mapping, nil
}

// mapMemory makes the reader's end of what another process has sent. Memory that could shrink under it is refused, because to read it then
// would be a fault.
func mapMemory(queues, size int, fds []int) (m memory, err error) {
	m = memory{queues: queues, size: size}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.unmap())
		}
	}()
	if queues < 1 || size < minRing || size > MaxBytes || size&(size-1) != 0 || queues > maxRings/size || len(fds) != 2 {
		return m, fmt.Errorf("tap: %d queues with rings of %d bytes in %d files make no capture", queues, size, len(fds))
	}
	if m.rings, err = mapSealed(fds[0], m.ringsBytes(), unix.PROT_READ); err != nil {
		return m, err
	}
	m.positions, err = mapSealed(fds[1], m.positionsBytes(), unix.PROT_READ|unix.PROT_WRITE)
	return m, err
}

func mapSealed(fd, bytes, prot int) ([]byte, error) {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return nil, fmt.Errorf("tap: F_GET_SEALS: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("tap: fstat: %w", err)
	}
	if seals&unix.F_SEAL_SHRINK == 0 || st.Size < int64(bytes) {
		return nil, fmt.Errorf("tap: the memory of a capture, %d bytes, has %d, or could shrink", bytes, st.Size)
	}
	m, err := unix.Mmap(fd, 0, bytes, prot, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return m, nil
}

func (m *memory) unmap() error {
	var errs []error
	for _, b := range []*[]byte{&m.rings, &m.positions} {
		if *b != nil {
			errs = append(errs, unix.Munmap(*b))
			*b = nil
		}
	}
	return errors.Join(errs...)
}

func closeAll(fds []int) error {
	var errs []error
	for _, fd := range fds {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}
