package session

import (
	"math/bits"

	"github.com/fastrpc/fastrpc/transport"
)

// wheel is a hierarchical timing wheel (Varghese and Lauck, 1987, scheme 7): armed, moved and fired in constant time.
// A timer fires up to one tick late, never early. The zero value is ready; not for concurrent use.
type wheel struct {
	tick  uint64 // all ticks up to and including this one have fired
	used  [wheelLevels]uint64
	slots [wheelLevels][wheelSlots]*timer
	due   *timer // taken out of their slots, about to be handed out by expire
}

const (
	tickBits    = 14 // 16 µs: fine beside the shortest time in use, an acknowledgement's 200 µs
	wheelLevels = 5  // 2^(14+5·6) ns: almost five hours; what is later waits there and is put in again
	wheelSlots  = 64
	wheelBits   = 6
)

// timer is a place in the wheel: a session's, a peer's or the endpoint's own. Each has one, for whatever is due first.
type timer struct {
	at           transport.Time // 0: not armed
	prev, next   *timer
	conn         *Conn // whose it is; both nil: the endpoint's
	peer         *peer
	level, index uint8
	linked       bool
}

// arm sets t to at, or leaves it where it is when it fires earlier: its owner then looks again.
func (w *wheel) arm(t *timer, at transport.Time) {
	if t.linked {
		if t.at <= at {
			return
		}
		w.remove(t)
	}
	t.at = at
	w.insert(t)
}

func (w *wheel) insert(t *timer) {
	tick := max(uint64(t.at)+1<<tickBits-1, 0) >> tickBits
	tick = max(tick, w.tick+1)
	level := 0
	if diff := tick ^ w.tick; diff >= wheelSlots {
		level = min((bits.Len64(diff)-1)/wheelBits, wheelLevels-1)
		if (tick>>(level*wheelBits))-(w.tick>>(level*wheelBits)) >= wheelSlots { // beyond the range: the last slot before wrapping
			tick = w.tick + (wheelSlots-1)<<(level*wheelBits)
		}
	}
	index := tick >> (level * wheelBits) % wheelSlots
	t.level, t.index, t.linked = uint8(level), uint8(index), true
	head := &w.slots[level][index]
	t.prev, t.next = nil, *head
	if *head != nil {
		(*head).prev = t
	}
	*head = t
	w.used[level] |= 1 << index
}

// remove disarms t.
func (w *wheel) remove(t *timer) {
	if !t.linked {
		return
	}
	switch {
	case t.prev != nil:
		t.prev.next = t.next
	case w.due == t:
		w.due = t.next
	default:
		w.slots[t.level][t.index] = t.next
		if t.next == nil {
			w.used[t.level] &^= 1 << t.index
		}
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.prev, t.next, t.linked, t.at = nil, nil, false, 0
}

// next is when expire may find something, 0 for never: exact on the lowest level, else when a higher slot has to be opened.
func (w *wheel) next() transport.Time {
	if w.due != nil {
		return 1
	}
	tick, ok := w.nextTick()
	if !ok {
		return 0
	}
	return transport.Time(tick << tickBits)
}

// nextTick is the first tick at which a slot has to fire or to be opened.
func (w *wheel) nextTick() (uint64, bool) {
	best, found := uint64(0), false
	for level := range wheelLevels {
		if w.used[level] == 0 {
			continue
		}
		shift := level * wheelBits
		now := w.tick >> shift
		// Turned so that bit 0 is the slot after now's; now's own slot comes last, one whole turn later.
		ahead := bits.RotateLeft64(w.used[level], -int((now+1)%wheelSlots))
		tick := (now + 1 + uint64(bits.TrailingZeros64(ahead))) << shift
		if !found || tick < best {
			best, found = tick, true
		}
	}
	return best, found
}

// expire disarms and returns a timer that has come, nil when there is none.
func (w *wheel) expire(now transport.Time) *timer {
	for w.due == nil {
		tick, ok := w.nextTick()
		if !ok || tick > uint64(now)>>tickBits {
			if target := uint64(now) >> tickBits; target > w.tick && (!ok || target < tick) {
				w.tick = target
			}
			return nil
		}
		w.tick = tick
		for level := wheelLevels - 1; level >= 0; level-- { // open the higher slots that begin at this tick first
			shift := level * wheelBits
			if tick&(1<<shift-1) != 0 {
				continue
			}
			index := tick >> shift % wheelSlots
			list := w.slots[level][index]
			w.slots[level][index] = nil
			w.used[level] &^= 1 << index
			for t := list; t != nil; {
				next := t.next
				w.place(t)
				t = next
			}
		}
	}
	t := w.due
	w.remove(t)
	return t
}

// place puts the timer of an opened slot where it belongs now: among the due ones, or into a lower slot.
func (w *wheel) place(t *timer) {
	if (uint64(t.at)+1<<tickBits-1)>>tickBits > w.tick {
		w.insert(t)
		return
	}
	t.prev, t.next = nil, w.due
	if w.due != nil {
		w.due.prev = t
	}
	w.due = t
}
