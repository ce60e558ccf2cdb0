package bpf

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/google/gopacket/layers"
)

// The actions of enum xdp_action that the program may return.
const (
	xdpPass     = 2
	xdpRedirect = 4
)

// steer runs the program once, checks that it touched nothing, and returns its action and the name of the one counter that it moved.
func steer(t testing.TB, p *Program, packet []byte) (action uint32, verdict string) {
	t.Helper()
	before := counters(t, p)
	action, out, err := p.objs.FastrpcSteer.Test(packet)
	if err != nil {
		t.Fatalf("running the program on %d bytes: %v", len(packet), err)
	}
	if !bytes.Equal(out, packet) {
		t.Fatalf("the program changed % x to % x", packet, out)
	}
	return action, moved(t, before, counters(t, p))
}

// moved names the counter that one packet moved, and fails unless it is exactly one, by one.
func moved(t testing.TB, before, after Counters) string {
	t.Helper()
	var names []string
	a, b := reflect.ValueOf(after), reflect.ValueOf(before)
	for i := range a.NumField() {
		for range a.Field(i).Uint() - b.Field(i).Uint() {
			names = append(names, a.Type().Field(i).Name)
		}
	}
	if len(names) != 1 {
		t.Fatalf("one packet moved the counters %v", names)
	}
	return names[0]
}

