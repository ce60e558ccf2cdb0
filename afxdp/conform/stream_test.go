//go:build linux

package conform

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

// Sizes of the kernel's test (test_xsk.h, test_xsk.c).
const (
	streamPackets = 4 * 1024
	minPacket     = 64   // MIN_PKT_SIZE
	jumboPacket   = 9000 // MAX_ETH_JUMBO_SIZE
	headerBytes   = 16   // PKT_HDR_SIZE: Ethernet's 14 and two to align the payload's words
	batchPackets  = 64   // DEFAULT_BATCH_SIZE

	// oddBatch is how many packets a flow puts into a ring at a time: unlike 64, it does not divide the ring, so bursts lie across its end.
	oddBatch = batchPackets - 3
)

// testType is the "local experimental" EtherType: nothing else on the wire has it.
const testType = 0x88b5

// packet is one of a stream.
type packet struct {
	position int    // in the stream, from 0
	number   uint32 // stands in the payload
	bytes    int

	offset  int            // of its first byte from the start of the sender's chunk; below 0, in unaligned mode, it straddles its border
	descs   []unix.XDPDesc // where it stands in the sender's UMEM; nil: in chunks that the sender picks
	invalid bool           // the kernel must refuse its descriptors
	zeros   int            // what the receiver's program appends
}

// newStream makes count packets of so many bytes, numbered first, first+step and so on.
func newStream(count, bytes int, first, step uint32) []packet {
	s := make([]packet, count)
	for i := range s {
		s[i] = packet{position: i, number: first + uint32(i)*step, bytes: bytes}
	}
	return s
}

// literal makes a stream of packets whose descriptors the row writes itself. The bytes of a valid one are spread over them.
func literal(packets ...packet) []packet {
	for i := range packets {
		p := &packets[i]
		p.position, p.number = i, uint32(i)
		for _, d := range p.descs {
			p.bytes += int(d.Len)
		}
	}
	return packets
}

func valid(descs ...unix.XDPDesc) packet   { return packet{descs: descs} }
func invalid(descs ...unix.XDPDesc) packet { return packet{descs: descs, invalid: true} }

// arriving returns those of the stream that keep says.
func arriving(s []packet, keep func(packet) bool) (want []packet) {
	for _, p := range s {
		if keep(p) {
			want = append(want, p)
		}
	}
	return want
}

func isValid(p packet) bool { return !p.invalid }
func isEven(p packet) bool  { return p.position%2 == 0 }

// at returns the address of the packet in a chunk.
func (p packet) at(u *afxdp.Umem, chunk uint64) uint64 {
	if p.offset < 0 {
		return chunk - uint64(-p.offset)
	}
	return u.At(chunk, p.offset)
}

// header is the Ethernet header of a stream's packets. The last byte of the source address names the socket that they are for.
func header(to [6]byte, socket byte) (h [14]byte) {
	copy(h[:], to[:])
	copy(h[6:], []byte{2, 0, 0, 0, 0, socket})
	binary.BigEndian.PutUint16(h[12:], testType)
	return h
}

// render writes the packet into b, which is as long as it. As in the kernel's test the payload is a row of words with the packet's number
// in the upper half and the word's in the lower.
func (p packet) render(b []byte, h [14]byte) {
	clear(b)
	copy(b, h[:])
	whole := b[:len(b)-p.zeros]
	for at := headerBytes; at+4 <= len(whole); at += 4 {
		binary.BigEndian.PutUint32(whole[at:], p.number<<16|uint32(at-headerBytes)/4)
	}
}
