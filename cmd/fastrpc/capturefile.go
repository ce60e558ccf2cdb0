package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"time"
)

// captureFile reads pcap and pcapng files, in memory for one packet whatever their lengths say. gopacket's own readers allocate what a length
// field asks for, panic on malformed options, have eight bits for a link type, and take a pcapng file that ends within a packet for whole.
//
// The formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng, whose names are used here.
type captureFile struct {
	r      *bufio.Reader
	order  binary.ByteOrder
	ng     bool
	ifaces []captureInterface // of the section; a pcap file has one
	buf    []byte
}

type captureInterface struct {
	link    linkType
	snaplen uint32
	ticks   uint64 // of its clock, a second
	offset  int64  // s, added to its clock
}

// capturedPacket is one packet as the link had it.
type capturedPacket struct {
	at   time.Time // UTC; zero: not recorded
	link linkType
	data []byte // until the next packet is read
}

// Bounds. libpcap's MAXIMUM_SNAPLEN is 256 KiB; a block of pcapng may hold options besides.
const (
	maxCaptured   = 256 << 10
	maxBlock      = 1 << 20
	maxInterfaces = 1 << 12
)

var (
	errNoCapture  = errors.New("no pcap or pcapng capture; 'tcpdump -i IFACE -w FILE udp' writes one")
	errCaptureCut = errors.New("the capture ends within a packet; what came before is above")
)

const sectionHeader = 0x0a0d0d0a // reads the same in either byte order

func openCaptureFile(r io.Reader) (*captureFile, error) {
	c := &captureFile{r: bufio.NewReaderSize(r, 64<<10)}
	magic, err := c.r.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if len(magic) < 4 {
		return nil, errNoCapture
	}
	if binary.LittleEndian.Uint32(magic) == sectionHeader {
		c.ng = true
		return c, nil // its blocks are all alike
	}
	h, err := c.read(24)
	if err != nil {
		return nil, err
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		ticks := map[uint32]uint64{0xa1b2c3d4: 1e6, 0xa1b23c4d: 1e9}[order.Uint32(h)]
		if ticks != 0 && order.Uint16(h[4:]) == 2 {
			c.order = order
			// The upper half does not belong to the link type: it tells of a frame check sequence behind each packet, which IP's length excludes.
			c.ifaces = []captureInterface{{link: linkType(order.Uint32(h[20:])), ticks: ticks}}
			return c, nil
		}
	}
	return nil, errNoCapture
}

// next returns the next packet; io.EOF when there are no more, errCaptureCut when the file ends where it should not.
func (c *captureFile) next() (capturedPacket, error) {
	if c.ng {
		return c.nextBlock()
	}
	if _, err := c.r.Peek(1); err != nil {
		return capturedPacket{}, err
	}
	h, err := c.read(16)
	if err != nil {
		return capturedPacket{}, err
	}
	at := c.ifaces[0].time(uint64(c.order.Uint32(h))*c.ifaces[0].ticks + uint64(c.order.Uint32(h[4:])))
	n := c.order.Uint32(h[8:])
	if n > maxCaptured {
		return capturedPacket{}, fmt.Errorf("a packet of %d bytes is no part of a sound capture", n)
	}
	data, err := c.read(int(n))
	return capturedPacket{at: at, link: c.ifaces[0].link, data: data}, err
}

// read returns the next n bytes, until it is called again.
func (c *captureFile) read(n int) ([]byte, error) {
	if n > cap(c.buf) {
		c.buf = make([]byte, max(n, 4<<10))
	}
	b := c.buf[:n]
	_, err := io.ReadFull(c.r, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = errCaptureCut
	}
	return b, err
}

