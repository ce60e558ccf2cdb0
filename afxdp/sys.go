//go:build linux

package afxdp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls that x/sys/unix has no safe form of.

// sendto makes the kernel look at the TX ring. It is raw: the scheduler would otherwise hand this thread's P to another when the call
// takes long, and coming back costs more than the call.
func sendto(fd int) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	return errno
}

// recvfrom makes the driver look at the fill ring (Linux 5.11).
func recvfrom(fd int) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	return errno
}

// pollNow is poll(2) without waiting.
func pollNow(fd *unix.PollFd) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(fd)), 1, uintptr(unsafe.Pointer(&noTime)), 0, 0, 0)
	return errno
}

var noTime unix.Timespec

func registerUmem(fd int, u *Umem) error {
	reg := unix.XDPUmemReg{
		Addr:     uint64(uintptr(unsafe.Pointer(&u.mem[0]))),
		Len:      u.size,
		Size:     uint32(u.cfg.ChunkBytes),
		Headroom: uint32(u.cfg.HeadroomBytes),
	}
	if u.cfg.Unaligned {
		reg.Flags |= unix.XDP_UMEM_UNALIGNED_CHUNK_FLAG
	}
	if u.cfg.TxMetadata {
		reg.Flags |= unix.XDP_UMEM_TX_METADATA_LEN
		reg.Tx_metadata_len = TxMetadataBytes
	}
	if u.cfg.TxSoftwareSum {
		reg.Flags |= unix.XDP_UMEM_TX_SW_CSUM
	}
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_UMEM_REG,
		uintptr(unsafe.Pointer(&reg)), unsafe.Sizeof(reg), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// mmapOffsets asks where in their mappings the rings' parts are; with need_wakeup's flags, so Linux 5.4.
func mmapOffsets(fd int) (off unix.XDPMmapOffsets, err error) {
	err = getsockopt(fd, unix.XDP_MMAP_OFFSETS, unsafe.Pointer(&off), unsafe.Sizeof(off))
	return off, err
}

func statistics(fd int) (st unix.XDPStatistics, err error) {
	err = getsockopt(fd, unix.XDP_STATISTICS, unsafe.Pointer(&st), unsafe.Sizeof(st))
	return st, err
}

// getsockopt fills value, size bytes; an older kernel that fills less is refused.
func getsockopt(fd, option int, value unsafe.Pointer, size uintptr) error {
	got := uint32(size)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, uintptr(option),
		uintptr(value), uintptr(unsafe.Pointer(&got)), 0)
	if errno != 0 {
		return errno
	}
	if uintptr(got) != size {
		return unix.ENOSYS
	}
	return nil
}
