package netpath

import (
	"encoding/binary"
	"math/bits"
)

// Checksum is the Internet checksum (RFC 1071) over b: the complement of the ones' complement sum of its 16-bit words.
func Checksum(b []byte) uint16 { return bits.ReverseBytes16(^fold(sum(0, b))) }

// UDPChecksum is the checksum of a UDP segment (header and payload, its checksum field taken as zero) between two addresses as in Flow;
// never 0, which stands for none (RFC 768, RFC 8200 section 8.1). A segment shorter than its header panics.
func UDPChecksum(src, dst *[16]byte, segment []byte) uint16 {
	acc := pseudoSum(src, dst)
	acc = sum(acc, segment[:6])
	acc = sum(acc, segment[8:])
	acc = addWord(acc, uint16(len(segment)))
	return bits.ReverseBytes16(neverZero(^fold(acc)))
}

// Inside this package sums run over little-endian words: the ones' complement sum of swapped words is the swapped sum (RFC 1071 section
// 2(B)), so that words are loaded as they lie, eight bytes at a time, and the result is stored as it is.

// sum adds b to acc in ones' complement arithmetic, an odd last byte padded with zero.
func sum(acc uint64, b []byte) uint64 {
	var carry uint64
	for len(b) >= 32 {
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[8:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[16:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[24:]), carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b), carry)
		b = b[8:]
	}
	if len(b) >= 4 {
		acc, carry = bits.Add64(acc, uint64(binary.LittleEndian.Uint32(b)), carry)
		b = b[4:]
	}
	var tail uint64
	for i, c := range b {
		tail |= uint64(c) << (8 * i)
	}
	acc, carry = bits.Add64(acc, tail, carry)
	acc, carry = bits.Add64(acc, 0, carry)
	return acc + carry
}

// sumIPv4 is sum over an IPv4 header, unrolled for one without options.
func sumIPv4(b []byte) uint64 {
	if len(b) != IPv4Bytes {
		return sum(0, b)
	}
	acc, carry := bits.Add64(binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), 0)
	acc, carry = bits.Add64(acc, uint64(binary.LittleEndian.Uint32(b[16:])), carry)
	return acc + carry
}

// addWord adds one 16-bit word in host order.
func addWord(acc uint64, w uint16) uint64 {
	acc, carry := bits.Add64(acc, uint64(bits.ReverseBytes16(w)), 0)
	return acc + carry
}

// pseudoSum is the sum of the pseudo-header of UDP without its length (RFC 768, RFC 8200 section 8.1).
func pseudoSum(src, dst *[16]byte) uint64 {
	if is4(src) {
		return addWord(sum(sum(0, src[12:]), dst[12:]), protocolUDP)
	}
	return addWord(sum(sum(0, src[:]), dst[:]), protocolUDP)
}

// fold reduces a sum to 16 bits.
func fold(acc uint64) uint16 {
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>16 + acc&0xffff
	return uint16(acc>>16 + acc)
}

// neverZero gives the other representation of zero.
func neverZero(c uint16) uint16 {
	if c == 0 {
		return 0xffff
	}
	return c
}
