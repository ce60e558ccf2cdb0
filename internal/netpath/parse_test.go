package netpath

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

func TestParse(t *testing.T) {
	for _, base := range []Flow{flow4(), flow6()} {
		for _, vlan := range []uint16{0, 7} {
			f := base
			f.VLAN = vlan
			for n := range 70 {
				b := packet(t, f, make([]byte, n), uint8(n%4))
				headers := len(b) - n
				var p Parsed
				if err := Parse(append(b, make([]byte, 20)...), &p); err != nil { // with padding
					t.Fatal(err)
				}
				want := Parsed{
					SrcMAC: f.SrcMAC, DstMAC: f.DstMAC, SrcIP: f.SrcIP, DstIP: f.DstIP, SrcPort: f.SrcPort, DstPort: f.DstPort,
					VLAN: vlan, ECN: uint8(n % 4), Offset: headers, Bytes: n,
				}
				if p != want {
					t.Fatalf("got %+v\nwant %+v", p, want)
				}
				for cut := range b { // no prefix of a packet is a packet
					if err := Parse(b[:cut], &p); !errors.Is(err, ErrTruncated) {
						t.Fatalf("cut to %d of %d: %v", cut, len(b), err)
					}
				}
			}
		}
	}
}

// fix makes the IPv4 header's checksum right again.
func fix(ip []byte) {
	n := int(ip[0]&15) * 4
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], Checksum(ip[:n]))
}

