package session

import (
	"math/rand/v2"
	"testing"
)

// FuzzSpans compares the set with the slow and obvious one: a bool a byte.
func FuzzSpans(f *testing.F) {
	f.Add([]byte{0, 10, 20, 30, 10, 20, 5, 7})
	f.Add([]byte{5, 6, 3, 4, 1, 2, 0, 9})
	r := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		b := make([]byte, 60)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		var s spans
		var model [256]bool
		for i := 0; i+1 < len(ops); i += 2 {
			lo, hi := uint32(min(ops[i], ops[i+1])), uint32(max(ops[i], ops[i+1]))
			if lo == hi {
				continue
			}
			at := lo
			for at < hi && model[at] {
				at++
			}
			end := at
			for end < hi && !model[end] {
				end++
			}
			got, ok := s.gap(lo, hi)
			if ok != (at < hi) || ok && (got != span{at, end}) {
				t.Fatalf("gap(%d, %d) of %v = %v, %v; want %d to %d", lo, hi, s, got, ok, at, end)
			}
			if ops[i]%7 == 3 && len(s) > 0 { // take instead
				want := s[0]
				want.hi = min(want.hi, want.lo+9)
				if got := s.take(9); got != want {
					t.Fatalf("took %v, want %v", got, want)
				}
				for j := want.lo; j < want.hi; j++ {
					model[j] = false
				}
			} else {
				if !s.add(lo, hi) {
					t.Fatal("full")
				}
				for j := lo; j < hi; j++ {
					model[j] = true
				}
			}
			check(t, s, model[:])
		}
	})
}

func check(t *testing.T, s spans, model []bool) {
	t.Helper()
	seen := make([]bool, len(model))
	for i, x := range s {
		if x.lo >= x.hi || i > 0 && x.lo <= s[i-1].hi {
			t.Fatalf("not sorted, disjoint and apart: %v", s)
		}
		for j := x.lo; j < x.hi; j++ {
			seen[j] = true
		}
	}
	for j := range model {
		if seen[j] != model[j] {
			t.Fatalf("byte %d: %v, want %v, in %v", j, seen[j], model[j], s)
		}
	}
	n := uint32(0)
	for int(n) < len(model) && model[n] {
		n++
	}
	whole := true
	for _, b := range model[n:] {
		whole = whole && !b
	}
	if n > 0 && s.all(n) != whole {
		t.Fatalf("all(%d) of %v is %v", n, s, !whole)
	}
}

func TestSpansAreBounded(t *testing.T) {
	var s spans
	for i := range uint32(maxSpans) {
		if !s.add(3*i, 3*i+1) {
			t.Fatalf("full at %d", i)
		}
	}
	if s.add(3*maxSpans, 3*maxSpans+1) || len(s) != maxSpans {
		t.Errorf("holds %d", len(s))
	}
	if !s.add(1, 3) || len(s) != maxSpans-1 {
		t.Error("a hole cannot be filled when the set is full")
	}
}
