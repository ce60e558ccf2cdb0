package kv

import (
	"bytes"
	"fmt"
	"sync"
)

// Table is the server's side: it writes keys and values to memory that clients read. Its methods may be called from any goroutine.
type Table struct {
	layout Layout

	mu      sync.Mutex // of those who write; clients' cards know nothing of it
	mem     []byte
	scratch []byte
}

// NewTable makes an empty table of mem, which has layout.Bytes() bytes.
func NewTable(mem []byte, layout Layout) (*Table, error) {
	if err := layout.check(); err != nil {
		return nil, err
	}
	if len(mem) != layout.Bytes() {
		return nil, fmt.Errorf("kv: the table takes %d bytes, not %d: see Layout.Bytes", layout.Bytes(), len(mem))
	}
	t := &Table{layout: layout, mem: mem, scratch: make([]byte, layout.slotBytes())}
	layout.put(mem)
	for at := headerBytes; at < len(mem); at += layout.slotBytes() {
		slot{}.encode(mem[at:])
	}
	return t, nil
}

// Put sets the value of a key.
func (t *Table) Put(key, value []byte) error {
	if len(key) == 0 || len(key) > t.layout.Key || len(value) > t.layout.Value {
		return fmt.Errorf("%w: %d and %d bytes, where %d and %d have room, and a key is not empty", ErrTooLong, len(key), len(value), t.layout.Key, t.layout.Value)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	at := t.slot(key, key)
	if at == nil {
		at = t.slot(key, nil)
	}
	if at == nil {
		return fmt.Errorf("%w: make a table of more slots than %d", ErrFull, t.layout.Slots)
	}
	t.write(at, key, value)
	return nil
}

// Delete removes a key, if it is there.
func (t *Table) Delete(key []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at := t.slot(key, key); len(key) > 0 && at != nil {
		t.write(at, nil, nil)
	}
}

// Get appends the value of a key to dst.
func (t *Table) Get(dst, key []byte) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(key) == 0 {
		return dst, ErrNotFound // and no empty slot
	}
	s, err := t.layout.find(t.mem[t.layout.place(key):], key)
	return append(dst, s.value...), err
}

// slot finds the slot in the neighbourhood of key that holds what; nil if none does.
func (t *Table) slot(key, what []byte) []byte {
	size, b := t.layout.slotBytes(), t.mem[t.layout.place(key):]
	for i := range neighbours {
		at := b[i*size : (i+1)*size]
		if s, err := decode(at); err == nil && bytes.Equal(s.key, what) {
			return at
		}
	}
	return nil
}

// write writes a slot. A client whose card reads it meanwhile sees old and new bytes, which do not fit its checksum.
func (t *Table) write(at, key, value []byte) {
	old, _ := decode(at)
	n := slot{version: old.version + 1, key: key, value: value}.encode(t.scratch)
	copy(at, t.scratch[:n])
}
