package bpf

import (
	"encoding/binary"
	"net"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

const (
	ourPort = 9000
	payload = "24 bytes, so no padding." // an Ethernet frame has 60 at least, and gopacket fills it up
)

var (
	ourMAC   = net.HardwareAddr{0x02, 0, 0, 0, 0, 1}
	theirMAC = net.HardwareAddr{0x02, 0, 0, 0, 0, 2}
)

// goldenPacket is a packet and the field of Counters that it belongs to while ourPort is open to any source.
type goldenPacket struct {
	name    string
	verdict string
	data    []byte
}

// goldenPackets has at least one packet for each branch of classify in steer.c.
func goldenPackets(t testing.TB) []goldenPacket {
	v4, v6 := udp4(t), udp6(t)
	plain4, plain6 := v4.bytes(t), v6.bytes(t)
	tagged := func(l ...gopacket.SerializableLayer) []byte {
		return serialize(t, append(l, v4.ip, v4.udp, v4.payload)...)
	}
	const net4, net6 = 14, 14 // offsets of the IP header without a tag
	const udp4at, udp6at = net4 + 20, net6 + 40

	ours := []goldenPacket{
		{"IPv4", "Redirected", plain4},
		{"IPv6", "Redirected", plain6},
		{"IPv4 without payload", "Redirected", with(udp4(t), func(p *udpPacket) { p.payload = nil }).bytes(t)},
		{"IPv6 without payload", "Redirected", with(udp6(t), func(p *udpPacket) { p.payload = nil }).bytes(t)},
		{"IPv4 of a whole MTU", "Redirected", with(udp4(t), func(p *udpPacket) { p.payload = make([]byte, 1472) }).bytes(t)},
		{"IPv6 of a whole MTU", "Redirected", with(udp6(t), func(p *udpPacket) { p.payload = make([]byte, 1452) }).bytes(t)},
		{"IPv4 don't fragment", "Redirected", with(udp4(t), func(p *udpPacket) { p.ip4().Flags = layers.IPv4DontFragment }).bytes(t)},
		{"IPv4 reserved flag", "Redirected", with(udp4(t), func(p *udpPacket) { p.ip4().Flags = layers.IPv4EvilBit }).bytes(t)},
		{"IPv4 one word of options", "Redirected", with(udp4(t), func(p *udpPacket) { p.options(4) }).bytes(t)},
		{"IPv4 ten words of options", "Redirected", with(udp4(t), func(p *udpPacket) { p.options(40) }).bytes(t)},
		{"UDP checksum zero", "Redirected", patch(plain4, udp4at+6, 0, 0)},
		{"padding behind IPv4", "Redirected", append(slices.Clone(plain4), make([]byte, 18)...)},
		{"padding behind IPv6", "Redirected", append(slices.Clone(plain6), 0)},
		{"802.1Q IPv4", "Redirected", tagged(ether(layers.EthernetTypeDot1Q), tag(5, layers.EthernetTypeIPv4))},
		{"802.1Q priority only", "Redirected", tagged(ether(layers.EthernetTypeDot1Q), tag(0, layers.EthernetTypeIPv4))},
		{"802.1ad IPv4", "Redirected", tagged(ether(layers.EthernetTypeQinQ), tag(5, layers.EthernetTypeIPv4))},
		{"802.1Q IPv6", "Redirected", serialize(t, ether(layers.EthernetTypeDot1Q), tag(5, layers.EthernetTypeIPv6), v6.ip, v6.udp, v6.payload)},
	}
	otherPort := []goldenPacket{
		{"IPv4 port above", "NotOurPort", with(udp4(t), func(p *udpPacket) { p.udp.DstPort++ }).bytes(t)},
		{"IPv4 port below", "NotOurPort", with(udp4(t), func(p *udpPacket) { p.udp.DstPort-- }).bytes(t)},
		{"IPv4 same bit of the next word", "NotOurPort", with(udp4(t), func(p *udpPacket) { p.udp.DstPort += 64 }).bytes(t)},
		{"IPv4 port in the other byte order", "NotOurPort", with(udp4(t), func(p *udpPacket) { p.udp.DstPort = ourPort>>8 | ourPort&0xff<<8 }).bytes(t)},
		{"IPv6 our port as the source", "NotOurPort", with(udp6(t), func(p *udpPacket) { p.udp.SrcPort, p.udp.DstPort = ourPort, 53 }).bytes(t)},
		{"802.1Q other port", "NotOurPort", patch(ours[13].data, 18+20+2, 0, 53)},
	}
	notUDP := []goldenPacket{
		{"ARP", "NotUDP", serialize(t, ether(layers.EthernetTypeARP), &layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4,
			HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPReply, SourceHwAddress: theirMAC, SourceProtAddress: v4.ip4().SrcIP,
			DstHwAddress: ourMAC, DstProtAddress: v4.ip4().DstIP})},
		{"TCP over IPv4", "NotUDP", patch(plain4, net4+9, byte(layers.IPProtocolTCP))},
		{"TCP over IPv6", "NotUDP", patch(plain6, net6+6, byte(layers.IPProtocolTCP))},
		{"ICMP", "NotUDP", patch(plain4, net4+9, byte(layers.IPProtocolICMPv4))},
		{"ICMPv6", "NotUDP", patch(plain6, net6+6, byte(layers.IPProtocolICMPv6))},
		{"UDP-Lite", "NotUDP", patch(plain4, net4+9, byte(layers.IPProtocolUDPLite))},
		{"IPv6 hop-by-hop options", "NotUDP", extended(t, layers.IPProtocolIPv6HopByHop)},
		{"IPv6 routing header", "NotUDP", extended(t, layers.IPProtocolIPv6Routing)},
		{"IPv6 destination options", "NotUDP", extended(t, layers.IPProtocolIPv6Destination)},
		{"802.1ad and 802.1Q", "NotUDP", tagged(ether(layers.EthernetTypeQinQ), tag(5, layers.EthernetTypeDot1Q), tag(6, layers.EthernetTypeIPv4))},
		{"802.1Q twice", "NotUDP", tagged(ether(layers.EthernetTypeDot1Q), tag(5, layers.EthernetTypeDot1Q), tag(6, layers.EthernetTypeIPv4))},
		{"IEEE 802.3 length", "NotUDP", patch(plain4, 12, 0, 60)},
		{"MPLS", "NotUDP", patch(plain4, 12, 0x88, 0x47)},
	}
	fragments := []goldenPacket{
		{"IPv4 first", "Fragment", with(udp4(t), func(p *udpPacket) { p.ip4().Flags = layers.IPv4MoreFragments }).bytes(t)},
		{"IPv4 middle", "Fragment", with(udp4(t), func(p *udpPacket) { p.ip4().Flags, p.ip4().FragOffset = layers.IPv4MoreFragments, 185 }).bytes(t)},
		{"IPv4 last", "Fragment", with(udp4(t), func(p *udpPacket) { p.ip4().FragOffset = 1 }).bytes(t)},
		{"IPv4 last, at the highest offset", "Fragment", with(udp4(t), func(p *udpPacket) { p.ip4().FragOffset = 0x1000 }).bytes(t)},
		{"IPv4 of TCP", "Fragment", patch(patch(plain4, net4+9, 6), net4+6, 0x20)},
		{"IPv6 first", "Fragment", fragment6(t, 0, true)},
		{"IPv6 last", "Fragment", fragment6(t, 185, false)},
		{"IPv6 atomic", "Fragment", fragment6(t, 0, false)},
		{"802.1Q IPv4", "Fragment", patch(ours[13].data, 18+6, 0x20)},
	}
	malformed := []goldenPacket{
		{"a bare Ethernet header", "Malformed", plain4[:14]},
		{"IPv4 with version 6", "Malformed", patch(plain4, net4, 0x65)},
		{"IPv6 with version 4", "Malformed", patch(plain6, net6, 0x40)},
		{"IPv4 header length 4", "Malformed", patch(plain4, net4, 0x44)},
		{"IPv4 header length 0", "Malformed", patch(plain4, net4, 0x40)},
		{"IPv4 header beyond the total length", "Malformed", patch(plain4, net4, 0x4f)},
		{"IPv4 total length 0", "Malformed", patch(plain4, net4+2, 0, 0)},
		{"IPv4 total length below the header", "Malformed", patch(plain4, net4+2, 0, 19)},
		{"IPv4 total length beyond the frame", "Malformed", patch(plain4, net4+2, 0xff, 0xff)},
		{"IPv4 one byte short", "Malformed", patch(plain4, net4+2, 0, 20+8+24-1)},
		{"IPv4 one byte long, in the padding", "Malformed", append(patch(plain4, net4+2, 0, 20+8+24+1), 0)},
		{"IPv6 payload length beyond the frame", "Malformed", patch(plain6, net6+4, 0xff, 0xff)},
		{"IPv6 jumbogram", "Malformed", patch(plain6, net6+4, 0, 0)},
		{"UDP length 0", "Malformed", patch(plain4, udp4at+4, 0, 0)},
		{"UDP length below its header", "Malformed", patch(plain4, udp4at+4, 0, 7)},
		{"UDP length beyond IPv4", "Malformed", append(patch(plain4, udp4at+4, 0, 8+24+1), 0)},
		{"UDP length beyond IPv6", "Malformed", append(patch(plain6, udp6at+4, 0, 8+24+1), 0)},
		{"UDP length below IPv4's, options behind", "Malformed", patch(plain4, udp4at+4, 0, 8+20)},
		{"UDP length below IPv6's, options behind", "Malformed", patch(plain6, udp6at+4, 0, 8)},
	}
	for n := byte(0); n < 8; n++ { // IP says that there is less than a UDP header, and UDP agrees
		short := patch(patch(plain4, udp4at+4, 0, n), net4+2, 0, 20+n)
		malformed = append(malformed, goldenPacket{"IPv4 with a cut UDP header", "Malformed", short})
	}
	group := []goldenPacket{
		{"broadcast MAC", "Group", patch(plain4, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)},
		{"multicast MAC, unicast IPv4", "Group", patch(plain4, 0, 0x01)},
		{"multicast MAC, unicast IPv6", "Group", patch(plain6, 0, 0x33, 0x33)},
		{"unicast MAC, first IPv4 multicast", "Group", patch(plain4, net4+16, 224, 0, 0, 0)},
		{"unicast MAC, last IPv4 multicast", "Group", patch(plain4, net4+16, 239, 255, 255, 255)},
		{"unicast MAC, IPv4 broadcast", "Group", patch(plain4, net4+16, 255, 255, 255, 255)},
		{"unicast MAC, IPv6 multicast", "Group", patch(plain6, net6+24, 0xff, 0x02)},
	}
	return slices.Concat(ours, otherPort, notUDP, fragments, malformed, group)
}

