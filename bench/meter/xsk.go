package meter

import (
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// xskCounts is what the AF_XDP sockets of this process lost, by the kernel's names.
type xskCounts map[string]uint64

// countXSK asks every AF_XDP socket among this process's descriptors (XDP_STATISTICS), whoever opened it.
func countXSK() xskCounts {
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	var c xskCounts
	for _, d := range descriptors {
		fd, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		if family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || family != unix.AF_XDP {
			continue
		}
		var s unix.XDPStatistics // since Linux 5.9 with the last three
		size := uint32(unsafe.Sizeof(s))
		if _, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_STATISTICS, uintptr(unsafe.Pointer(&s)),
			uintptr(unsafe.Pointer(&size)), 0); e != 0 {
			continue
		}
		if c == nil {
			c = xskCounts{}
		}
		c["xsk rx_dropped"] += s.Rx_dropped
		c["xsk rx_invalid_descs"] += s.Rx_invalid_descs
		c["xsk tx_invalid_descs"] += s.Tx_invalid_descs
		c["xsk rx_ring_full"] += s.Rx_ring_full
		c["xsk rx_fill_ring_empty_descs"] += s.Rx_fill_ring_empty_descs
	}
	return c
}

func (c xskCounts) since(before xskCounts) xskCounts {
	d := xskCounts{}
	for cause, n := range c {
		d[cause] = grown(before[cause], n)
	}
	return d
}
