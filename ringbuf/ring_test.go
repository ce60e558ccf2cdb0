package ringbuf_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/fastrpc/fastrpc/ringbuf"
)

const ringSize = 16 // small, so that full, empty and the wrap-around come up all the time

// newPair makes both ends of a ring in plain memory whose indices stand at start.
func newPair(start uint32) (ringbuf.Ring[uint64], *ringbuf.Producer[uint64], *ringbuf.Consumer[uint64]) {
	r := ringbuf.Ring[uint64]{Producer: new(atomic.Uint32), Consumer: new(atomic.Uint32), Entries: make([]uint64, ringSize)}
	r.Producer.Store(start)
	r.Consumer.Store(start)
	return r, ringbuf.NewProducer(r), ringbuf.NewConsumer(r)
}

// starts has the index beginning at 0, and shortly before it wraps around.
var starts = []uint32{0, 7, 1<<32 - 1, 1<<32 - ringSize, 1<<32 - 5*ringSize - 3}

// FuzzRing runs a script of operations on a ring and on a FIFO oracle. Each byte is one: the low 5 bits a count, the rest what to do.
func FuzzRing(f *testing.F) {
	for _, start := range starts {
		for seed := range uint64(8) {
			f.Add(start, script(seed, 400))
		}
	}
	f.Fuzz(func(t *testing.T, start uint32, ops []byte) {
		shared, p, c := newPair(start)
		var oracle []uint64 // published, not consumed
		next := uint64(1)
		burst := make([]uint64, 32)
		for i, op := range ops {
			n := int(op & 31)
			switch op >> 5 {
			case 0, 1: // push a burst
				for j := range n {
					burst[j] = next + uint64(j)
				}
				want := min(n, ringSize-len(oracle))
				if got := p.Push(burst[:n]); got != want {
					t.Fatalf("op %d: Push of %d took %d, the oracle %d", i, n, got, want)
				}
				oracle = append(oracle, burst[:want]...)
				next += uint64(want)
			case 2, 3: // pop a burst
				want := min(n, len(oracle))
				if got := c.Pop(burst[:n]); got != want || !slices.Equal(burst[:got], oracle[:want]) {
					t.Fatalf("op %d: Pop of %d gave %d entries %v, the oracle %v", i, n, got, burst[:got], oracle[:want])
				}
				oracle = oracle[want:]
			case 4: // acquire, write all, publish a part
				before := shared.Producer.Load()
				got := p.Acquire(uint32(n))
				if int(got) != min(n, ringSize-len(oracle)) {
					t.Fatalf("op %d: Acquire(%d) by the producer gave %d with %d in the ring", i, n, got, len(oracle))
				}
				for j := range got {
					*p.Slot(j) = next + uint64(j)
				}
				if shared.Producer.Load() != before {
					t.Fatalf("op %d: entries were published before Release", i)
				}
				p.Release(got / 2)
				for j := range got / 2 {
					oracle = append(oracle, next+uint64(j))
				}
				next += uint64(got / 2)
			case 5: // acquire, read all, give a part back
				got := c.Acquire(uint32(n))
				if int(got) != min(n, len(oracle)) {
					t.Fatalf("op %d: Acquire(%d) by the consumer gave %d with %d in the ring", i, n, got, len(oracle))
				}
				for j := range got {
					if *c.Slot(j) != oracle[j] {
						t.Fatalf("op %d: entry %d is %d, the oracle has %d", i, j, *c.Slot(j), oracle[j])
					}
				}
				c.Release(got / 2)
				oracle = oracle[got/2:]
			default:
				if got := p.Pending(); int(got) != len(oracle) {
					t.Fatalf("op %d: Pending is %d, the oracle holds %d", i, got, len(oracle))
				}
			}
		}
		if p.Violations()+c.Violations() != 0 {
			t.Fatalf("violations counted between two honest ends: %d, %d", p.Violations(), c.Violations())
		}
	})
}

func script(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 0))
	ops := make([]byte, n)
	for i := range ops {
		ops[i] = byte(rng.Uint32())
	}
	return ops
}

