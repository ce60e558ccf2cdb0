package main

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// datagram is one UDP datagram of a capture.
type datagram struct {
	src, dst netip.AddrPort
	marked   bool   // CE: congestion was experienced on its way
	payload  []byte // what was captured of it
	length   int    // of the payload as sent
}

// datagramFinder finds UDP datagrams in Ethernet frames, VLAN-tagged or not, in what Linux's 'any' device captures, and in bare IP packets.
type datagramFinder struct {
	eth     layers.Ethernet
	loop    layers.Loopback
	tag     layers.Dot1Q
	ip4     layers.IPv4
	ip6     layers.IPv6
	udp     layers.UDP
	parsers map[gopacket.LayerType]*gopacket.DecodingLayerParser // by the first layer
	found   []gopacket.LayerType
}

// linkType says what a link's packets begin with: https://www.tcpdump.org/linktypes.html. gopacket's own type has too few bits.
type linkType uint16

const (
	linkNull      linkType = 0 // loopback of BSD
	linkEthernet  linkType = 1
	linkRawBSD    linkType = 12 // linkRaw, as some systems number it
	linkRaw       linkType = 101
	linkLoop      linkType = 108
	linkLinuxSLL  linkType = 113 // 'any' of Linux
	linkIPv4      linkType = 228
	linkIPv6      linkType = 229
	linkLinuxSLL2 linkType = 276
)

// firstLayer tells what a link's packet begins with, behind the skipped bytes; false when the link's packets are not read here.
func firstLayer(link linkType, b []byte) (first gopacket.LayerType, skip int, known bool) {
	etherType := func(at, header int) (gopacket.LayerType, int, bool) {
		if len(b) < header {
			return gopacket.LayerTypeZero, 0, true
		}
		return layers.EthernetType(binary.BigEndian.Uint16(b[at:])).LayerType(), header, true
	}
	switch link {
	case linkEthernet:
		return layers.LayerTypeEthernet, 0, true
	case linkNull, linkLoop:
		return layers.LayerTypeLoopback, 0, true
	case linkLinuxSLL:
		return etherType(14, 16)
	case linkLinuxSLL2:
		return etherType(0, 20)
	case linkRaw, linkIPv4, linkIPv6, linkRawBSD:
		if len(b) > 0 && b[0]>>4 == 6 {
			return layers.LayerTypeIPv6, 0, true
		}
		return layers.LayerTypeIPv4, 0, true
	}
	return gopacket.LayerTypeZero, 0, false
}

// find returns the datagram in a packet that begins with the given layer; false when there is none, or only a part of its header.
func (f *datagramFinder) find(first gopacket.LayerType, b []byte) (d datagram, ok bool) {
	parser := f.parsers[first]
	if parser == nil {
		parser = gopacket.NewDecodingLayerParser(first, &f.eth, &f.loop, &f.tag, &f.ip4, &f.ip6, &f.udp)
		parser.IgnoreUnsupported = true // other protocols are no mistakes
		if f.parsers == nil {
			f.parsers = map[gopacket.LayerType]*gopacket.DecodingLayerParser{}
		}
		f.parsers[first] = parser
	}
	// What a malformed packet holds up to its error may be a datagram, too.
	_ = parser.DecodeLayers(b, &f.found)
	var src, dst netip.Addr
	for _, l := range f.found {
		switch l {
		case layers.LayerTypeIPv4:
			src, _ = netip.AddrFromSlice(f.ip4.SrcIP)
			dst, _ = netip.AddrFromSlice(f.ip4.DstIP)
			d.marked = f.ip4.TOS&3 == 3
		case layers.LayerTypeIPv6:
			src, _ = netip.AddrFromSlice(f.ip6.SrcIP)
			dst, _ = netip.AddrFromSlice(f.ip6.DstIP)
			d.marked = f.ip6.TrafficClass&3 == 3
		case layers.LayerTypeUDP:
			d.src = netip.AddrPortFrom(src, uint16(f.udp.SrcPort))
			d.dst = netip.AddrPortFrom(dst, uint16(f.udp.DstPort))
			d.payload = f.udp.Payload
			d.length = max(len(d.payload), int(f.udp.Length)-8)
			ok = true
		}
	}
	return d, ok
}
