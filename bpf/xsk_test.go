package bpf

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	xskFrames     = 64
	xskFrameBytes = 2048
)

// xsk is the least AF_XDP socket that receives: a UMEM whose frames all stand in the fill ring, and a receive ring as long, so that it takes
// xskFrames packets and no more.
type xsk struct {
	fd       int
	umem     []byte
	rx       []byte
	off      unix.XDPRingOffset
	consumed uint32
}

func newXSK(t testing.TB) *xsk {
	t.Helper()
	needRoot(t)
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	s := &xsk{fd: fd, umem: mapped(t, -1, 0, xskFrames*xskFrameBytes)}

	reg := unix.XDPUmemReg{Addr: uint64(uintptr(unsafe.Pointer(&s.umem[0]))), Len: uint64(len(s.umem)), Size: xskFrameBytes}
	must(t, sockopt(unix.SYS_SETSOCKOPT, fd, unix.XDP_UMEM_REG, unsafe.Pointer(&reg), unsafe.Sizeof(reg)))
	for _, ring := range []int{unix.XDP_UMEM_FILL_RING, unix.XDP_UMEM_COMPLETION_RING, unix.XDP_RX_RING} {
		must(t, unix.SetsockoptInt(fd, unix.SOL_XDP, ring, xskFrames))
	}
	var offs unix.XDPMmapOffsets
	size := uint32(unsafe.Sizeof(offs))
	must(t, sockopt(unix.SYS_GETSOCKOPT, fd, unix.XDP_MMAP_OFFSETS, unsafe.Pointer(&offs), uintptr(unsafe.Pointer(&size))))

	fill := mapped(t, fd, unix.XDP_UMEM_PGOFF_FILL_RING, int(offs.Fr.Desc)+xskFrames*8)
	for i := range uint64(xskFrames) {
		*(*uint64)(unsafe.Pointer(&fill[offs.Fr.Desc+8*i])) = i * xskFrameBytes
	}
	cursor(fill, offs.Fr.Producer).Store(xskFrames)
	s.rx, s.off = mapped(t, fd, unix.XDP_PGOFF_RX_RING, int(offs.Rx.Desc)+xskFrames*16), offs.Rx
	return s
}

// boundXSK is an xsk on a queue of an interface of the calling thread's namespace.
func boundXSK(t testing.TB, ifindex, queue int) *xsk {
	t.Helper()
	s := newXSK(t)
	must(t, unix.Bind(s.fd, &unix.SockaddrXDP{Flags: unix.XDP_COPY, Ifindex: uint32(ifindex), QueueID: uint32(queue)}))
	return s
}

// receive waits for the next packet and returns a copy of it.
func (s *xsk) receive(t testing.TB) []byte {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for cursor(s.rx, s.off.Producer).Load() == s.consumed {
		if time.Now().After(deadline) {
			t.Fatal("no packet came to the AF_XDP socket")
		}
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}, 1000); err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
	}
	desc := *(*unix.XDPDesc)(unsafe.Pointer(&s.rx[s.off.Desc+16*uint64(s.consumed%xskFrames)]))
	s.consumed++
	cursor(s.rx, s.off.Consumer).Store(s.consumed)
	return slices.Clone(s.umem[desc.Addr : desc.Addr+uint64(desc.Len)])
}

func cursor(ring []byte, at uint64) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&ring[at]))
}

func mapped(t testing.TB, fd int, offset int64, size int) []byte {
	t.Helper()
	flags := unix.MAP_SHARED | unix.MAP_POPULATE
	if fd < 0 {
		flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	}
	m, err := unix.Mmap(fd, offset, size, unix.PROT_READ|unix.PROT_WRITE, flags)
	must(t, err)
	t.Cleanup(func() { unix.Munmap(m) })
	return m
}

func sockopt(call uintptr, fd, option int, value unsafe.Pointer, size uintptr) error {
	if _, _, errno := unix.Syscall6(call, uintptr(fd), unix.SOL_XDP, uintptr(option), uintptr(value), size, 0); errno != 0 {
		return errno
	}
	return nil
}