// TestConcurrentEnds passes a counted sequence through the ring with an end in each of two goroutines; under the race detector it also
// shows that Acquire and Release order the entries between them.
func TestConcurrentEnds(t *testing.T) {
	const total = 200_000
	for _, start := range starts {
		t.Run(fmt.Sprint(start), func(t *testing.T) {
			_, p, c := newPair(start)
			go func() {
				rng := rand.New(rand.NewPCG(uint64(start), 1))
				burst := make([]uint64, ringSize)
				for next := uint64(0); next < total; {
					n := min(1+rng.IntN(ringSize), int(total-next))
					for i := range n {
						burst[i] = next + uint64(i)
					}
					sent := p.Push(burst[:n])
					if sent == 0 {
						runtime.Gosched()
					}
					next += uint64(sent)
				}
			}()
			rng := rand.New(rand.NewPCG(uint64(start), 2))
			burst := make([]uint64, ringSize)
			for next := uint64(0); next < total; {
				n := c.Pop(burst[:1+rng.IntN(ringSize)])
				if n == 0 {
					runtime.Gosched()
				}
				for _, v := range burst[:n] {
					if v != next {
						t.Fatalf("got entry %d, want %d", v, next)
					}
					next++
				}
			}
		})
	}
}

// TestCorruptIndices lets the other side write any index at all: the ends must stay inside the ring, give at most a lap, and go on where
// they were once the index is possible again.
func TestCorruptIndices(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 3))
		shared, p, c := newPair(rng.Uint32())
		burst := make([]uint64, 3*ringSize)
		for range 200 {
			for _, index := range []*atomic.Uint32{shared.Producer, shared.Consumer} {
				if rng.IntN(2) == 0 {
					index.Store(rng.Uint32())
				} else {
					index.Add(uint32(rng.IntN(5*ringSize)) - 2*ringSize)
				}
			}
			for _, got := range []uint32{p.Acquire(rng.Uint32()), c.Acquire(rng.Uint32()), p.Pending()} {
				if got > ringSize {
					t.Fatalf("seed %d: an end was given %d entries of a ring of %d", seed, got, ringSize)
				}
			}
			*p.Slot(rng.Uint32()), *c.Slot(rng.Uint32()) = 1, 2
			if p.Push(burst[:rng.IntN(len(burst))]) > ringSize || c.Pop(burst[:rng.IntN(len(burst))]) > ringSize {
				t.Fatalf("seed %d: a burst longer than the ring", seed)
			}
		}
	}

	shared, p, c := newPair(100)
	p.Push([]uint64{1, 2, 3})
	honest := shared.Producer.Load()
	shared.Producer.Store(honest + ringSize)
	if n := c.Pop(make([]uint64, 8)); n != 0 || c.Violations() != 1 {
		t.Fatalf("the consumer took %d entries by an impossible index and counted %d violations, want 0 and 1", n, c.Violations())
	}
	shared.Producer.Store(honest)
	got := make([]uint64, 8)
	if n := c.Pop(got); n != 3 || got[0] != 1 || got[2] != 3 {
		t.Fatalf("after the index was mended the consumer got %v", got[:n])
	}
	shared.Consumer.Store(honest + 1) // consumed more than was produced
	if n := p.Push(make([]uint64, ringSize)); n > ringSize-3 || p.Violations() != 1 {
		t.Fatalf("the producer put %d entries over unread ones and counted %d violations", n, p.Violations())
	}
}

// TestCachedIndex shows that an end leaves the other's cache line alone while what it knows suffices: a wrecked index goes unnoticed.
func TestCachedIndex(t *testing.T) {
	shared, p, c := newPair(0)
	p.Push(make([]uint64, 4))
	if c.Acquire(1) != 1 {
		t.Fatal("the consumer does not see the entries")
	}
	shared.Consumer.Store(12345)
	shared.Producer.Store(54321)
	if p.Acquire(ringSize-4) != ringSize-4 || p.Violations() != 0 {
		t.Error("the producer loaded the consumer's index though it knew of enough room")
	}
	if c.Acquire(4) != 4 || c.Violations() != 0 {
		t.Error("the consumer loaded the producer's index though it knew of enough entries")
	}
}

func TestBadRingSizes(t *testing.T) {
	for _, n := range []int{0, 3, 12, 100} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a ring of %d entries was accepted", n)
				}
			}()
			ringbuf.NewProducer(ringbuf.Ring[uint64]{Producer: new(atomic.Uint32), Consumer: new(atomic.Uint32), Entries: make([]uint64, n)})
		}()
	}
}

func TestRingDoesNotAllocate(t *testing.T) {
	_, p, c := newPair(0)
	burst := make([]uint64, 8)
	if n := testing.AllocsPerRun(1000, func() { p.Push(burst); c.Pop(burst) }); n != 0 {
		t.Errorf("%v allocations a burst", n)
	}
}

func BenchmarkRingBurst8(b *testing.B) {
	_, p, c := newPair(0)
	burst := make([]uint64, 8)
	for b.Loop() {
		p.Push(burst)
		c.Pop(burst)
	}
}