// udpPacket is a UDP packet to ourPort in the making.
type udpPacket struct {
	eth     *layers.Ethernet
	ip      gopacket.SerializableLayer
	udp     *layers.UDP
	payload gopacket.Payload
}

func udp4(testing.TB) *udpPacket {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IP{198, 18, 0, 2}, DstIP: net.IP{198, 18, 0, 1}}
	return newUDP(ip, ip, layers.EthernetTypeIPv4)
}

func udp6(testing.TB) *udpPacket {
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: net.ParseIP("2001:2::2"), DstIP: net.ParseIP("2001:2::1")}
	return newUDP(ip, ip, layers.EthernetTypeIPv6)
}

func newUDP(ip gopacket.SerializableLayer, sum gopacket.NetworkLayer, proto layers.EthernetType) *udpPacket {
	p := &udpPacket{eth: ether(proto), ip: ip, udp: &layers.UDP{SrcPort: 40000, DstPort: ourPort}, payload: gopacket.Payload(payload)}
	if err := p.udp.SetNetworkLayerForChecksum(sum); err != nil {
		panic(err) // the layer is none of IPv4 and IPv6: a mistake in this file
	}
	return p
}

func (p *udpPacket) ip4() *layers.IPv4 { return p.ip.(*layers.IPv4) }
func (p *udpPacket) ip6() *layers.IPv6 { return p.ip.(*layers.IPv6) }

