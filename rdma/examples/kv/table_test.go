package kv

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

var small = Layout{Slots: 64, Key: 16, Value: 100}

func newTable(t *testing.T, l Layout) *Table {
	t.Helper()
	table, err := NewTable(make([]byte, l.Bytes()), l)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// A table does what a map does, but for keys that find no room.
func TestTable(t *testing.T) {
	table, model := newTable(t, small), map[string]string{}
	random := rand.New(rand.NewPCG(1, 2))
	full := 0
	for n := range 20000 {
		key, value := fmt.Sprint("key ", random.IntN(100)), fmt.Sprint("value ", n)
		switch random.IntN(3) {
		case 0:
			table.Delete([]byte(key))
			delete(model, key)
		default:
			err := table.Put([]byte(key), []byte(value))
			if _, there := model[key]; errors.Is(err, ErrFull) && !there {
				full++
			} else if err != nil {
				t.Fatal(err)
			} else {
				model[key] = value
			}
		}
		got, err := table.Get(nil, []byte(key))
		if want, there := model[key]; there != (err == nil) || string(got) != want {
			t.Fatalf("%q is %q, %v, want %q", key, got, err, want)
		}
	}
	if full == 0 {
		t.Error("no neighbourhood was ever full")
	}
	for key, want := range model {
		if got, err := table.Get(nil, []byte(key)); err != nil || string(got) != want {
			t.Errorf("%q is %q, %v, want %q", key, got, err, want)
		}
	}
	for _, c := range [][2]int{{0, 1}, {17, 1}, {1, 101}} {
		if err := table.Put(make([]byte, c[0]), make([]byte, c[1])); !errors.Is(err, ErrTooLong) {
			t.Errorf("%v: %v", c, err)
		}
	}
}

// Wherever a write was interrupted, in whatever order its bytes arrived, the slot is the old one, the new one, or torn.
func TestTorn(t *testing.T) {
	size := small.slotBytes()
	before, after := make([]byte, size), make([]byte, size)
	slot{version: 5, key: []byte("key"), value: bytes.Repeat([]byte("a"), 100)}.encode(before)
	slot{version: 6, key: []byte("key"), value: bytes.Repeat([]byte("b"), 90)}.encode(after)
	random := rand.New(rand.NewPCG(3, 4))
	torn := 0
	for n := range 5000 {
		mixed := bytes.Clone(before)
		switch {
		case n < size:
			copy(mixed[:n], after)
		case n < 2*size:
			copy(mixed[n-size:], after[n-size:])
		default: // some cache lines, or pieces of 8 bytes
			unit := []int{64, 8}[n%2]
			for at := 0; at < size; at += unit {
				if random.IntN(2) == 0 {
					copy(mixed[at:at+unit], after[at:])
				}
			}
		}
		s, err := decode(mixed)
		if err != nil {
			torn++
		} else if want := map[uint64][]byte{5: before, 6: after}[s.version]; !bytes.Equal(s.value, want[overhead+3:][:len(s.value)]) || len(s.value) != 100-10*int(s.version-5) {
			t.Fatalf("mixture %d is version %d with %q", n, s.version, s.value)
		}
	}
	if torn < 1000 {
		t.Errorf("%d mixtures were torn", torn)
	}
}

func TestLayout(t *testing.T) {
	b := make([]byte, headerBytes)
	small.put(b)
	if l, err := parseLayout(b); err != nil || l != small {
		t.Errorf("%+v, %v", l, err)
	}
	for _, bad := range []Layout{{}, {Slots: 1}, {Slots: 1, Key: 1 << 16}, {Slots: 1, Key: 1, Value: -1}, {Slots: 1 << 33, Key: 1}} {
		if _, err := NewTable(nil, bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
		bad.put(b)
		if l, err := parseLayout(b); err == nil {
			t.Errorf("%+v was read", l)
		}
	}
	if _, err := NewTable(make([]byte, 100), small); err == nil {
		t.Error("memory of another length was taken")
	}
}

// No slot makes decode read outside of it.
func FuzzDecode(f *testing.F) {
	b := make([]byte, small.slotBytes())
	slot{version: 1, key: []byte("key"), value: []byte("value")}.encode(b)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < overhead {
			return
		}
		s, err := decode(b)
		if err != nil {
			return
		}
		again := make([]byte, len(b))
		if n := s.encode(again); n < overhead || n > len(b) {
			t.Fatalf("%d of %d bytes", n, len(b))
		}
	})
}
