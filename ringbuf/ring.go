package ringbuf

import (
	"fmt"
	"sync/atomic"
)

// Ring is the memory that both ends share. Each end is given its own Ring value of the same memory.
type Ring[T any] struct {
	Producer *atomic.Uint32 // entries ever produced, modulo 2³²; written by the producer alone
	Consumer *atomic.Uint32 // entries ever consumed, modulo 2³²; written by the consumer alone
	Entries  []T            // a power of two of them; T holds no pointers if the other end is not Go
}

// cursors is what the two ends have in common. The indices run freely over uint32 and are masked on use, so that full (a lap apart) and
// empty (equal) differ, as in the kernel (net/xdp/xsk_queue.h, ring_mask).
//
// The padding keeps the indices, which are written with each burst, off the cache lines of whatever the allocator puts beside them: most
// likely the end of a ring that another CPU polls.
type cursors[T any] struct {
	_        linePad
	ring     Ring[T]
	mask     uint32
	own      uint32 // this end's index; private memory is its only source, so the other end cannot change it
	other    uint32 // the other end's, as last seen
	violated uint32 // atomic, see Violations
	_        linePad
}

func newCursors[T any](r Ring[T]) cursors[T] {
	n := len(r.Entries)
	if n == 0 || n&(n-1) != 0 || uint64(n) > 1<<31 {
		panic(fmt.Sprintf("ringbuf: ring of %d entries; it must be a power of two up to 2³¹", n))
	}
	return cursors[T]{ring: r, mask: uint32(n) - 1}
}

// Slot returns the i-th entry of the current burst; i must be below what Acquire returned. It never leads out of the ring.
func (c *cursors[T]) Slot(i uint32) *T { return &c.ring.Entries[(c.own+i)&c.mask] }

// Size returns the number of entries of the ring.
func (c *cursors[T]) Size() uint32 { return c.mask + 1 }

// Violations counts loads of the other end's index that were impossible (more than a lap ahead). Such an index is ignored: Acquire then
// goes by the last possible one. Callable from any goroutine.
func (c *cursors[T]) Violations() uint32 { return atomic.LoadUint32(&c.violated) }

// Producer is the writing end of a ring. It belongs to one goroutine at a time.
type Producer[T any] struct{ cursors[T] }

// NewProducer makes the writing end of r and goes on where r's indices are. The ring's size must be a power of two, else it panics.
func NewProducer[T any](r Ring[T]) *Producer[T] {
	p := &Producer[T]{newCursors(r)}
	p.own, p.other = r.Producer.Load(), r.Consumer.Load()
	return p
}

// Acquire returns how many entries can be written now, want at most. They are written through Slot and handed over by Release; acquired
// entries that are not released are simply acquired again. The shared index is loaded only if the cached one does not suffice
// (xskq_prod_nb_free, (A) in xsk_queue.h's pairing).
func (p *Producer[T]) Acquire(want uint32) uint32 {
	if free := p.free(); free >= want {
		return want
	}
	p.refresh()
	return min(want, p.free())
}

func (p *Producer[T]) free() uint32 { return p.mask + 1 - (p.own - p.other) }

// refresh keeps the invariant that other is at most a lap behind own, which makes free correct.
func (p *Producer[T]) refresh() {
	if seen := p.ring.Consumer.Load(); p.own-seen <= p.mask+1 {
		p.other = seen
	} else {
		atomic.AddUint32(&p.violated, 1)
	}
}

// Release publishes the first n acquired entries with one store (xskq_prod_submit_n, __xskq_prod_submit, (B) in xsk_queue.h's pairing). n
// must not exceed what Acquire returned.
func (p *Producer[T]) Release(n uint32) {
	p.own += n
	p.ring.Producer.Store(p.own)
}

// Push copies as many entries of src as there is room for and publishes them at once; it returns how many.
func (p *Producer[T]) Push(src []T) int {
	n := p.Acquire(clampBurst(len(src)))
	if n == 0 {
		return 0
	}
	at := p.own & p.mask
	first := copy(p.ring.Entries[at:], src[:n])
	copy(p.ring.Entries, src[first:n])
	p.Release(n)
	return int(n)
}

// Pending returns how many published entries the consumer has not released yet; it loads the shared index.
func (p *Producer[T]) Pending() uint32 {
	p.refresh()
	return p.own - p.other
}

// Consumer is the reading end of a ring. It belongs to one goroutine at a time.
type Consumer[T any] struct{ cursors[T] }

// NewConsumer makes the reading end of r and goes on where r's indices are. The ring's size must be a power of two, else it panics.
func NewConsumer[T any](r Ring[T]) *Consumer[T] {
	c := &Consumer[T]{newCursors(r)}
	c.own, c.other = r.Consumer.Load(), r.Producer.Load()
	return c
}

// Acquire returns how many entries can be read now, want at most. They are read through Slot and given back by Release. The shared index
// is loaded only if the cached one does not suffice (xskq_cons_nb_entries, __xskq_cons_peek, (C) in xsk_queue.h's pairing).
func (c *Consumer[T]) Acquire(want uint32) uint32 {
	if ready := c.other - c.own; ready >= want {
		return want
	}
	if seen := c.ring.Producer.Load(); seen-c.own <= c.mask+1 {
		c.other = seen
	} else {
		atomic.AddUint32(&c.violated, 1)
	}
	return min(want, c.other-c.own)
}

// Release gives the first n acquired entries back with one store (__xskq_cons_release, (D) in xsk_queue.h's pairing); they must not be
// read any more. n must not exceed what Acquire returned.
func (c *Consumer[T]) Release(n uint32) {
	c.own += n
	c.ring.Consumer.Store(c.own)
}

// Pop copies up to len(dst) entries out and gives their slots back at once; it returns how many.
func (c *Consumer[T]) Pop(dst []T) int {
	n := c.Acquire(clampBurst(len(dst)))
	if n == 0 {
		return 0
	}
	at := c.own & c.mask
	first := copy(dst[:n], c.ring.Entries[at:])
	copy(dst[first:n], c.ring.Entries)
	c.Release(n)
	return int(n)
}

// clampBurst keeps a length inside uint32; no ring is as large as its limit.
func clampBurst(n int) uint32 { return uint32(min(n, 1<<31)) }