func counters(t testing.TB, p *Program) Counters {
	t.Helper()
	c, err := p.Counters()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestGoldenPackets runs them without a socket, where ours fall back to the kernel, and with one.
func TestGoldenPackets(t *testing.T) {
	p := loaded(t)
	check := func(t *testing.T, name string, packet []byte, wantAction uint32, want string) {
		t.Helper()
		if action, got := steer(t, p, packet); action != wantAction || got != want {
			t.Errorf("%s: action %d, counted as %s; want %d, %s", name, action, got, wantAction, want)
		}
	}
	t.Run("no socket", func(t *testing.T) {
		for _, g := range goldenPackets(t) {
			want := g.verdict
			if want == "Redirected" {
				want = "NoSocket"
			}
			check(t, g.name, g.data, xdpPass, want)
		}
	})
	must(t, p.SetSocket(0, newXSK(t).fd))
	t.Run("socket", func(t *testing.T) {
		for _, g := range goldenPackets(t) {
			action := uint32(xdpPass)
			if g.verdict == "Redirected" {
				action = xdpRedirect
			}
			check(t, g.name, g.data, action, g.verdict)
		}
	})
	must(t, p.ClearSocket(0))
	must(t, p.ClearSocket(0)) // twice is no error
	check(t, "after ClearSocket", udp4(t).bytes(t), xdpPass, "NoSocket")
}

// TestMultiBuffer runs the program that takes packets of several buffers: it judges others alike, and the length of these by all buffers. The
// kernel puts what does not fit into a page with XDP's headroom into further ones (net/bpf/test_run.c, bpf_prog_test_run_xdp).
func TestMultiBuffer(t *testing.T) {
	p, single := loadedFor(t, true), loaded(t)
	must(t, p.SetSocket(0, newXSK(t).fd))
	for _, g := range goldenPackets(t) {
		if _, got := steer(t, p, g.data); got != g.verdict {
			t.Errorf("%s: counted as %s, want %s", g.name, got, g.verdict)
		}
	}
	for name, u := range map[string]*udpPacket{"IPv4": udp4(t), "IPv6": udp6(t)} {
		u.payload = make([]byte, 8900)
		whole := u.bytes(t)
		if action, got := steer(t, p, whole); action != xdpRedirect || got != "Redirected" {
			t.Errorf("%s in several buffers: action %d, counted as %s", name, action, got)
		}
		if action, got := steer(t, p, whole[:len(whole)-1]); action != xdpPass || got != "Malformed" {
			t.Errorf("%s in several buffers that lack a byte: action %d, counted as %s", name, action, got)
		}
		if _, got := steer(t, single, whole); got != "Malformed" {
			t.Errorf("%s in several buffers: the program that sees one counted it as %s", name, got)
		}
	}
}

// TestTruncated cuts packets of ours at every length: none is taken, none dropped.
func TestTruncated(t *testing.T) {
	p := loaded(t)
	must(t, p.SetSocket(0, newXSK(t).fd))
	v4 := udp4(t)
	for name, packet := range map[string][]byte{
		"IPv4":              v4.bytes(t),
		"IPv4 with options": with(udp4(t), func(p *udpPacket) { p.options(12) }).bytes(t),
		"IPv6":              udp6(t).bytes(t),
		"802.1Q IPv4":       serialize(t, ether(layers.EthernetTypeDot1Q), tag(5, layers.EthernetTypeIPv4), v4.ip, v4.udp, v4.payload),
	} {
		if action, verdict := steer(t, p, packet); action != xdpRedirect {
			t.Errorf("%s, whole: action %d, counted as %s", name, action, verdict)
		}
		for n := 14; n < len(packet); n++ { // the kernel runs nothing shorter than an Ethernet header
			if action, verdict := steer(t, p, packet[:n]); action != xdpPass || verdict != "Malformed" {
				t.Errorf("%s cut to %d of %d bytes: action %d, counted as %s", name, n, len(packet), action, verdict)
			}
		}
	}
}

// TestPorts walks the corners of the bitmap: a port is ours, and no other is.
func TestPorts(t *testing.T) {
	p := loaded(t)
	must(t, p.DenyPort(ourPort))
	ports := []uint16{1, 63, 64, 127, 128, 255, 256, 9000, 32767, 32768, 65534, 65535}
	for _, open := range ports {
		must(t, p.AllowPort(open))
		must(t, p.AllowPort(open)) // twice is no error
		for _, port := range ports {
			want := "NotOurPort"
			if port == open {
				want = "NoSocket"
			}
			if _, got := steer(t, p, patch(udp4(t).bytes(t), 14+20+2, byte(port>>8), byte(port))); got != want {
				t.Errorf("port %d with %d open: %s, want %s", port, open, got, want)
			}
		}
		must(t, p.DenyPort(open))
		must(t, p.DenyPort(open))
	}
	if p.AllowPort(0) == nil {
		t.Error("port 0 was allowed")
	}
	must(t, p.AllowPort(64)) // two ports of one word do not disturb each other
	must(t, p.AllowPort(65))
	must(t, p.DenyPort(64))
	if _, got := steer(t, p, patch(udp4(t).bytes(t), 14+20+2, 0, 65)); got != "NoSocket" {
		t.Errorf("port 65 after 64 was denied: %s", got)
	}
}

func TestPrefixes(t *testing.T) {
	p := loaded(t)
	from := func(source string) []byte {
		a := netip.MustParseAddr(source)
		if a.Is4() {
			return with(udp4(t), func(p *udpPacket) { p.ip4().SrcIP = a.AsSlice() }).bytes(t)
		}
		return with(udp6(t), func(p *udpPacket) { p.ip6().SrcIP = a.AsSlice() }).bytes(t)
	}
	for _, c := range []struct {
		list            string
		allowed, denied []string
	}{
		{"", []string{"198.18.0.2", "0.0.0.0", "2001:2::2", "::"}, nil},
		{"198.18.0.0/15", []string{"198.18.0.0", "198.19.255.255"}, []string{"198.17.255.255", "198.20.0.0", "2001:2::2"}},
		{"198.18.0.2/32", []string{"198.18.0.2"}, []string{"198.18.0.3", "198.18.0.1"}},
		{"198.18.0.77/24", []string{"198.18.0.1", "198.18.0.255"}, []string{"198.18.1.77"}}, // bits below the prefix do not count
		{"::ffff:198.18.0.0/120", []string{"198.18.0.9"}, []string{"198.18.1.9", "::ffff:198.18.0.9"}},
		{"0.0.0.0/0", []string{"198.18.0.2", "0.0.0.0", "255.0.0.1"}, []string{"2001:2::2", "::"}},
		{"::/0", []string{"2001:2::2", "::", "::ffff:198.18.0.2"}, []string{"198.18.0.2"}},
		{"2001:2::/48", []string{"2001:2::", "2001:2:0:ffff::1"}, []string{"2001:2:1::", "2001:1:ffff::"}},
		{"2001:2::2/128", []string{"2001:2::2"}, []string{"2001:2::3"}},
		{"10.0.0.0/8 10.1.0.0/16 192.0.2.1/32 2001:2::/64", []string{"10.1.2.3", "10.2.0.1", "192.0.2.1", "2001:2::7"},
			[]string{"11.0.0.1", "192.0.2.2", "2001:2:0:1::7"}},
		{"", []string{"198.18.0.2", "2001:2::2"}, nil},
	} {
		must(t, p.SetPrefixes(prefixes(c.list)))
		for want, sources := range map[string][]string{"NoSocket": c.allowed, "Denied": c.denied} {
			for _, source := range sources {
				if action, got := steer(t, p, from(source)); got != want || action != xdpPass {
					t.Errorf("from %s, allowed are %q: action %d, counted as %s; want %s", source, c.list, action, got, want)
				}
			}
		}
	}

	must(t, p.SetPrefixes(prefixes("198.18.0.0/15")))
	if p.SetPrefixes([]netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), {}}) == nil {
		t.Error("an invalid prefix was allowed")
	}
	if p.SetPrefixes(make([]netip.Prefix, MaxPrefixes+1)) == nil {
		t.Error("a list beyond MaxPrefixes was taken")
	}
	if _, got := steer(t, p, from("192.0.2.1")); got != "Denied" {
		t.Errorf("after a list that was refused: %s, want the old one to stay", got)
	}
	full := make([]netip.Prefix, MaxPrefixes)
	for i := range full {
		full[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), 32)
	}
	must(t, p.SetPrefixes(full))
	if _, got := steer(t, p, from("10.3.255.1")); got != "NoSocket" {
		t.Errorf("the last of %d prefixes: %s", MaxPrefixes, got)
	}
}

