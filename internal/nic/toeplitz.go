package nic

import (
	"encoding/binary"
	"net/netip"
)

// Toeplitz is the hash of receive-side scaling as Microsoft defined it ("RSS Hashing Functions"): for each set bit of the input, the 32 bits of
// the key that begin at the bit's place are added modulo two. The key has 4 bytes more than the input at least; missing ones count as zero.
func Toeplitz(key, input []byte) (hash uint32) {
	at := func(i int) uint64 {
		if i < len(key) {
			return uint64(key[i])
		}
		return 0
	}
	window := at(0)<<24 | at(1)<<16 | at(2)<<8 | at(3)
	for i, b := range input {
		window = window<<8 | at(i+4) // the 32 bits for each of the eight, and what comes into them
		for bit := range 8 {
			if b&(0x80>>bit) != 0 {
				hash ^= uint32(window >> (8 - bit))
			}
		}
	}
	return hash
}

// Queue is the queue that a UDP packet comes in on, by the device's own account; false where that cannot be calculated: another function than
// Toeplitz's, a symmetric hash, or a device that keeps its key. fields is what UDPHashFields answers.
func (s *RSS) Queue(fields HashFields, source, dest netip.AddrPort) (queue int, ok bool) {
	if s.Hash != HashToeplitz || s.Symmetric != 0 || len(s.Key) == 0 || len(s.Table) == 0 || source.Addr().Is4() != dest.Addr().Is4() {
		return 0, false
	}
	// Addresses first, then ports, source before destination: the order of the definition, with what is not hashed left out.
	input := make([]byte, 0, 36)
	if fields&HashIPSource != 0 {
		input = append(input, source.Addr().AsSlice()...)
	}
	if fields&HashIPDest != 0 {
		input = append(input, dest.Addr().AsSlice()...)
	}
	if fields&HashPorts == HashPorts {
		input = binary.BigEndian.AppendUint16(input, source.Port())
		input = binary.BigEndian.AppendUint16(input, dest.Port())
	}
	return int(s.Table[Toeplitz(s.Key, input)%uint32(len(s.Table))]), true
}
