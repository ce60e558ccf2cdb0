package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"
	"time"

	"github.com/google/gopacket/layers"
)

// pcap builds a file as draft-ietf-opsawg-pcap lays it out.
func pcap(order binary.AppendByteOrder, magic uint32, link linkType, frames []testFrame) []byte {
	tick := map[uint32]time.Duration{0xa1b2c3d4: time.Microsecond, 0xa1b23c4d: time.Nanosecond}[magic]
	b := order.AppendUint32(nil, magic)
	b = order.AppendUint16(b, 2)
	b = order.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = order.AppendUint32(b, 65536)
	b = order.AppendUint32(b, uint32(link))
	for i, f := range frames {
		at := testStart.Add(time.Duration(i) * 1001)
		b = order.AppendUint32(b, uint32(at.Unix()))
		b = order.AppendUint32(b, uint32(at.Nanosecond()/int(tick)))
		b = order.AppendUint32(b, uint32(len(f.captured())))
		b = order.AppendUint32(b, uint32(len(f.data)))
		b = append(b, f.captured()...)
	}
	return b
}

func nanoPcap(link linkType, frames []testFrame) []byte {
	return pcap(binary.LittleEndian, 0xa1b23c4d, link, frames)
}

// block builds one block of a pcapng file as draft-ietf-opsawg-pcapng lays it out; parts are integers and bytes.
func block(order binary.AppendByteOrder, kind uint32, parts ...any) []byte {
	var body []byte
	for _, p := range parts {
		switch p := p.(type) {
		case []byte:
			body = append(append(body, p...), make([]byte, -len(p)&3)...)
		case uint16:
			body = order.AppendUint16(body, p)
		case uint32:
			body = order.AppendUint32(body, p)
		case uint64:
			body = order.AppendUint64(body, p)
		}
	}
	n := uint32(12 + len(body))
	b := order.AppendUint32(order.AppendUint32(nil, kind), n)
	return order.AppendUint32(append(b, body...), n)
}

func section(order binary.AppendByteOrder) []byte {
	return block(order, 0x0a0d0d0a, uint32(0x1a2b3c4d), uint16(1), uint16(0), uint64(1<<64-1))
}

// pcapng builds a section with one interface, whose clock has the resolution if_tsresol and begins offset seconds late.
func pcapng(order binary.AppendByteOrder, resolution byte, ticks func(time.Time) uint64, offset uint64, link linkType, frames []testFrame) []byte {
	b := section(order)
	b = append(b, block(order, 1, uint16(link), uint16(0), uint32(65536),
		uint16(2), uint16(4), []byte("eth0"), // if_name
		uint16(9), uint16(1), []byte{resolution}, uint16(14), uint16(8), offset, uint16(0), uint16(0))...)
	for i, f := range frames {
		at := ticks(testStart.Add(time.Duration(i)*1001 - time.Duration(offset)*time.Second))
		b = append(b, block(order, 6, uint32(0), uint32(at>>32), uint32(at), uint32(len(f.captured())), uint32(len(f.data)), f.captured(),
			uint16(1), uint16(3), []byte("abc"), uint16(0), uint16(0))...) // opt_comment
		b = append(b, block(order, 5, uint32(0), uint64(at))...) // Interface Statistics Block
	}
	return b
}

func nanoPcapng(link linkType, frames []testFrame) []byte {
	return pcapng(binary.LittleEndian, 9, func(at time.Time) uint64 { return uint64(at.UnixNano()) }, 0, link, frames)
}

// readCapture returns what is in a file, and the error that ended it if it is not io.EOF.
func readCapture(file []byte) (packets []capturedPacket, err error) {
	c, err := openCaptureFile(bytes.NewReader(file))
	for err == nil {
		var p capturedPacket
		if p, err = c.next(); err == nil {
			p.data = bytes.Clone(p.data)
			packets = append(packets, p)
		}
	}
	if err == io.EOF {
		err = nil
	}
	return packets, err
}

