package tap

import (
	"bytes"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// newRing makes a ring of the smallest size and its reader, in memory of this process.
func newRing(t testing.TB) (*ring, *reader) {
	t.Helper()
	m, fds, err := makeMemory(1, minRing)
	must(t, err)
	must(t, closeAll(fds[:]))
	t.Cleanup(func() { must(t, m.unmap()) })
	return &ring{data: m.data(0), control: m.control(0), reader: m.position(0), snap: maxSnap},
		&reader{data: m.data(0), control: m.control(0), position: m.position(0)}
}

// see finds the next record of what is there now.
func (r *reader) see() error {
	if err := r.update(); err != nil {
		return err
	}
	return r.look()
}

func (r *ring) pass(d Direction, now int64, p []byte) {
	r.write(d, now, p, []unix.XDPDesc{{Len: uint32(len(p))}})
}

// Random packets, written and read at random, come out as of a list that has no memory to manage. Those that do not fit are as many as the
// arithmetic of sizes says.
func TestRingAgainstList(t *testing.T) {
	w, r := newRing(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var list [][]byte
	used, dropped := 0, uint64(0)
	size := func(p []byte) int { return 16 + (len(p)+15)/16*16 }
	for range 50000 {
		if rnd.IntN(2) == 0 {
			p := make([]byte, rnd.IntN(1+rnd.IntN(9000)))
			for i := range p {
				p[i] = byte(rnd.Uint32())
			}
			w.pass(Direction(len(p)&1), int64(len(p)), p)
			if used+size(p) > minRing {
				dropped++
			} else {
				list, used = append(list, p), used+size(p)
			}
			continue
		}
		must(t, r.see())
		if r.ready != (len(list) > 0) {
			t.Fatalf("a packet: %v, with %d in the list", r.ready, len(list))
		}
		if !r.ready {
			continue
		}
		var p Packet
		whole, err := r.read(&p)
		must(t, err)
		if !whole || !bytes.Equal(p.Data, list[0]) || p.Time != int64(len(list[0])) || p.Direction != Direction(len(list[0])&1) {
			t.Fatalf("%d bytes at %d, want %d", len(p.Data), p.Time, len(list[0]))
		}
		list, used = list[1:], used-size(p.Data)
	}
	if got := r.control.dropped.Load(); got != dropped || dropped == 0 {
		t.Errorf("%d dropped, want %d", got, dropped)
	}
}

// A frame of any length fits into the smallest ring, cut at the longest that a record can say.
func TestLongestRecord(t *testing.T) {
	w, r := newRing(t)
	w.pass(Out, 1, make([]byte, 1<<17))
	must(t, r.see())
	var p Packet
	if whole, err := r.read(&p); !whole || err != nil || p.Length != 1<<17 || len(p.Data) != maxSnap || r.control.dropped.Load() != 0 {
		t.Errorf("%v, %v, %d of %d bytes, %d dropped", whole, err, len(p.Data), p.Length, r.control.dropped.Load())
	}
}

// Whatever the reader's position is made to say, the writer neither panics nor writes beside the ring nor over what is not read.
func TestHostilePosition(t *testing.T) {
	w, _ := newRing(t)
	const guard = 4096
	around := make([]byte, guard+minRing+guard)
	w.data = around[guard : guard+minRing : guard+minRing]
	rnd := rand.New(rand.NewPCG(1, 2))
	p := bytes.Repeat([]byte{1}, 1000)
	for range 10000 {
		position := rnd.Uint64() >> rnd.IntN(64)
		switch rnd.IntN(3) {
		case 0:
			position = w.head + uint64(rnd.IntN(100000)) - 50000
		case 1:
			position = w.tail - uint64(rnd.IntN(1000))
		}
		w.reader.tail.Store(position)
		before := w.tail
		w.pass(In, 0, p)
		if w.tail < before || w.tail > w.head || w.head-w.tail > minRing {
			t.Fatalf("with %d: from %d to %d", position, w.tail, w.head)
		}
	}
	if bytes.Count(around[:guard], []byte{0}) != guard || bytes.Count(around[guard+minRing:], []byte{0}) != guard {
		t.Error("written beside the ring")
	}
}

// A ring that says what no writer says is corrupt, and not read.
func TestHostileRing(t *testing.T) {
	good := record{length: 100, kept: 100}
	for name, c := range map[string]struct {
		head uint64
		rec  record
	}{
		"beyond the head":     {head: 112, rec: good},
		"beyond the ring":     {head: minRing + 16, rec: good},
		"head not aligned":    {head: 129, rec: good},
		"head before tail":    {head: math.MaxUint64 - 15, rec: good},
		"unknown flag":        {head: 128, rec: record{length: 100, kept: 100, flags: flagsUsed + 1}},
		"kept more than been": {head: 128, rec: record{length: 99, kept: 100}},
		"too long":            {head: 128, rec: record{length: maxFrame + 1, kept: 100}},
	} {
		_, r := newRing(t)
		*(*record)(unsafe.Pointer(&r.data[0])) = c.rec
		r.control.head.Store(c.head)
		if err := r.see(); err != ErrCorrupt || r.ready {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, r := newRing(t)
	*(*record)(unsafe.Pointer(&r.data[0])) = good
	r.control.head.Store(128)
	if err := r.see(); err != nil || !r.ready {
		t.Errorf("a good one: %v", err)
	}
}

// FuzzReader reads memory that holds anything. It is refused, or read as packets within it.
func FuzzReader(f *testing.F) {
	w, r := newRing(f)
	w.pass(In, 1, []byte("packet"))
	w.pass(Out, 2, make([]byte, 100))
	f.Add(bytes.Clone(w.data[:200]), w.control.head.Load(), uint64(0))
	f.Add([]byte{}, uint64(1<<63), uint64(1<<63-64))
	f.Fuzz(func(t *testing.T, b []byte, head, tail uint64) {
		clear(r.data)
		copy(r.data, b)
		tail &^= recordBytes - 1
		*r = reader{data: r.data, control: r.control, position: r.position, head: tail, tail: tail}
		r.control.head.Store(head)
		for {
			if r.see() != nil || !r.ready {
				return
			}
			var p Packet
			if whole, err := r.read(&p); err != nil || whole && (len(p.Data) > p.Length || p.Length > maxFrame) {
				if err == nil {
					t.Fatalf("%d of %d bytes", len(p.Data), p.Length)
				}
				return
			}
		}
	})
}

// Who looks has the packets to read only, and cannot take the memory away from under the writer.
func TestSeals(t *testing.T) {
	m, fds, err := makeMemory(2, minRing)
	must(t, err)
	defer m.unmap()
	defer closeAll(fds[:])
	for i, bytes := range []int{m.ringsBytes(), m.positionsBytes()} {
		fd := fds[i]
		if unix.Ftruncate(fd, 0) == nil || unix.Ftruncate(fd, int64(bytes)+4096) == nil {
			t.Errorf("memory %d can change its size", i)
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err == nil {
			t.Errorf("memory %d can be sealed further", i)
		}
	}
	if _, err := unix.Pwrite(fds[0], []byte{1}, 0); err == nil {
		t.Error("the rings can be written")
	}
	if unix.Fallocate(fds[0], unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096) == nil {
		t.Error("holes can be made in the rings")
	}
	if b, err := unix.Mmap(fds[0], 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
		_ = unix.Munmap(b)
		t.Error("the rings can be mapped to be written")
	}
	r, err := mapMemory(2, minRing, fds[:])
	must(t, err)
	m.data(1)[5] = 7
	r.position(1).tail.Store(9)
	if r.data(1)[5] != 7 || m.position(1).tail.Load() != 9 {
		t.Error("both ends do not have the same memory")
	}
	must(t, r.unmap())
}

// Memory that is not what it should be is refused before it is read.
func TestHostileMemory(t *testing.T) {
	loose, err := unix.MemfdCreate("loose", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	must(t, err)
	defer unix.Close(loose)
	must(t, unix.Ftruncate(loose, 1<<30))
	m, fds, err := makeMemory(1, minRing)
	must(t, err)
	defer m.unmap()
	defer closeAll(fds[:])
	for _, c := range []struct {
		queues, size int
		fds          []int
	}{
		{1, minRing, []int{loose, fds[1]}},   // could shrink
		{1, minRing, []int{fds[0], loose}},   // likewise
		{2, minRing, fds[:]},                 // shorter than it says
		{1, 2 * minRing, fds[:]},             // likewise
		{1, minRing + 16, fds[:]},            // no power of two
		{1, 0, fds[:]}, {0, minRing, fds[:]}, // nothing
		{1 << 40, minRing, fds[:]},               // too many
		{1, 1 << 50, fds[:]},                     // too large
		{1, minRing, fds[:1]}, {1, minRing, nil}, // too few
	} {
		if m, err := mapMemory(c.queues, c.size, c.fds); err == nil {
			t.Errorf("%+v is taken", c)
			_ = m.unmap()
		}
	}
}

// A Point allocates nothing, whether somebody looks or not.
func TestAllocations(t *testing.T) {
	s, links := serve(t, 1)
	l := links[0]
	descs := make([]unix.XDPDesc, 64)
	for i := range descs {
		descs[i].Len = 64
	}
	pass := func() {
		if w := l.Watched(); w != nil {
			w.Packets(In, l.memory, descs)
			w.Attend()
		}
	}
	if n := testing.AllocsPerRun(1000, pass); n != 0 {
		t.Errorf("%v allocations a burst while nobody looks", n)
	}
	c := capture(t, s, Options{})
	defer c.Close()
	if n := testing.AllocsPerRun(1000, pass); n != 0 { // the ring is full at some time
		t.Errorf("%v allocations a burst", n)
	}
	if c.Dropped(0) == 0 {
		t.Error("the ring was never full")
	}
}

// Captures leave nothing behind: no descriptor, mapping or goroutine, however they end.
func TestNothingLeft(t *testing.T) {
	s, links := serve(t, 3)
	round := func() {
		c := capture(t, s, Options{})
		links[0].pass(In, []byte("x"))
		next(t, c)
		must(t, c.Close()) // without Stop: as when the process is killed
		p := dial(t, s)
		_, err := p.Stats()
		must(t, err)
		must(t, p.Close())
		for { // the Server sees it some time
			s.mu.Lock()
			n := len(s.conns)
			s.mu.Unlock()
			if n == 0 {
				break
			}
			runtime.Gosched()
		}
	}
	round()
	files, mappings, goroutines := count(t)
	for range 50 {
		round()
	}
	if f, m, g := count(t); f > files || m > mappings || g > goroutines+2 { // goroutines of other tests may still end, or begin
		t.Errorf("descriptors %d → %d, mappings %d → %d, goroutines %d → %d", files, f, mappings, m, goroutines, g)
	}
}

// count counts the process's descriptors, mapped captures and goroutines.
func count(t testing.TB) (files, mappings, goroutines int) {
	t.Helper()
	list, err := filepath.Glob("/proc/self/fd/*")
	must(t, err)
	maps, err := os.ReadFile("/proc/self/maps")
	must(t, err)
	return len(list), strings.Count(string(maps), "memfd:fastrpc-capture"), runtime.NumGoroutine()
}

var _ [recordBytes]byte = [unsafe.Sizeof(record{})]byte{} // the layout is that of both ends
