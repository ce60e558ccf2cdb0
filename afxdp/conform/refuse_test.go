//go:build linux

package conform

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

// refuse ends the row as one that the device does not do, with the kernel's answer to a call.
func refuse(t *testing.T, call string, err error) {
	t.Helper()
	var errno unix.Errno
	if !errors.As(err, &errno) {
		t.Fatalf("%s: %v", call, err)
	}
	name := unix.ErrnoName(errno)
	if errno == unix.EOPNOTSUPP {
		name = "EOPNOTSUPP" // on Linux one number with ENOTSUP
	}
	t.Skipf("refused: %s: %s (%v)", call, name, errno)
}

// describe names the flags of a bind for a reader.
func describe(e *end, m mode) string {
	var flags []string
	for _, f := range []struct {
		on   bool
		name string
	}{{m.socket == afxdp.Copy, "XDP_COPY"}, {m.socket == afxdp.ZeroCopy, "XDP_ZEROCOPY"}, {e.multiBuffer, "XDP_USE_SG"},
		{e.unaligned, "XDP_UMEM_UNALIGNED_CHUNK_FLAG"}} {
		if f.on {
			flags = append(flags, f.name)
		}
	}
	return fmt.Sprintf("%s, chunks of %d bytes", strings.Join(flags, "|"), e.chunkBytes)
}

// judge ends a row whose socket was not opened: as refused if the kernel has the same answer to bare system calls, and if it has reason:
// every device does copy mode with one descriptor a packet and aligned chunks.
func (c *trial) judge(e *end, err error) {
	c.Helper()
	call, answer := kernelAnswer(c.T, e, c.mode)
	special := e.multiBuffer || e.unaligned || c.mode.socket == afxdp.ZeroCopy
	if answer != nil && errors.Is(err, answer) && (errors.Is(answer, unix.EOPNOTSUPP) || errors.Is(answer, unix.EINVAL)) && special {
		refuse(c.T, fmt.Sprintf("%s of queue 0 of %s, %s", call, e.port.name, describe(e, c.mode)), answer)
	}
	c.Fatalf("Open: %v; the kernel to bare system calls: %s: %v", err, call, answer)
}

// kernelAnswer asks the kernel by bare system calls for a socket like that of the end, and returns the call that it refused and its
// answer, nil if there is none: what the library answers is not believed.
func kernelAnswer(t *testing.T, e *end, m mode) (call string, err error) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	mem, err := unix.Mmap(-1, 0, 16*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	must(t, err)
	defer func() { must(t, unix.Munmap(mem)) }()
	reg := unix.XDPUmemReg{Addr: uint64(uintptr(unsafe.Pointer(&mem[0]))), Len: uint64(len(mem)), Size: uint32(e.chunkBytes),
		Headroom: uint32(e.headroom)}
	sa := &unix.SockaddrXDP{Flags: unix.XDP_USE_NEED_WAKEUP | unix.XDP_COPY, Ifindex: uint32(e.port.index)}
	if m.socket == afxdp.ZeroCopy {
		sa.Flags = unix.XDP_USE_NEED_WAKEUP | unix.XDP_ZEROCOPY
	}
	if e.multiBuffer {
		sa.Flags |= unix.XDP_USE_SG
	}
	if e.unaligned {
		reg.Flags |= unix.XDP_UMEM_UNALIGNED_CHUNK_FLAG
	}
	if _, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_UMEM_REG, uintptr(unsafe.Pointer(&reg)),
		unsafe.Sizeof(reg), 0); errno != 0 {
		return "XDP_UMEM_REG", errno
	}
	rings := []int{unix.XDP_UMEM_FILL_RING, unix.XDP_UMEM_COMPLETION_RING}
	if e.rxEntries > 0 {
		rings = append(rings, unix.XDP_RX_RING)
	}
	if e.txEntries > 0 {
		rings = append(rings, unix.XDP_TX_RING)
	}
	for _, ring := range rings {
		must(t, unix.SetsockoptInt(fd, unix.SOL_XDP, ring, 16))
	}
	for deadline := time.Now().Add(patience); ; breathe() { // the library's socket may still be on its way out
		if err := unix.Bind(fd, sa); !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return "bind", err
		}
	}
}

// hugePagesAnswer asks the kernel for the end's UMEM on huge pages.
func hugePagesAnswer(e *end) error {
	const page = 2 << 20
	m, err := unix.Mmap(-1, 0, (e.chunks*e.chunkBytes+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_HUGETLB)
	if err != nil {
		return err
	}
	return errors.Join(unix.Munmap(m), errors.New("it is possible, yet the UMEM is not on them"))
}

// maxSkbFrags is how many fragments an skb takes beside its linear part.
func maxSkbFrags() int {
	n := 17 // MAX_SKB_FRAGS as most kernels are built
	if b, err := os.ReadFile("/proc/sys/net/core/max_skb_frags"); err == nil {
		_, _ = fmt.Sscan(string(b), &n)
	}
	return n
}