func TestCaptureFormats(t *testing.T) {
	frames := testCapture()
	seconds := func(at time.Time) uint64 { return uint64(at.Unix()) }
	binary32 := func(at time.Time) uint64 { return uint64(at.Unix())<<32 | uint64(at.Nanosecond())<<32/1e9 }
	for _, f := range []struct {
		name  string
		file  []byte
		exact time.Duration
	}{
		{"pcap", pcap(binary.LittleEndian, 0xa1b2c3d4, linkEthernet, frames), time.Microsecond},
		{"pcap, big-endian", pcap(binary.BigEndian, 0xa1b2c3d4, linkEthernet, frames), time.Microsecond},
		{"pcap, ns", nanoPcap(linkEthernet, frames), 1},
		{"pcap, ns, big-endian", pcap(binary.BigEndian, 0xa1b23c4d, linkEthernet, frames), 1},
		{"pcap, frame check sequence", append(append(bytes.Clone(nanoPcap(linkEthernet, frames)[:23]), 0x24), nanoPcap(linkEthernet, frames)[24:]...), 1},
		{"pcapng, ns", nanoPcapng(linkEthernet, frames), 1},
		{"pcapng, ns, later", pcapng(binary.LittleEndian, 9, func(at time.Time) uint64 { return uint64(at.UnixNano()) }, 1e9, linkEthernet, frames), 1},
		{"pcapng, µs, big-endian", pcapng(binary.BigEndian, 6, func(at time.Time) uint64 { return uint64(at.UnixMicro()) }, 0, linkEthernet, frames), time.Microsecond},
		{"pcapng, s", pcapng(binary.LittleEndian, 0, seconds, 0, linkEthernet, frames), time.Second},
		{"pcapng, 2^-32 s", pcapng(binary.BigEndian, 0x80|32, binary32, 0, linkEthernet, frames), 2},
		{"pcapng, sections of either order", append(nanoPcapng(linkNull, nil), pcapng(binary.BigEndian, 6, func(at time.Time) uint64 { return uint64(at.UnixMicro()) }, 0, linkEthernet, frames)...), time.Microsecond},
	} {
		packets, err := readCapture(f.file)
		if err != nil || len(packets) != len(frames) {
			t.Errorf("%s: %d packets, %v", f.name, len(packets), err)
			continue
		}
		for i, p := range packets {
			if d := testStart.Add(time.Duration(i) * 1001).Sub(p.at); d < 0 || d >= f.exact || p.link != linkEthernet || !bytes.Equal(p.data, frames[i].captured()) {
				t.Errorf("%s: packet %d at %v, link type %d, %x", f.name, i, p.at, p.link, p.data)
			}
		}
	}
}

// TestCaptureSimplePackets: they have neither a time nor a captured length.
func TestCaptureSimplePackets(t *testing.T) {
	order := binary.LittleEndian
	file := append(section(order), block(order, 1, uint16(linkEthernet), uint16(0), uint32(6))...)
	file = append(file, block(order, 3, uint32(5), []byte("short"))...)
	file = append(file, block(order, 3, uint32(9), []byte("longer"))...)
	packets, err := readCapture(file)
	if err != nil || len(packets) != 2 || string(packets[0].data) != "short" || string(packets[1].data) != "longer" || !packets[0].at.IsZero() {
		t.Errorf("%v, %v", packets, err)
	}
}

// TestCaptureCut ends a capture at every byte: that is an error but between packets or blocks.
func TestCaptureCut(t *testing.T) {
	frames := testCapture()[9:12]
	for name, build := range map[string]func(linkType, []testFrame) []byte{"pcap": nanoPcap, "pcapng": nanoPcapng} {
		file := build(linkEthernet, frames)
		whole := map[int]bool{}
		for i := range len(frames) + 1 {
			whole[len(build(linkEthernet, frames[:i]))] = true
		}
		if name == "pcapng" { // and before each of its other blocks
			whole[len(section(binary.LittleEndian))] = true
			for i := range frames {
				whole[len(build(linkEthernet, frames[:i+1]))-24] = true
			}
		}
		for n := 4; n <= len(file); n++ {
			if _, err := readCapture(file[:n]); (err == nil) != whole[n] || err != nil && err != errCaptureCut {
				t.Errorf("%s of %d bytes: %v", name, n, err)
			}
		}
	}
}

