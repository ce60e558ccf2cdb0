package main

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/fastrpc/fastrpc/internal/tap"
)

// A packet filter is the part of tcpdump's language (pcap-filter(7)) that tells UDP packets over Ethernet apart; filterHelp has it. Unlike
// there, a VLAN tag hides nothing: what is behind it is looked at as if it were not there. Like there, "and" and "or" bind equally and from
// the left, and a bare value has the qualifiers of the one before it: "port 1 or 2".

const filterHelp = `  host ADDRESS, net PREFIX, port N, portrange N-M,     also behind src or dst
  ether host MAC, ether src MAC, ether dst MAC
  ip, ip6, udp, vlan, vlan ID                          also before others: udp port 9000
  inbound, outbound                                    as the process sees it
  less N, greater N                                    bytes, N included
  not X, X and Y, X or Y, ( X )                        or ! && ||`

// packetFilter tells whether a packet is wanted.
type packetFilter func(*filterInput) bool

// filterInput is what filters look at of one packet.
type filterInput struct {
	packet           *tap.Packet
	src, dst         netip.Addr // invalid: no IP
	srcPort, dstPort uint16
	udp              bool
	srcMAC, dstMAC   net.HardwareAddr // nil: not even Ethernet
	vlan             int              // -1: no tag

	eth    layers.Ethernet
	tag    layers.Dot1Q
	ip4    layers.IPv4
	ip6    layers.IPv6
	l4     layers.UDP
	parser *gopacket.DecodingLayerParser
	found  []gopacket.LayerType
}

// look takes a packet apart, as far as it goes.
func (in *filterInput) look(p *tap.Packet) {
	if in.parser == nil {
		in.parser = gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &in.eth, &in.tag, &in.ip4, &in.ip6, &in.l4)
		in.parser.IgnoreUnsupported = true
	}
	in.packet, in.src, in.dst, in.udp, in.srcMAC, in.dstMAC, in.vlan = p, netip.Addr{}, netip.Addr{}, false, nil, nil, -1
	_ = in.parser.DecodeLayers(p.Data, &in.found)
	for _, l := range in.found {
		switch l {
		case layers.LayerTypeEthernet:
			in.srcMAC, in.dstMAC = in.eth.SrcMAC, in.eth.DstMAC
		case layers.LayerTypeDot1Q:
			in.vlan = int(in.tag.VLANIdentifier)
		case layers.LayerTypeIPv4:
			in.src, _ = netip.AddrFromSlice(in.ip4.SrcIP)
			in.dst, _ = netip.AddrFromSlice(in.ip4.DstIP)
		case layers.LayerTypeIPv6:
			in.src, _ = netip.AddrFromSlice(in.ip6.SrcIP)
			in.dst, _ = netip.AddrFromSlice(in.ip6.DstIP)
		case layers.LayerTypeUDP:
			in.srcPort, in.dstPort, in.udp = uint16(in.l4.SrcPort), uint16(in.l4.DstPort), true
		}
	}
}

// parseFilter understands a filter; nil, of nothing, wants every packet.
func parseFilter(s string) (packetFilter, error) {
	p := filterParser{tokens: filterTokens(s)}
	if len(p.tokens) == 0 {
		return nil, nil
	}
	f, err := p.expression()
	if err == nil && len(p.tokens) > 0 {
		err = fmt.Errorf("'and' or 'or' is missing before %q", p.tokens[0])
	}
	if err != nil {
		return nil, fmt.Errorf("filter %q: %w", s, err)
	}
	return f, nil
}

// filterTokens cuts at spaces, and around parentheses and signs.
func filterTokens(s string) []string {
	for _, sign := range []string{"(", ")", "!", "&&", "||"} {
		s = strings.ReplaceAll(s, sign, " "+sign+" ")
	}
	return strings.FieldsFunc(s, unicode.IsSpace)
}

type filterParser struct {
	tokens []string
	last   []string // qualifiers of the last value: what a bare one takes
	depth  int
}