// options puts n bytes of no-operation options into the IPv4 header.
func (p *udpPacket) options(n int) {
	for range n {
		p.ip4().Options = append(p.ip4().Options, layers.IPv4Option{OptionType: 1})
	}
}

func (p *udpPacket) bytes(t testing.TB) []byte { return serialize(t, p.eth, p.ip, p.udp, p.payload) }

func with(p *udpPacket, change func(*udpPacket)) *udpPacket {
	change(p)
	return p
}

func ether(proto layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: theirMAC, DstMAC: ourMAC, EthernetType: proto}
}

func tag(vlan uint16, proto layers.EthernetType) *layers.Dot1Q {
	return &layers.Dot1Q{VLANIdentifier: vlan, Type: proto}
}

// extended is a UDP packet behind eight bytes of an IPv6 extension header.
func extended(t testing.TB, kind layers.IPProtocol) []byte {
	p := udp6(t)
	p.ip6().NextHeader = kind
	header := gopacket.Payload{byte(layers.IPProtocolUDP), 0, 1, 4, 0, 0, 0, 0} // PadN; as a routing header: no segments left
	return serialize(t, p.eth, p.ip, header, p.udp, p.payload)
}

// fragment6 is a UDP packet behind a fragment header (RFC 8200 section 4.5); offset counts units of eight bytes.
func fragment6(t testing.TB, offset uint16, more bool) []byte {
	p := udp6(t)
	p.ip6().NextHeader = layers.IPProtocolIPv6Fragment
	header := gopacket.Payload{byte(layers.IPProtocolUDP), 0, 0, 0, 0, 0, 0, 1}
	binary.BigEndian.PutUint16(header[2:], offset<<3)
	if more {
		header[3] |= 1
	}
	return serialize(t, p.eth, p.ip, header, p.udp, p.payload)
}

func serialize(t testing.TB, l ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// patch returns a copy of data with these bytes at offset at.
func patch(data []byte, at int, b ...byte) []byte {
	c := slices.Clone(data)
	copy(c[at:], b)
	return c
}
