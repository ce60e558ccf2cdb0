package rdma

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
)

// header4 is what stands before a datagram of RoCE v2 over IPv4.
func header4(from, to string) []byte {
	h := make([]byte, GRHBytes)
	ip4 := h[ip4At:]
	ip4[0], ip4[1], ip4[8], ip4[9] = 0x45, 0x08, 61, protocolUDP
	f, t := netip.MustParseAddr(from).As4(), netip.MustParseAddr(to).As4()
	copy(ip4[12:], f[:])
	copy(ip4[16:], t[:])
	return h
}

// header6 is what stands before one over IPv6, RoCE v1 or InfiniBand.
func header6(next byte, from, to string) []byte {
	h := make([]byte, GRHBytes)
	binary.BigEndian.PutUint32(h, 6<<28|0x12<<20|0xabcde)
	h[6], h[7] = next, 9
	f, t := gid(from), gid(to)
	copy(h[8:], f[:])
	copy(h[24:], t[:])
	return h
}

// A header is IPv4's, with anything before it, or IPv6's.
func TestParseGRH(t *testing.T) {
	for _, n := range []int{0, GRHBytes - 1, GRHBytes} {
		if h, err := ParseGRH(make([]byte, n)); err == nil {
			t.Errorf("%d bytes of nothing are %+v", n, h)
		}
	}
	check := func(what string, b []byte, want GRH) {
		t.Helper()
		if got, err := ParseGRH(b); got != want || err != nil {
			t.Errorf("%s: %+v, %v; want %+v", what, got, err, want)
		}
	}
	want := GRH{From: gid("::ffff:192.0.2.1"), To: gid("::ffff:192.0.2.2"), UDP: true, Hops: 61, Class: 8}
	h := header4("192.0.2.1", "192.0.2.2")
	check("IPv4 without a checksum", h, want)
	h[0] = 0x60 // what lies before is undefined
	binary.BigEndian.PutUint16(h[ip4At+10:], ^sum16(h[ip4At:]))
	check("IPv4 behind what looks like IPv6", h, want)
	want = GRH{From: gid("fd00::1"), To: gid("fd00::2"), UDP: true, FlowLabel: 0xabcde, Hops: 9, Class: 0x12}
	check("IPv6", header6(protocolUDP, "fd00::1", "fd00::2"), want)
	want.UDP = false
	check("InfiniBand", header6(protocolIBA, "fd00::1", "fd00::2"), want)
	h = header6(protocolIBA, "fd00::1", "fd00::4500:0:0")
	want.To = gid("fd00::4500:0:0")
	check("IPv6 whose destination begins like an IPv4 header", h, want)
	var sink GRH
	if n := testing.AllocsPerRun(10, func() { sink, _ = ParseGRH(h) }); n != 0 {
		t.Errorf("%v allocations, %+v", n, sink)
	}
}

// A datagram is answered by the way that it came.
func TestReply(t *testing.T) {
	ether := &Port{Device: "rxe0", Number: 1, Ethernet: true, GIDs: []GIDEntry{
		{GID: gid("fe80::1"), Index: 0, Type: GIDRoCE1}, {GID: gid("fe80::1"), Index: 1, Type: GIDRoCE2},
		{GID: gid("::ffff:192.0.2.2"), Index: 2, Type: GIDRoCE1}, {GID: gid("::ffff:192.0.2.2"), Index: 3, Type: GIDRoCE2},
	}}
	infiniband := &Port{Device: "mlx5_0", Number: 2, LID: 4, GIDs: []GIDEntry{{GID: gid("fe80::2"), Index: 0, Type: GIDInfiniBand}}}
	for _, c := range []struct {
		what string
		port *Port
		wc   WC
		grh  []byte
		want AddressVector
	}{
		{"RoCE v2 over IPv4", ether, WC{Flags: WithGRH}, header4("192.0.2.1", "192.0.2.2"),
			AddressVector{Port: 1, Global: true, GID: gid("::ffff:192.0.2.1"), FromIndex: 3, Hops: 61, Class: 8}},
		{"RoCE v2 over IPv6", ether, WC{Flags: WithGRH}, header6(protocolUDP, "fe80::9", "fe80::1"),
			AddressVector{Port: 1, Global: true, GID: gid("fe80::9"), FromIndex: 1, FlowLabel: 0xabcde, Hops: 9, Class: 0x12}},
		{"RoCE v1", ether, WC{Flags: WithGRH}, header6(protocolIBA, "fe80::9", "fe80::1"),
			AddressVector{Port: 1, Global: true, GID: gid("fe80::9"), FromIndex: 0, FlowLabel: 0xabcde, Hops: 9, Class: 0x12}},
		{"InfiniBand within the subnet", infiniband, WC{LID: 7, SL: 3, PathBits: 1}, nil, AddressVector{Port: 2, LID: 7, SL: 3, PathBits: 1}},
		{"InfiniBand between subnets", infiniband, WC{LID: 7, SL: 3, Flags: WithGRH}, header6(protocolIBA, "fe80::9", "fe80::2"),
			AddressVector{Port: 2, LID: 7, SL: 3, Global: true, GID: gid("fe80::9"), FromIndex: 0, FlowLabel: 0xabcde, Hops: 9, Class: 0x12}},
	} {
		if got, err := c.wc.Reply(c.port, c.grh); got != c.want || err != nil {
			t.Errorf("%s: %+v, %v; want %+v", c.what, got, err, c.want)
		}
	}
	for what, reply := range map[string]func() (AddressVector, error){
		"RoCE without a header":     func() (AddressVector, error) { return (&WC{}).Reply(ether, nil) },
		"InfiniBand without a LID":  func() (AddressVector, error) { return (&WC{}).Reply(infiniband, nil) },
		"a header that is cut off":  func() (AddressVector, error) { return (&WC{Flags: WithGRH}).Reply(ether, make([]byte, 20)) },
		"a header of nothing known": func() (AddressVector, error) { return (&WC{Flags: WithGRH}).Reply(ether, make([]byte, GRHBytes)) },
	} {
		if got, err := reply(); err == nil {
			t.Errorf("%s: %+v", what, got)
		}
	}
	if got, err := (&WC{Flags: WithGRH}).Reply(ether, header4("192.0.2.1", "224.0.0.9")); !errors.Is(err, ErrNoGID) {
		t.Errorf("a multicast group: %+v, %v", got, err)
	}
}

// What no card could make of a way is refused with the reason.
func TestAddressVectorCheck(t *testing.T) {
	from := GIDEntry{Index: 3}
	good := from.To(1, gid("fe80::9"), 0)
	if err := good.check(true); err != nil {
		t.Error(err)
	}
	if err := (&AddressVector{Port: 1, LID: 5}).check(false); err != nil {
		t.Error(err)
	}
	for what, v := range map[string]AddressVector{
		"no GID":                {Port: 1, LID: 5},
		"a GID index too high":  {Port: 1, Global: true, FromIndex: 256},
		"a flow label too long": {Port: 1, Global: true, FlowLabel: 1 << 20},
	} {
		if v.check(true) == nil {
			t.Errorf("%s over Ethernet: %+v is taken", what, v)
		}
	}
	if good.check(false) == nil {
		t.Error("InfiniBand without a LID is taken")
	}
}
