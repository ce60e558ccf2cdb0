//go:build linux

package afxdp_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

// reserveHugePages sees to it that so many 2 MiB pages are free until the test ends. A lock on the kernel's file keeps the tests of other packages
// from counting them as theirs, and from giving them back.
func reserveHugePages(t *testing.T, pages int) {
	t.Helper()
	needRoot(t)
	const name = "/proc/sys/vm/nr_hugepages"
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Skipf("this kernel has no huge pages: %v", err)
	}
	t.Cleanup(func() { file.Close() })
	must(t, unix.Flock(int(file.Fd()), unix.LOCK_EX))
	if kib := meminfo(t, "Hugepagesize"); kib != 2048 {
		t.Skipf("the huge pages of this kernel have %d KiB", kib)
	}
	before := meminfo(t, "HugePages_Total")
	write := func(n int) {
		_, err := file.WriteAt([]byte(strconv.Itoa(n)), 0)
		must(t, err)
	}
	t.Cleanup(func() { write(before) })
	write(before + pages)
	if free := meminfo(t, "HugePages_Free"); free < pages {
		t.Skipf("the kernel has %d free huge pages after it was asked for %d: its memory is fragmented", free, pages)
	}
}

// meminfo reads a line of /proc/meminfo.
func meminfo(t *testing.T, name string) (n int) {
	t.Helper()
	text, err := os.ReadFile("/proc/meminfo")
	must(t, err)
	for line := range strings.Lines(string(text)) {
		if got, _ := fmt.Sscanf(line, name+": %d", &n); got == 1 {
			return n
		}
	}
	t.Fatalf("/proc/meminfo has no %s", name)
	return 0
}

// pageBytes returns the size of the pages that b stands on, as the kernel tells of this process's memory.
func pageBytes(t *testing.T, b []byte) int {
	t.Helper()
	smaps, err := os.ReadFile("/proc/self/smaps")
	must(t, err)
	at, inside := uint64(uintptr(unsafe.Pointer(&b[0]))), false
	for line := range strings.Lines(string(smaps)) {
		var from, to uint64
		var kib int
		if n, _ := fmt.Sscanf(line, "%x-%x ", &from, &to); n == 2 {
			inside = from <= at && at < to
		} else if n, _ := fmt.Sscanf(line, "KernelPageSize: %d kB", &kib); n == 1 && inside {
			return kib << 10
		}
	}
	t.Fatal("the memory is not in /proc/self/smaps")
	return 0
}

// TestHugePages reserves pages, sees that the UMEM stands on them, and sends through it, aligned and unaligned.
func TestHugePages(t *testing.T) {
	reserveHugePages(t, 8)
	a, b := newPairOf(t, pairConfig{mtu: jumboMTU})
	for _, c := range []struct {
		umem   afxdp.UmemConfig
		usable int
	}{
		{afxdp.UmemConfig{Chunks: 1024, ChunkBytes: 2048, HugePages: true}, 1024},
		{afxdp.UmemConfig{Chunks: 1000, ChunkBytes: 4001, HugePages: true, Unaligned: true}, 999}, // one lies in two pages
	} {
		pa, pb := a.newPortOf(t, c.umem, multiBuffer), b.newPortOf(t, c.umem, multiBuffer)
		if size := pageBytes(t, pa.umem.Bytes()); !pa.umem.HugePages() || size != 2<<20 {
			t.Errorf("huge pages: %v; the UMEM stands on pages of %d bytes", pa.umem.HugePages(), size)
		}
		if pa.frames.Size() != c.usable {
			t.Errorf("%d chunks can be used, want %d", pa.frames.Size(), c.usable)
		}
		for {
			addr, ok := pa.frames.Alloc()
			if !ok {
				break
			}
			if end := addr + uint64(c.umem.ChunkBytes) - 1; addr>>21 != end>>21 {
				t.Errorf("the chunk at %#x lies in two huge pages", addr)
			}
			defer pa.frames.Free(addr)
		}
		must(t, pa.Close())
		must(t, pa.umem.Close())
		pa = a.newPortOf(t, c.umem, multiBuffer)
		for number := range uint64(20) {
			ds := pa.segments(t, number, 200+int(number)*400, 1000)
			if pa.Transmit(ds) != len(ds) {
				t.Fatal("TX ring is full")
			}
			pa.kickAll(t)
			packet, _ := pb.collectPacket(t)
			if got, err := checkPacket(packet); err != nil || got != number {
				t.Fatalf("got packet %d (%v), want %d", got, err, number)
			}
			pa.awaitComplete(t, len(ds))
		}
		for _, p := range []*port{pa, pb} {
			must(t, p.Close())
			must(t, p.umem.Close())
		}
	}
	u, err := afxdp.NewUmem(afxdp.UmemConfig{Chunks: 1024, ChunkBytes: 2048})
	must(t, err)
	defer u.Close()
	if u.HugePages() || pageBytes(t, u.Bytes()) != os.Getpagesize() {
		t.Error("huge pages were taken without being asked for")
	}
}