// nextBlock reads blocks up to the next packet.
func (c *captureFile) nextBlock() (capturedPacket, error) {
	for {
		if _, err := c.r.Peek(1); err != nil {
			return capturedPacket{}, err
		}
		h, err := c.r.Peek(12)
		if err == io.EOF {
			err = errCaptureCut
		}
		if err != nil {
			return capturedPacket{}, err
		}
		if binary.LittleEndian.Uint32(h) == sectionHeader {
			c.order = binary.ByteOrder(binary.LittleEndian)
			if binary.BigEndian.Uint32(h[8:]) == 0x1a2b3c4d {
				c.order = binary.BigEndian
			}
			c.ifaces = c.ifaces[:0]
		}
		kind, n := c.order.Uint32(h), c.order.Uint32(h[4:])
		if n < 12 || n%4 != 0 || n > maxBlock {
			return capturedPacket{}, fmt.Errorf("a block of %d bytes is no part of a sound capture", n)
		}
		b, err := c.read(int(n))
		if err != nil {
			return capturedPacket{}, err
		}
		if p, ok, err := c.block(kind, b[8:n-4]); ok || err != nil {
			return p, err
		}
	}
}

// block reads the body of a block; ok when it is a packet.
func (c *captureFile) block(kind uint32, b []byte) (p capturedPacket, ok bool, err error) {
	u32 := func(at int) uint32 { return c.order.Uint32(b[at:]) }
	switch {
	case kind == 1 && len(b) >= 8: // Interface Description Block
		i := captureInterface{link: linkType(c.order.Uint16(b)), snaplen: u32(4), ticks: 1e6}
		if !i.options(c.order, b[8:]) || len(c.ifaces) == maxInterfaces {
			return p, false, fmt.Errorf("interface %d of the capture is malformed", len(c.ifaces))
		}
		c.ifaces = append(c.ifaces, i)
	case kind == 3 && len(b) >= 4 && len(c.ifaces) > 0: // Simple Packet Block
		n := min(u32(0), uint32(len(b)-4))
		if s := c.ifaces[0].snaplen; s != 0 {
			n = min(n, s)
		}
		return capturedPacket{link: c.ifaces[0].link, data: b[4 : 4+n]}, true, nil
	case kind == 6 && len(b) >= 20 && uint64(u32(0)) < uint64(len(c.ifaces)) && uint64(u32(12)) <= uint64(len(b)-20): // Enhanced Packet Block
		i := &c.ifaces[u32(0)]
		at := i.time(uint64(u32(4))<<32 | uint64(u32(8)))
		return capturedPacket{at: at, link: i.link, data: b[20 : 20+u32(12)]}, true, nil
	case kind == 1 || kind == 3 || kind == 6:
		return p, false, fmt.Errorf("a block of type %d is malformed", kind)
	}
	return p, false, nil
}

// options reads those of an interface that concern its clock; false when they are malformed.
func (i *captureInterface) options(order binary.ByteOrder, b []byte) bool {
	for len(b) >= 4 {
		code, n := order.Uint16(b), int(order.Uint16(b[2:]))
		b = b[4:]
		if n > len(b) {
			return false
		}
		switch {
		case code == 0: // opt_endofopt
			return true
		case code == 9 && n == 1: // if_tsresol: a negative power of 10, or of 2
			exponent := b[0] &^ 0x80
			i.ticks = 1
			switch {
			case b[0] != exponent && exponent < 64:
				i.ticks <<= exponent
			case b[0] == exponent && exponent < 20:
				for range exponent {
					i.ticks *= 10
				}
			default:
				return false
			}
		case code == 14 && n == 8: // if_tsoffset
			i.offset = int64(order.Uint64(b))
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	return true
}

// time turns ticks of the interface's clock into a time.
func (i *captureInterface) time(t uint64) time.Time {
	hi, lo := bits.Mul64(t%i.ticks, uint64(time.Second))
	nanos, _ := bits.Div64(hi, lo, i.ticks) // t%ticks < ticks, so it fits
	return time.Unix(int64(t/i.ticks)+i.offset, int64(nanos)).UTC()
}