func TestParseRefuses(t *testing.T) {
	set4 := func(i int, v ...byte) func(b []byte) []byte {
		return func(b []byte) []byte { copy(b[14+i:], v); fix(b[14:]); return b }
	}
	set := func(i int, v ...byte) func(b []byte) []byte {
		return func(b []byte) []byte { copy(b[i:], v); return b }
	}
	addr := func(offset int, a string) func(b []byte) []byte {
		ip := netip.MustParseAddr(a)
		if ip.Is4() {
			return set4(offset, ip.AsSlice()...)
		}
		return set(14+offset, ip.AsSlice()...)
	}
	mapped := netip.MustParseAddr("198.18.0.1").As16()
	for _, c := range []struct {
		name   string
		flow   Flow
		change func([]byte) []byte
		want   error
	}{
		{"untouched", flow4(), set(0), nil},
		{"options", flow4(), func(b []byte) []byte {
			b = append(b[:34:34], append([]byte{1, 1, 1, 0}, b[34:]...)...)
			b[14], b[17] = 0x46, b[17]+4
			fix(b[14:])
			return b
		}, nil},
		{"don't fragment is no fragment", flow4(), set4(6, 0x40, 0), nil},
		{"no checksum", flow4(), set(40, 0, 0), nil},
		{"wrong UDP checksum", flow6(), set(60, 1, 1), nil},
		{"UDP shorter than IP says", flow4(), set(38, 0, 9), nil},
		{"priority tag", flow4(), func(b []byte) []byte { return append(b[:12:12], append([]byte{0x81, 0, 0xe0, 0}, b[12:]...)...) }, nil},
		{"class E", flow4(), set4(12, 240, 0, 0, 1), nil},

		{"ARP", flow4(), set(12, 0x08, 0x06), ErrNotUDP},
		{"two tags", flow4(), set(12, 0x81, 0, 0, 1, 0x81, 0), ErrNotUDP},
		{"TCP", flow4(), set4(9, 6), ErrNotUDP},
		{"IPv6 TCP", flow6(), set(20, 6), ErrNotUDP},
		{"IPv6 hop-by-hop", flow6(), set(20, 0), ErrNotUDP},
		{"more fragments", flow4(), set4(6, 0x20, 0), ErrFragment},
		{"last fragment", flow4(), set4(6, 0, 1), ErrFragment},
		{"IPv6 fragment", flow6(), set(20, 44), ErrFragment},
		{"IP version", flow4(), set4(0, 0x55), ErrMalformed},
		{"IPv6 version", flow6(), set(14, 0x40), ErrMalformed},
		{"IHL", flow4(), set(14, 0x44), ErrMalformed},
		{"total length below the header", flow4(), set4(2, 0, 19), ErrMalformed},
		{"total length without UDP", flow4(), set4(2, 0, 27), ErrMalformed},
		{"total length past the frame", flow4(), set4(2, 0xff, 0xff), ErrTruncated},
		{"header checksum", flow4(), set(22, 1), ErrMalformed},
		{"payload length without UDP", flow6(), set(18, 0, 7), ErrMalformed},
		{"jumbogram", flow6(), set(18, 0, 0), ErrMalformed},
		{"payload length past the frame", flow6(), set(18, 1, 0), ErrTruncated},
		{"UDP length below its header", flow4(), set(38, 0, 7), ErrMalformed},
		{"UDP length past IP", flow4(), set(38, 0, 200), ErrMalformed},
		{"IPv6 without checksum", flow6(), set(60, 0, 0), ErrMalformed},
		{"to a group MAC", flow4(), set(0, 0xff), ErrAddress},
		{"from a group MAC", flow4(), set(6, 0x01), ErrAddress},
		{"source port 0", flow4(), set(34, 0, 0), ErrAddress},
		{"destination port 0", flow6(), set(56, 0, 0), ErrAddress},
		{"from 0.0.0.0", flow4(), addr(12, "0.0.0.0"), ErrAddress},
		{"from loopback", flow4(), addr(12, "127.0.0.1"), ErrAddress},
		{"from multicast", flow4(), addr(12, "224.0.0.1"), ErrAddress},
		{"to multicast", flow4(), addr(16, "239.1.2.3"), ErrAddress},
		{"to broadcast", flow4(), addr(16, "255.255.255.255"), ErrAddress},
		{"from ::", flow6(), addr(8, "::"), ErrAddress},
		{"from ::1", flow6(), addr(8, "::1"), ErrAddress},
		{"to ::1", flow6(), addr(24, "::1"), ErrAddress},
		{"from IPv6 multicast", flow6(), addr(8, "ff02::1"), ErrAddress},
		{"to IPv6 multicast", flow6(), addr(24, "ff02::1"), ErrAddress},
		{"from an IPv4-mapped address", flow6(), set(22, mapped[:]...), ErrAddress},
		{"to an IPv4-mapped address", flow6(), set(38, mapped[:]...), ErrAddress},
	} {
		var p Parsed
		if err := Parse(c.change(packet(t, c.flow, []byte("payload"), 0)), &p); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// oracle is Parse, slowly, by gopacket. known is false where gopacket looks into what Parse skips (IPv4 options).
func oracle(frame []byte) (p Parsed, payload []byte, ok, known bool) {
	var eth layers.Ethernet
	var tag layers.Dot1Q
	var ip4 layers.IPv4
	var ip6 layers.IPv6
	var udp layers.UDP
	parser := gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &eth, &tag, &ip4, &ip6, &udp)
	parser.IgnoreUnsupported = true
	var stack []gopacket.LayerType
	err := parser.DecodeLayers(frame, &stack)
	known = err == nil || !strings.Contains(err.Error(), "option")
	var names strings.Builder
	for _, l := range stack {
		fmt.Fprint(&names, l, " ")
	}
	var src, dst netip.Addr
	switch names.String() {
	case "Ethernet IPv4 UDP ", "Ethernet Dot1Q IPv4 UDP ":
		src, _ = netip.AddrFromSlice(ip4.SrcIP.To4())
		dst, _ = netip.AddrFromSlice(ip4.DstIP.To4())
		p.ECN = ip4.TOS & 3
		var s uint32
		for i := 0; i < len(ip4.Contents); i += 2 {
			s += uint32(binary.BigEndian.Uint16(ip4.Contents[i:]))
		}
		ok = s%0xffff == 0 && ip4.Version == 4 && ip4.Flags&layers.IPv4MoreFragments == 0 && ip4.FragOffset == 0 &&
			int(udp.Length) <= len(ip4.Payload) && binary.BigEndian.Uint16(ip4.Contents[2:]) != 0
	case "Ethernet IPv6 UDP ", "Ethernet Dot1Q IPv6 UDP ":
		src, _ = netip.AddrFromSlice(ip6.SrcIP)
		dst, _ = netip.AddrFromSlice(ip6.DstIP)
		p.ECN = ip6.TrafficClass & 3
		ok = ip6.Version == 6 && int(udp.Length) <= len(ip6.Payload) && udp.Checksum != 0 && !src.Is4In6() && !dst.Is4In6()
	}
	for _, a := range []netip.Addr{src, dst} {
		ok = ok && !a.IsMulticast() && !a.IsUnspecified() && !a.IsLoopback() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
	}
	if !ok || err != nil || parser.Truncated || udp.Length < 8 || udp.SrcPort == 0 || udp.DstPort == 0 {
		return Parsed{}, nil, false, known
	}
	p.SrcMAC, p.DstMAC, p.VLAN = [6]byte(eth.SrcMAC), [6]byte(eth.DstMAC), tag.VLANIdentifier
	p.SrcIP, p.DstIP, p.SrcPort, p.DstPort = src.As16(), dst.As16(), uint16(udp.SrcPort), uint16(udp.DstPort)
	p.Bytes = len(udp.Payload)
	return p, udp.Payload, (p.SrcMAC[0]|p.DstMAC[0])&1 == 0, known
}

func FuzzParse(f *testing.F) {
	for _, flow := range []Flow{flow4(), flow6()} {
		for _, vlan := range []uint16{0, 3} {
			flow.VLAN = vlan
			b := packet(f, flow, []byte("seed"), 1)
			f.Add(b, false)
			f.Add(append(b, make([]byte, 14)...), true)
			short := bytes.Clone(b) // UDP is shorter than IP says
			short[len(b)-len("seed")-3] -= 2
			f.Add(short, true)
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte, repair bool) {
		if repair && len(frame) >= 34 && int(frame[14]&15)*4 <= len(frame)-14 && frame[14]&15 >= 5 {
			fix(frame[14:]) // or few inputs would get past the header checksum
		}
		frame = frame[:len(frame):len(frame)]
		var got Parsed
		err := Parse(frame, &got)
		want, payload, ok, known := oracle(frame)
		if !known {
			return
		}
		if (err == nil) != ok {
			t.Fatalf("Parse says %v, oracle %v, of %x", err, ok, frame)
		}
		if err != nil {
			return
		}
		want.Offset = got.Offset
		if got != want || string(frame[got.Offset:got.Offset+got.Bytes]) != string(payload) {
			t.Fatalf("got %+v\nwant %+v\nof %x", got, want, frame)
		}
	})
}
