package ringbuf

import (
	"fmt"
	"sync/atomic"
)

// linePad keeps what different CPUs write on cache lines of their own: two lines of 64 bytes, because x86 fetches them in pairs.
type linePad [128]byte

// Queue is a bounded first-in first-out queue from any number of producers to one consumer, after Dmitry Vyukov's bounded MPMC queue: each
// slot has a sequence number that says whose turn it is, so that a Push costs one compare-and-swap on a line shared by the producers and
// one store to the slot.
//
// A producer that the scheduler stops between claiming a slot and filling it holds back those behind it: Pop finds nothing until it goes
// on, while Empty already answers false.
type Queue[T any] struct {
	slots []slot[T]
	mask  uint64
	_     linePad
	tail  atomic.Uint64 // the next position to claim; producers
	_     linePad
	head  atomic.Uint64 // the next position to pop; written by the consumer alone
	_     linePad
}

// slot at position p holds turn p while free for it, p+1 once filled, and p+capacity, its next free turn, once popped.
type slot[T any] struct {
	turn  atomic.Uint64
	value T
}

// NewQueue makes a queue of the given capacity, a power of two of at least 2; anything else panics.
func NewQueue[T any](capacity int) *Queue[T] {
	if capacity < 2 || capacity&(capacity-1) != 0 {
		panic(fmt.Sprintf("ringbuf: queue capacity %d is not a power of two of at least 2", capacity))
	}
	q := &Queue[T]{slots: make([]slot[T], capacity), mask: uint64(capacity) - 1}
	for i := range q.slots {
		q.slots[i].turn.Store(uint64(i))
	}
	return q
}

// Push appends v; false means that the queue is full and v was not taken. Callable from any goroutine.
func (q *Queue[T]) Push(v T) bool {
	pos := q.tail.Load()
	for {
		s := &q.slots[pos&q.mask]
		turn := s.turn.Load()
		switch {
		case turn == pos:
			if q.tail.CompareAndSwap(pos, pos+1) {
				s.value = v
				s.turn.Store(pos + 1)
				return true
			}
		case turn < pos:
			return false // still holds the entry of the lap before
		}
		pos = q.tail.Load() // another producer was faster, so somebody made progress
	}
}

// Pop takes the oldest entry; false means that there is none, or that its producer has not finished writing it. One goroutine at a time,
// and a goroutine that takes over must have synchronised with the one before it. The queue keeps no reference to what was popped.
func (q *Queue[T]) Pop() (v T, ok bool) {
	pos := q.head.Load()
	s := &q.slots[pos&q.mask]
	if s.turn.Load() != pos+1 {
		return v, false
	}
	v = s.value
	var zero T
	s.value = zero
	q.head.Store(pos + 1) // before the slot is given away, so that head never seems more than a lap behind
	s.turn.Store(pos + q.mask + 1)
	return v, true
}

// Empty says whether every entry that was pushed has been popped. Callable from any goroutine.
//
// It is exact where threads park: if A stores "I park" and then calls Empty, and B pushes and then loads A's mark (both marks through
// sync/atomic), then either A's Empty is false or B sees the mark. A true answer held at one instant during the call; it counts claimed
// slots, so it is false from the moment a Push can no longer fail.
func (q *Queue[T]) Empty() bool {
	head := q.head.Load() // first: head only grows and never passes tail, so tail == head means empty at the second load
	return q.tail.Load() == head
}
