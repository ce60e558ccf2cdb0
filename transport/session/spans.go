package session

import "slices"

// span is the bytes from lo up to hi, hi left out.
type span struct{ lo, hi uint32 }

// spans is a set of bytes of a message: sorted, disjoint, not touching. Parts come nearly in order, so it is short; the zero value is empty.
type spans []span

// maxSpans bounds a set against a peer that sends every second byte. A honest one leaves a hole for each lost packet, of which a window
// holds fewer.
const maxSpans = 1024

// gap returns the first stretch from lo up to hi that is not in the set; false when all of it is.
func (s spans) gap(lo, hi uint32) (span, bool) {
	if n := len(s); n == 0 || lo >= s[n-1].hi { // behind all: the usual
		return span{lo, hi}, lo < hi
	}
	for i := s.after(lo); i < len(s) && s[i].lo <= lo; i++ {
		lo = max(lo, s[i].hi)
	}
	if lo >= hi {
		return span{}, false
	}
	if i := s.after(lo); i < len(s) {
		hi = min(hi, s[i].lo)
	}
	return span{lo, hi}, true
}

// after is the index of the first span that ends after at.
func (s spans) after(at uint32) int {
	i, _ := slices.BinarySearchFunc(s, at, func(x span, at uint32) int {
		if x.hi <= at {
			return -1
		}
		return 1
	})
	return i
}

// add puts the bytes from lo up to hi into the set; false when it would have too many holes.
func (s *spans) add(lo, hi uint32) bool {
	if n := len(*s); n > 0 && lo == (*s)[n-1].hi { // in order
		(*s)[n-1].hi = max(hi, (*s)[n-1].hi)
		return true
	}
	from, _ := slices.BinarySearchFunc(*s, lo, func(x span, lo uint32) int { // the first that lo touches or precedes
		if x.hi < lo {
			return -1
		}
		return 1
	})
	to := from
	for to < len(*s) && (*s)[to].lo <= hi {
		lo, hi = min(lo, (*s)[to].lo), max(hi, (*s)[to].hi)
		to++
	}
	if from == to && len(*s) >= maxSpans {
		return false
	}
	*s = slices.Replace(*s, from, to, span{lo, hi})
	return true
}

// all tells whether the set holds the first n bytes.
func (s spans) all(n uint32) bool { return len(s) == 1 && s[0].lo == 0 && s[0].hi >= n }

// take removes and returns the first stretch, cut to at most n bytes. The set is not empty.
func (s *spans) take(n uint32) span {
	first := (*s)[0]
	if first.hi-first.lo > n {
		(*s)[0].lo += n
		return span{first.lo, first.lo + n}
	}
	*s = slices.Delete(*s, 0, 1)
	return first
}
