package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
)

// Errors, for errors.Is.
var (
	ErrNotFound = errors.New("kv: no such key")
	ErrFull     = errors.New("kv: the neighbourhood of the key is full")
	ErrTooLong  = errors.New("kv: the key or the value is too long for the table")

	errTorn = errors.New("kv: the slot was read while it was written")
)

// Layout is the form of a table.
type Layout struct {
	Slots int // how many there are
	Key   int // longest key, in bytes
	Value int // longest value
}

// neighbours are the slots that may hold a key: the one that its hash says, and those behind it. They are read at once.
const neighbours = 4

const (
	headerBytes = 64
	magic       = 0x31766b6374736166 // "fastckv1", as the bytes of a little-endian number
	overhead    = 24                 // of a slot
	maxLength   = 1 << 15
	maxSlots    = 1 << 32
)

func (l Layout) check() error {
	if l.Slots < 1 || l.Slots > maxSlots || l.Key < 1 || l.Key > maxLength || l.Value < 0 || l.Value > maxLength {
		return fmt.Errorf("kv: a table of %d slots for keys of %d bytes and values of %d: there can be 1 to %d slots, and keys and values of up to %d bytes",
			l.Slots, l.Key, l.Value, maxSlots, maxLength)
	}
	return nil
}

// slotBytes is a multiple of a cache line.
func (l Layout) slotBytes() int { return (overhead + l.Key + l.Value + 63) &^ 63 }

// Bytes is how much memory a table takes.
func (l Layout) Bytes() int { return headerBytes + (l.Slots+neighbours-1)*l.slotBytes() }

// place is where in the region the neighbourhood of a key begins. Checksums of keys that are much alike are, too: the product's upper half is not.
func (l Layout) place(key []byte) int {
	hash := crc64.Checksum(key, polynomial) * 0x9e3779b97f4a7c15 >> 32
	return headerBytes + int(hash%uint64(l.Slots))*l.slotBytes()
}

var polynomial = crc64.MakeTable(crc64.ECMA)

func (l Layout) put(b []byte) {
	clear(b[:headerBytes])
	for i, v := range []int{magic, l.Slots, l.Key, l.Value} {
		binary.LittleEndian.PutUint64(b[8*i:], uint64(v))
	}
}

// parseLayout reads what put wrote.
func parseLayout(b []byte) (Layout, error) {
	v := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	if len(b) < headerBytes || v(0) != magic {
		return Layout{}, errors.New("kv: the region is no table")
	}
	if max(v(1), v(2), v(3)) > maxSlots {
		return Layout{}, errors.New("kv: the table's header is damaged")
	}
	l := Layout{Slots: int(v(1)), Key: int(v(2)), Value: int(v(3))}
	return l, l.check()
}

// slot is a slot's content. One without a key is empty.
type slot struct {
	version    uint64
	key, value []byte
}

// encode writes the slot, and returns its length; what stands behind is of no account.
func (s slot) encode(b []byte) int {
	n := overhead + len(s.key) + len(s.value)
	binary.LittleEndian.PutUint64(b[8:], s.version)
	binary.LittleEndian.PutUint16(b[16:], uint16(len(s.key)))
	binary.LittleEndian.PutUint16(b[18:], uint16(len(s.value)))
	binary.LittleEndian.PutUint32(b[20:], 0)
	copy(b[overhead:], s.key)
	copy(b[overhead+len(s.key):], s.value)
	binary.LittleEndian.PutUint64(b, crc64.Checksum(b[8:n], polynomial))
	return n
}

// decode reads a slot, whose key and value lie in b, if all of it is of one write.
func decode(b []byte) (slot, error) {
	k, v := int(binary.LittleEndian.Uint16(b[16:])), int(binary.LittleEndian.Uint16(b[18:]))
	n := overhead + k + v
	if n > len(b) || crc64.Checksum(b[8:n], polynomial) != binary.LittleEndian.Uint64(b) {
		return slot{}, errTorn
	}
	return slot{version: binary.LittleEndian.Uint64(b[8:]), key: b[overhead : overhead+k], value: b[overhead+k : n]}, nil
}

// find looks for a key in its neighbourhood. A key that is not there while another slot is torn may be in that one.
func (l Layout) find(b, key []byte) (slot, error) {
	size, outcome := l.slotBytes(), ErrNotFound
	for i := range neighbours {
		s, err := decode(b[i*size : (i+1)*size])
		if err != nil {
			outcome = err
		} else if bytes.Equal(s.key, key) {
			return s, nil
		}
	}
	return slot{}, outcome
}
