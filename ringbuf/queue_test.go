package ringbuf_test

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"weak"

	"github.com/fastrpc/fastrpc/ringbuf"
)

func TestQueueAgainstOracle(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 0))
		capacity := 2 << rng.IntN(4)
		q := ringbuf.NewQueue[int](capacity)
		var oracle []int
		for next := range 2000 {
			if rng.IntN(2) == 0 {
				if ok := q.Push(next); ok != (len(oracle) < capacity) {
					t.Fatalf("seed %d: Push answered %v with %d of %d entries", seed, ok, len(oracle), capacity)
				} else if ok {
					oracle = append(oracle, next)
				}
			} else {
				v, ok := q.Pop()
				if ok != (len(oracle) > 0) || (ok && v != oracle[0]) {
					t.Fatalf("seed %d: Pop gave %d, %v; the oracle holds %v", seed, v, ok, oracle)
				}
				if ok {
					oracle = oracle[1:]
				}
			}
			if q.Empty() != (len(oracle) == 0) {
				t.Fatalf("seed %d: Empty is %v with %d entries", seed, q.Empty(), len(oracle))
			}
		}
	}
}

// TestQueueManyProducers checks that nothing is lost, doubled or, by producer, reordered.
func TestQueueManyProducers(t *testing.T) {
	const producers, each = 8, 20_000
	q := ringbuf.NewQueue[[2]int](16)
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for i := range each {
				for !q.Push([2]int{p, i}) {
					runtime.Gosched()
				}
			}
		})
	}
	var next [producers]int
	for range producers * each {
		v, ok := q.Pop()
		for !ok {
			runtime.Gosched()
			v, ok = q.Pop()
		}
		if v[1] != next[v[0]] {
			t.Fatalf("producer %d: got entry %d, want %d", v[0], v[1], next[v[0]])
		}
		next[v[0]]++
	}
	wg.Wait()
	if _, ok := q.Pop(); ok || !q.Empty() {
		t.Error("something is left in the queue")
	}
}

// TestQueueParking runs the protocol that Empty is for: the consumer marks itself parked, looks once more, and blocks; a producer pushes,
// then wakes a parked consumer. A wake-up that gets lost leaves the consumer blocked and fails the test by its time limit.
func TestQueueParking(t *testing.T) {
	const producers, each = 3, 30_000
	q := ringbuf.NewQueue[int](64)
	var parked atomic.Bool
	wake := make(chan struct{}, 1)
	for range producers {
		go func() {
			for i := range each {
				for !q.Push(i) {
					runtime.Gosched()
				}
				if parked.Load() && parked.CompareAndSwap(true, false) {
					wake <- struct{}{}
				}
			}
		}()
	}
	parks := 0
	for got := 0; got < producers*each; {
		if _, ok := q.Pop(); ok {
			got++
			continue
		}
		parked.Store(true)
		if q.Empty() {
			parks++
			<-wake
		} else if !parked.CompareAndSwap(true, false) {
			<-wake // a producer was faster and is waking
		}
	}
	if parks == 0 {
		t.Log("the consumer never had to park")
	}
}

func TestQueueDropsReferences(t *testing.T) {
	q := ringbuf.NewQueue[*[64]byte](4)
	v := new([64]byte)
	ref := weak.Make(v)
	q.Push(v)
	v = nil
	q.Pop()
	runtime.GC()
	if ref.Value() != nil {
		t.Error("the queue keeps what was popped alive")
	}
	runtime.KeepAlive(q)
}

func TestQueueBadCapacities(t *testing.T) {
	for _, n := range []int{-4, 0, 1, 3, 12} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("capacity %d was accepted", n)
				}
			}()
			ringbuf.NewQueue[int](n)
		}()
	}
}

func TestQueueDoesNotAllocate(t *testing.T) {
	q := ringbuf.NewQueue[[4]uint64](8)
	if n := testing.AllocsPerRun(1000, func() { q.Push([4]uint64{1}); q.Pop(); q.Empty() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkQueue(b *testing.B) {
	q := ringbuf.NewQueue[uint64](64)
	for b.Loop() {
		q.Push(1)
		q.Pop()
	}
}
