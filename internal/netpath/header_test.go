package netpath

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var (
	macA = [6]byte{0x02, 0, 0, 0, 0, 0xa}
	macB = [6]byte{0x02, 0, 0, 0, 0, 0xb}
)

func flow4() Flow {
	return Flow{
		SrcMAC: macA, DstMAC: macB, SrcPort: 49152, DstPort: 9000,
		SrcIP: netip.MustParseAddr("198.18.0.1").As16(), DstIP: netip.MustParseAddr("198.19.255.254").As16(),
	}
}

func flow6() Flow {
	return Flow{
		SrcMAC: macA, DstMAC: macB, SrcPort: 49152, DstPort: 9000,
		SrcIP: netip.MustParseAddr("2001:2::1").As16(), DstIP: netip.MustParseAddr("2001:2::ffff:2").As16(),
	}
}

// packet puts f's headers in front of payload.
func packet(t testing.TB, f Flow, payload []byte, ecn uint8) []byte {
	t.Helper()
	h, err := MakeHeader(f)
	if err != nil {
		t.Fatal(err)
	}
	b := append(make([]byte, h.Len(), h.Len()+len(payload)), payload...)
	h.Put(b, ecn)
	return b
}

// golden builds the same packet with gopacket.
func golden(t testing.TB, f Flow, payload []byte, ecn uint8) []byte {
	t.Helper()
	src, dst := netip.AddrFrom16(f.SrcIP).Unmap(), netip.AddrFrom16(f.DstIP).Unmap()
	eth := &layers.Ethernet{SrcMAC: f.SrcMAC[:], DstMAC: f.DstMAC[:], EthernetType: layers.EthernetTypeIPv6}
	if src.Is4() {
		eth.EthernetType = layers.EthernetTypeIPv4
	}
	stack := []gopacket.SerializableLayer{eth}
	if f.VLAN != 0 {
		stack = append(stack, &layers.Dot1Q{VLANIdentifier: f.VLAN, Type: eth.EthernetType})
		eth.EthernetType = layers.EthernetTypeDot1Q
	}
	ttl := f.TTL
	if ttl == 0 {
		ttl = 64
	}
	udp := &layers.UDP{SrcPort: layers.UDPPort(f.SrcPort), DstPort: layers.UDPPort(f.DstPort)}
	var ip interface {
		gopacket.SerializableLayer
		gopacket.NetworkLayer
	}
	if src.Is4() {
		ip = &layers.IPv4{
			Version: 4, TOS: f.DSCP<<2 | ecn, TTL: ttl, Flags: layers.IPv4DontFragment,
			Protocol: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice(),
		}
	} else {
		ip = &layers.IPv6{
			Version: 6, TrafficClass: f.DSCP<<2 | ecn, HopLimit: ttl,
			NextHeader: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice(),
		}
	}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	buf := gopacket.NewSerializeBuffer()
	stack = append(stack, ip, udp, gopacket.Payload(payload))
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...); err != nil {
		t.Fatal(err)
	}
	headers := HeaderBytes(src.Is6(), f.VLAN != 0)
	b := buf.Bytes()[:headers+len(payload)] // without the padding to 60 bytes, which the device adds for us
	if src.Is4() {
		b[headers-2], b[headers-1] = 0, 0
	}
	return b
}

func TestPutEqualsGopacket(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, base := range []Flow{flow4(), flow6()} {
		for _, n := range []int{0, 1, 2, 3, 7, 8, 9, 31, 32, 33, 48, 63, 64, 65, 1452, 8000} {
			for _, vlan := range []uint16{0, 1, 4094} {
				f := base
				f.VLAN, f.DSCP, f.TTL = vlan, uint8(rng.UintN(64)), uint8(rng.UintN(256))
				payload, ecn := make([]byte, n), uint8(n%4)
				for i := range payload {
					payload[i] = byte(rng.Uint32())
				}
				if got, want := packet(t, f, payload, ecn), golden(t, f, payload, ecn); !bytes.Equal(got, want) {
					t.Fatalf("%d bytes, %+v:\n got %x\nwant %x", n, f, got, want)
				}
			}
		}
	}
}