// TestPrefixesReplacedAtOnce sends packets while one list that allows them takes the other's place, back and forth: none is ever denied.
func TestPrefixesReplacedAtOnce(t *testing.T) {
	p := loaded(t)
	lists := [][]netip.Prefix{prefixes("198.18.0.0/24 10.0.0.0/8"), prefixes("192.0.2.0/24 198.18.0.0/15"), nil}
	stop, done := make(chan struct{}), make(chan error, 1)
	packet := udp4(t).bytes(t)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if _, _, err := p.objs.FastrpcSteer.Benchmark(packet, 100, nil); err != nil {
				done <- err
				return
			}
		}
	}()
	for i := range 90 {
		must(t, p.SetPrefixes(lists[i%len(lists)]))
	}
	close(stop)
	must(t, <-done)
	if c := counters(t, p); c.Denied != 0 || c.NoSocket == 0 {
		t.Errorf("%+v: packets were denied, or none was sent", c)
	}
}

// TestModel mutates the golden packets at random and compares the program's verdict with that of a slow and obvious model.
func TestModel(t *testing.T) {
	p := loaded(t)
	must(t, p.SetSocket(0, newXSK(t).fd))
	must(t, p.SetPrefixes(prefixes("198.18.0.0/24 2001:2::/48")))
	const seed = 1
	rnd, golden := rand.New(rand.NewPCG(seed, 0)), goldenPackets(t)
	seen := map[string]int{}
	for i := range 20000 {
		packet := slices.Clone(golden[rnd.IntN(len(golden))].data)
		for range rnd.IntN(3) {
			at := rnd.IntN(min(len(packet), 70))
			packet[at] = [...]byte{byte(rnd.Uint32()), packet[at] + 1, packet[at] - 1, packet[at] ^ 1<<rnd.IntN(8)}[rnd.IntN(4)]
		}
		if rnd.IntN(8) == 0 {
			packet = packet[:14+rnd.IntN(len(packet)-13)]
		}
		action, got := steer(t, p, packet)
		want := model(packet)
		if got != want || (action == xdpRedirect) != (want == "Redirected") || (action != xdpRedirect && action != xdpPass) {
			t.Fatalf("seed %d, packet %d: action %d, counted as %s, want %s: % x", seed, i, action, got, want, packet)
		}
		seen[got]++
	}
	for _, verdict := range []string{"Redirected", "Denied", "NotOurPort", "NotUDP", "Fragment", "Malformed", "Group"} {
		if seen[verdict] < 100 {
			t.Errorf("only %d packets of 20000 were %s: %v", seen[verdict], verdict, seen)
		}
	}
}