// take takes the next token if it is one of these.
func (p *filterParser) take(tokens ...string) (string, bool) {
	if len(p.tokens) == 0 || !slices.Contains(tokens, p.tokens[0]) {
		return "", false
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t, true
}

func (p *filterParser) expression() (packetFilter, error) {
	left, err := p.negation()
	for err == nil {
		op, ok := p.take("and", "&&", "or", "||")
		if !ok {
			break
		}
		var right packetFilter
		if right, err = p.negation(); err == nil {
			left = join(op == "and" || op == "&&", left, right)
		}
	}
	return left, err
}

func join(and bool, a, b packetFilter) packetFilter {
	if and {
		return func(in *filterInput) bool { return a(in) && b(in) }
	}
	return func(in *filterInput) bool { return a(in) || b(in) }
}

func (p *filterParser) negation() (packetFilter, error) {
	if _, ok := p.take("not", "!"); ok {
		if p.depth++; p.depth > 100 {
			return nil, fmt.Errorf("too deep")
		}
		f, err := p.negation()
		return func(in *filterInput) bool { return !f(in) }, err
	}
	if _, ok := p.take("("); ok {
		if p.depth++; p.depth > 100 {
			return nil, fmt.Errorf("too deep")
		}
		f, err := p.expression()
		if _, closed := p.take(")"); err == nil && !closed {
			err = fmt.Errorf("a parenthesis is not closed")
		}
		return f, err
	}
	return p.primitive()
}

// primitive is qualifiers and a value, or one of the words that need none.
func (p *filterParser) primitive() (packetFilter, error) {
	var proto packetFilter
	if word, ok := p.take("ip", "ip6", "udp", "vlan", "inbound", "outbound"); ok {
		switch word {
		case "ip":
			proto = func(in *filterInput) bool { return in.src.Is4() }
		case "ip6":
			proto = func(in *filterInput) bool { return in.src.Is6() }
		case "udp":
			proto = func(in *filterInput) bool { return in.udp }
		case "vlan":
			return p.vlan()
		case "inbound":
			return func(in *filterInput) bool { return in.packet.Direction == tap.In }, nil
		case "outbound":
			return func(in *filterInput) bool { return in.packet.Direction == tap.Out }, nil
		}
		if len(p.tokens) == 0 || slices.Contains([]string{"and", "or", "&&", "||", ")"}, p.tokens[0]) {
			return proto, nil
		}
	}
	if word, ok := p.take("less", "greater"); ok && proto == nil {
		n, err := p.number(word, 1<<24)
		if word == "less" {
			return func(in *filterInput) bool { return in.packet.Length <= n }, err
		}
		return func(in *filterInput) bool { return in.packet.Length >= n }, err
	}
	f, err := p.value(proto != nil)
	if err == nil && proto != nil {
		f = join(true, proto, f)
	}
	return f, err
}

func (p *filterParser) vlan() (packetFilter, error) {
	if len(p.tokens) > 0 {
		if _, err := strconv.Atoi(p.tokens[0]); err == nil {
			id, err := p.number("vlan", 4095)
			return func(in *filterInput) bool { return in.vlan == id }, err
		}
	}
	return func(in *filterInput) bool { return in.vlan >= 0 }, nil
}

// value is qualifiers, or those of the last one, and what they qualify.
func (p *filterParser) value(qualified bool) (packetFilter, error) {
	var words []string
	for len(p.tokens) > 0 && slices.Contains([]string{"ether", "src", "dst", "host", "net", "port", "portrange"}, p.tokens[0]) {
		words = append(words, p.tokens[0])
		p.tokens = p.tokens[1:]
	}
	switch {
	case len(p.tokens) == 0:
		return nil, fmt.Errorf("it ends where something is expected")
	case words == nil && (qualified || p.last == nil):
		return nil, fmt.Errorf("%q is not understood; 'fastrpc capture --help' has what is", p.tokens[0])
	case words == nil:
		words = p.last
	}
	p.last = words
	value := p.tokens[0]
	p.tokens = p.tokens[1:]

	kind, direction := "host", ""
	ether := words[0] == "ether"
	if ether {
		words = words[1:]
	}
	if len(words) > 0 && (words[0] == "src" || words[0] == "dst") {
		direction, words = words[0], words[1:]
	}
	if len(words) > 0 {
		kind, words = words[0], words[1:]
	}
	if len(words) > 0 || ether && kind != "host" || slices.Contains([]string{"src", "dst", "ether"}, kind) {
		return nil, fmt.Errorf("%q is not understood; 'fastrpc capture --help' has what is", strings.Join(p.last, " "))
	}
	src, dst, err := ends(kind, value, ether)
	if err != nil {
		return nil, err
	}
	switch direction {
	case "src":
		return src, nil
	case "dst":
		return dst, nil
	}
	return join(false, src, dst), nil
}

// ends makes the filters that compare a packet's source and its destination with a value.
func ends(kind, value string, ether bool) (src, dst packetFilter, err error) {
	if ether {
		mac, err := net.ParseMAC(value)
		if err != nil {
			return nil, nil, fmt.Errorf("%q is no MAC address", value)
		}
		return func(in *filterInput) bool { return bytes.Equal(in.srcMAC, mac) }, func(in *filterInput) bool { return bytes.Equal(in.dstMAC, mac) }, nil
	}
	if kind == "host" || kind == "net" {
		prefix, err := parsePrefix(kind, value)
		return func(in *filterInput) bool { return prefix.Contains(in.src) }, func(in *filterInput) bool { return prefix.Contains(in.dst) }, err
	}
	from, to, isRange := strings.Cut(value, "-")
	if !isRange {
		to = from
	}
	low, err1 := strconv.ParseUint(from, 10, 16)
	high, err2 := strconv.ParseUint(to, 10, 16)
	if isRange != (kind == "portrange") || err1 != nil || err2 != nil || low > high {
		return nil, nil, fmt.Errorf("%q is no %s", value, kind)
	}
	in := func(port uint16) bool { return low <= uint64(port) && uint64(port) <= high }
	return func(i *filterInput) bool { return i.udp && in(i.srcPort) }, func(i *filterInput) bool { return i.udp && in(i.dstPort) }, nil
}

func parsePrefix(kind, value string) (netip.Prefix, error) {
	if kind == "net" {
		if p, err := netip.ParsePrefix(value); err == nil && p == p.Masked() {
			return p, nil
		}
		return netip.Prefix{}, fmt.Errorf("%q is no network, such as 192.0.2.0/24", value)
	}
	a, err := netip.ParseAddr(value)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is no IP address; names are not looked up", value)
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

func (p *filterParser) number(what string, limit int) (int, error) {
	if len(p.tokens) == 0 {
		return 0, fmt.Errorf("a number is missing behind %q", what)
	}
	n, err := strconv.Atoi(p.tokens[0])
	if err != nil || n < 0 || n > limit {
		return 0, fmt.Errorf("%q is no number for %q", p.tokens[0], what)
	}
	p.tokens = p.tokens[1:]
	return n, nil
}