// The bytes of one packet, so that a mistake that this package and gopacket share would still be seen.
func TestPutBytes(t *testing.T) {
	f := flow4()
	f.VLAN, f.DSCP = 5, 46
	want := "02000000000b" + "02000000000a" + "8100" + "0005" + "0800" +
		"45ba" + "001e" + "0000" + "4000" + "40" + "11" + "adef" + "c6120001" + "c613fffe" +
		"c000" + "2328" + "000a" + "0000" + "6869"
	if got := fmt.Sprintf("%x", packet(t, f, []byte("hi"), 2)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A UDP checksum that comes out as 0 is sent as 0xffff.
func TestChecksumIsNeverZero(t *testing.T) {
	f := flow6()
	b := packet(t, f, []byte{0, 0}, 0)
	udp := b[len(b)-10:]
	copy(b[len(b)-2:], udp[6:8]) // the word that makes the sum 0xffff
	h, err := MakeHeader(f)
	if err != nil {
		t.Fatal(err)
	}
	h.Put(b, 0)
	if udp[6] != 0xff || udp[7] != 0xff {
		t.Errorf("checksum %x, want ffff", udp[6:8])
	}
	if c := UDPChecksum(&f.SrcIP, &f.DstIP, udp); c != 0xffff {
		t.Errorf("UDPChecksum %#x, want 0xffff", c)
	}
}

func TestChecksums(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for n := range 200 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32()) | byte(n&1*0xf0) // carries, every other time
		}
		var s uint32
		for i, c := range b {
			s += uint32(c) << (8 * (^i & 1))
		}
		for s > 0xffff {
			s = s>>16 + s&0xffff
		}
		if got, want := Checksum(b), ^uint16(s); got != want {
			t.Fatalf("%d bytes: %#x, want %#x", n, got, want)
		}
		f := flow6()
		p := packet(t, f, b, 1)
		udp := p[len(p)-n-UDPBytes:]
		if got, want := UDPChecksum(&f.SrcIP, &f.DstIP, udp), uint16(udp[6])<<8|uint16(udp[7]); got != want {
			t.Fatalf("%d bytes: UDPChecksum %#x, Put wrote %#x", n, got, want)
		}
	}
	for _, b := range [][]byte{bytes.Repeat([]byte{0xff}, 65535), make([]byte, 40)} {
		if got, want := Checksum(b), ^uint16(b[0])<<8|0xff&^uint16(b[0]); len(b)%2 == 0 && got != want {
			t.Errorf("%d times %#x: %#x, want %#x", len(b), b[0], got, want)
		}
	}
}

func TestMakeHeaderRefuses(t *testing.T) {
	for name, change := range map[string]func(*Flow){
		"mixed families": func(f *Flow) { f.DstIP = flow6().DstIP },
		"no MAC":         func(f *Flow) { f.DstMAC = [6]byte{} },
		"VLAN":           func(f *Flow) { f.VLAN = 4095 },
		"source port":    func(f *Flow) { f.SrcPort = 0 },
		"port":           func(f *Flow) { f.DstPort = 0 },
		"DSCP":           func(f *Flow) { f.DSCP = 64 },
	} {
		f := flow4()
		change(&f)
		if _, err := MakeHeader(f); !errors.Is(err, ErrFlow) {
			t.Errorf("%s: %v, want ErrFlow", name, err)
		}
	}
}

func TestMaxPayload(t *testing.T) {
	for _, c := range []struct {
		mtu  int
		ipv6 bool
		want int
	}{{1500, false, 1472}, {1500, true, 1452}, {65536, false, 65507}, {20, false, 0}, {0, true, 0}} {
		if got := MaxPayload(c.mtu, c.ipv6); got != c.want {
			t.Errorf("MaxPayload(%d, %v) = %d, want %d", c.mtu, c.ipv6, got, c.want)
		}
	}
}

func TestPathDoesNotAllocate(t *testing.T) {
	for _, f := range []Flow{flow4(), flow6()} {
		h, _ := MakeHeader(f)
		b := make([]byte, h.Len()+64)
		var p Parsed
		if n := testing.AllocsPerRun(100, func() {
			h, _ = MakeHeader(f)
			h.Put(b, 1)
			if Parse(b, &p) != nil || Parse(b[:h.Len()], &p) == nil {
				t.Fatal("Parse")
			}
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

// Put and Parse each on their own, 64 bytes of payload; together the loads of Parse would wait for Put's stores, which no packet's way does.
func BenchmarkPut(b *testing.B) {
	for name, f := range map[string]Flow{"IPv4": flow4(), "IPv6": flow6()} {
		b.Run(name, func(b *testing.B) {
			h, err := MakeHeader(f)
			if err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, h.Len()+64)
			b.ReportAllocs()
			for b.Loop() {
				h.Put(buf, 2)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for name, f := range map[string]Flow{"IPv4": flow4(), "IPv6": flow6()} {
		b.Run(name, func(b *testing.B) {
			buf := packet(b, f, make([]byte, 64), 2)
			var p Parsed
			b.ReportAllocs()
			for b.Loop() {
				if err := Parse(buf, &p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMakeHeader(b *testing.B) {
	f := flow4()
	for b.Loop() {
		if _, err := MakeHeader(f); err != nil {
			b.Fatal(err)
		}
	}
}