// model says what the program must make of a packet for ourPort from 198.18.0.0/24 and 2001:2::/48.
func model(packet []byte) string {
	be16 := func(b []byte, at int) int { return int(b[at])<<8 | int(b[at+1]) }
	if packet[0]&1 == 1 {
		return "Group"
	}
	proto, rest := be16(packet, 12), packet[14:]
	if proto == 0x8100 || proto == 0x88a8 {
		if len(rest) < 4 {
			return "Malformed"
		}
		proto, rest = be16(rest, 2), rest[4:]
	}
	var header, total int
	var allowed bool
	switch proto {
	case 0x0800:
		if len(rest) < 20 || rest[0]>>4 != 4 || rest[0]&15 < 5 {
			return "Malformed"
		}
		header, total = int(rest[0]&15)*4, be16(rest, 2)
		switch to := netip.AddrFrom4([4]byte(rest[16:20])); {
		case be16(rest, 6)&0x3fff != 0:
			return "Fragment"
		case rest[9] != 17:
			return "NotUDP"
		case to.IsMulticast(), to == netip.MustParseAddr("255.255.255.255"):
			return "Group"
		}
		allowed = netip.MustParsePrefix("198.18.0.0/24").Contains(netip.AddrFrom4([4]byte(rest[12:16])))
	case 0x86dd:
		if len(rest) < 40 || rest[0]>>4 != 6 {
			return "Malformed"
		}
		header, total = 40, 40+be16(rest, 4)
		switch {
		case rest[6] == 44:
			return "Fragment"
		case rest[6] != 17:
			return "NotUDP"
		case netip.AddrFrom16([16]byte(rest[24:40])).IsMulticast():
			return "Group"
		}
		allowed = netip.MustParsePrefix("2001:2::/48").Contains(netip.AddrFrom16([16]byte(rest[8:24])))
	default:
		return "NotUDP"
	}
	if total < header+8 || total > len(rest) || be16(rest, header+4) != total-header {
		return "Malformed"
	}
	if be16(rest, header+2) != ourPort {
		return "NotOurPort"
	}
	if !allowed {
		return "Denied"
	}
	return "Redirected"
}

// BenchmarkSteer reports the kernel's own figure of what the program costs a packet, as "ns/packet".
func BenchmarkSteer(b *testing.B) {
	full := make([]netip.Prefix, MaxPrefixes)
	for i := range full {
		full[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 32)
	}
	for _, c := range []struct {
		name        string
		packet      []byte
		prefixes    []netip.Prefix
		multiBuffer bool
	}{
		{"ours/any", udp4(b).bytes(b), nil, false},
		{"ours/any/multi-buffer", udp4(b).bytes(b), nil, true},
		{"ours/1prefix", udp4(b).bytes(b), prefixes("198.18.0.0/15"), false},
		{fmt.Sprintf("ours/%dprefixes", MaxPrefixes), udp4(b).bytes(b), full, false},
		{"ours/any/IPv6", udp6(b).bytes(b), nil, false},
		{"TCP", patch(udp4(b).bytes(b), 14+9, 6), nil, false},
		{"TCP/multi-buffer", patch(udp4(b).bytes(b), 14+9, 6), nil, true},
		{"other port", with(udp4(b), func(p *udpPacket) { p.udp.DstPort++ }).bytes(b), nil, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := loadedFor(b, c.multiBuffer)
			must(b, p.SetSocket(0, newXSK(b).fd))
			must(b, p.SetPrefixes(c.prefixes))
			b.ResetTimer()
			_, each, err := p.objs.FastrpcSteer.Benchmark(c.packet, b.N, b.ResetTimer)
			must(b, err)
			b.ReportMetric(float64(each.Nanoseconds()), "ns/packet")
		})
	}
}