func TestCaptureMalformed(t *testing.T) {
	order := binary.LittleEndian
	iface := block(order, 1, uint16(1), uint16(0), uint32(0))
	option := func(code, length uint16, b ...byte) []byte {
		return block(order, 1, uint16(1), uint16(0), uint32(0), code, length, b)
	}
	for name, blocks := range map[string][]byte{
		"packet without interface":     block(order, 6, uint32(0), uint64(0), uint32(0), uint32(0)),
		"packet of another interface":  append(iface, block(order, 6, uint32(1), uint64(0), uint32(0), uint32(0))...),
		"packet longer than its block": append(iface, block(order, 6, uint32(0), uint64(0), uint32(5), uint32(5), []byte("abcd"))...),
		"packet without fields":        append(iface, block(order, 6)...),
		"simple packet, no interface":  block(order, 3, uint32(0)),
		"interface without fields":     block(order, 1),
		"option beyond its block":      option(9, 8, 1, 2, 3, 4),
		"clock too fine":               option(9, 1, 20),
		"clock too fine, binary":       option(9, 1, 0x80|64),
		"block of 0 bytes":             make([]byte, 12),
		"block of 4 GiB":               order.AppendUint32(order.AppendUint32(order.AppendUint32(nil, 6), 0xfffffffc), 0),
		"block of odd length":          order.AppendUint32(order.AppendUint32(order.AppendUint32(nil, 6), 13), 0),
		"interfaces without end":       bytes.Repeat(iface, maxInterfaces+1),
	} {
		if packets, err := readCapture(append(section(order), blocks...)); err == nil || err == errCaptureCut || len(packets) != 0 {
			t.Errorf("%s: %d packets, %v", name, len(packets), err)
		}
	}
}

// TestLinks finds the same datagram behind each kind of header.
func TestLinks(t *testing.T) {
	const size = 32 // so that Ethernet needs no padding
	ip := ipv4(9000, 0, make([]byte, size))
	ip6 := ipv6(9000, 0, make([]byte, size))
	sll := append(make([]byte, 14), 0x08, 0)
	for _, c := range []struct {
		name  string
		link  linkType
		frame []byte
	}{
		{"Ethernet", linkEthernet, ether(layers.EthernetTypeIPv4, ip)},
		{"two tags", linkEthernet, ether(layers.EthernetTypeDot1Q, append([]byte{0, 1, 0x81, 0, 0, 2, 0x08, 0}, ip...))},
		{"Linux SLL", linkLinuxSLL, append(bytes.Clone(sll), ip...)},
		{"Linux SLL2", linkLinuxSLL2, append(append([]byte{0x86, 0xdd}, make([]byte, 18)...), ip6...)},
		{"Linux SLL, tag", linkLinuxSLL, append(append(make([]byte, 14), 0x81, 0, 0, 2, 0x08, 0), ip...)},
		{"raw IPv4", linkRaw, ip},
		{"raw IPv6", linkRaw, ip6},
		{"IPv6", linkIPv6, ip6},
		{"BSD raw", linkRawBSD, ip},
		{"loopback", linkNull, append([]byte{2, 0, 0, 0}, ip...)},
	} {
		var f datagramFinder
		for n := range len(c.frame) + 1 {
			first, skip, known := firstLayer(c.link, c.frame[:n])
			d, ok := f.find(first, c.frame[skip:n])
			if cut := len(c.frame) - n; !known || ok != (cut <= size) || ok && (len(d.payload) != size-cut || d.length != size || d.src.Port() != 40000 || d.dst.Port() != 9000 || !d.dst.Addr().IsValid()) {
				t.Errorf("%s, %d of %d bytes: %+v, %v", c.name, n, len(c.frame), d, ok)
			}
		}
	}
}

// FuzzCapture reads any bytes as a capture and decodes what is in it. Nothing may panic or use more memory than a packet needs.
func FuzzCapture(f *testing.F) {
	frames := testCapture()
	f.Add(nanoPcap(linkEthernet, frames))
	f.Add(pcap(binary.BigEndian, 0xa1b2c3d4, linkLinuxSLL2, frames))
	f.Add(nanoPcapng(linkEthernet, frames))
	f.Add(nanoPcapng(linkLinuxSLL, frames))
	f.Add(nanoPcapng(linkRaw, []testFrame{{ipv4(9000, 0, helloPacket()), 0}, {ipv6(9000, 0, helloPacket()), 0}}))
	f.Add(pcapng(binary.BigEndian, 0x80|63, func(time.Time) uint64 { return 1<<64 - 1 }, 1<<63, linkNull, frames))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := openCaptureFile(bytes.NewReader(b))
		if err != nil {
			return
		}
		d := decoder{}
		d.use(io.Discard, len(b)%2 == 0)
		for {
			p, err := c.next()
			if err != nil {
				break
			}
			if err := d.decode(&p); err != nil {
				t.Fatal(err)
			}
		}
		if cap(c.buf) > maxBlock {
			t.Fatalf("a buffer of %d bytes", cap(c.buf))
		}
	})
}
