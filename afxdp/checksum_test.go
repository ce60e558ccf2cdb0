//go:build linux

package afxdp_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

// makeIP lets gopacket, which sums byte by byte, write a packet with a full checksum.
func makeIP(t testing.TB, ipv6, tcp bool, payload []byte) []byte {
	t.Helper()
	protocol := layers.IPProtocolUDP
	if tcp {
		protocol = layers.IPProtocolTCP
	}
	var network interface {
		gopacket.NetworkLayer
		gopacket.SerializableLayer
	}
	if ipv6 {
		network = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: protocol, SrcIP: net.ParseIP("2001:2::1"), DstIP: net.ParseIP("2001:2::2")}
	} else {
		network = &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: protocol, SrcIP: net.IPv4(198, 18, 0, 1), DstIP: net.IPv4(198, 18, 0, 2)}
	}
	buf, options := gopacket.NewSerializeBuffer(), gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if tcp {
		l := &layers.TCP{SrcPort: 1234, DstPort: 80, Seq: 7, ACK: true}
		must(t, l.SetNetworkLayerForChecksum(network))
		must(t, gopacket.SerializeLayers(buf, options, network, l, gopacket.Payload(payload)))
	} else {
		l := &layers.UDP{SrcPort: 1234, DstPort: 53}
		must(t, l.SetNetworkLayerForChecksum(network))
		must(t, gopacket.SerializeLayers(buf, options, network, l, gopacket.Payload(payload)))
	}
	return buf.Bytes()
}

// TestChecksumsAgainstAnotherImplementation writes and judges packets of every length, and damages each in one bit.
func TestChecksumsAgainstAnotherImplementation(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for length := range 200 {
		for kind := range 4 {
			ipv6, tcp := kind&1 != 0, kind&2 != 0
			payload := make([]byte, length)
			for i := range payload {
				payload[i] = byte(rng.Uint32())
			}
			ip := makeIP(t, ipv6, tcp, payload)
			want := string(ip)
			if state := afxdp.CheckChecksum(append(ip, 1, 2, 3)); state != afxdp.ChecksumFull { // and what Ethernet pads with
				t.Fatalf("kind %d, %d bytes: a right checksum is %v", kind, length, state)
			}
			bit := (len(ip) - length - 1) * 8 // the last byte of the header, or within the payload
			if length > 0 {
				bit = (len(ip)-length)*8 + rng.IntN(8*length)
			}
			ip[bit/8] ^= 1 << (bit % 8)
			if state := afxdp.CheckChecksum(ip); state != afxdp.ChecksumWrong {
				t.Fatalf("kind %d, %d bytes: with a damaged bit the checksum is %v", kind, length, state)
			}
			ip[bit/8] ^= 1 << (bit % 8)
			r, ok := afxdp.PutPseudoChecksum(ip, 14)
			if !ok || afxdp.CheckChecksum(ip) != afxdp.ChecksumPseudo {
				t.Fatalf("kind %d, %d bytes: the pseudo-header's sum is %v", kind, length, afxdp.CheckChecksum(ip))
			}
			if string(finish(ip, r)) != want {
				t.Fatalf("kind %d, %d bytes: what a device makes of %+v is wrong", kind, length, r)
			}
			if !afxdp.PutChecksum(ip) || string(ip) != want {
				t.Fatalf("kind %d, %d bytes: PutChecksum wrote another checksum than gopacket", kind, length)
			}
		}
	}
}

// finish does with a copy of the packet what a device does that was asked for a checksum (skb_checksum_help), byte by byte.
func finish(ip []byte, r afxdp.TxRequest) []byte {
	out := append([]byte(nil), ip...)
	part := out[r.ChecksumStart-14:]
	sum := 0
	for i, b := range part {
		sum += int(b) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	c := ^uint16(sum)
	if c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(part[r.ChecksumOffset:], c)
	return out
}

// TestZeroChecksum makes packets whose checksum comes out as 0, which in UDP stands for none and is sent as its other form, 0xffff.
func TestZeroChecksum(t *testing.T) {
	for kind := range 4 {
		ipv6, tcp := kind&1 != 0, kind&2 != 0
		field, want := 6, uint16(0xffff)
		if tcp {
			field, want = 16, 0
		}
		ip := makeIP(t, ipv6, tcp, []byte{0, 0})
		at := 20
		if ipv6 {
			at = 40
		}
		sum := ip[at+field:][:2]
		copy(ip[len(ip)-2:], sum) // the sum of all is now what the checksum made of it: all ones
		if !afxdp.PutChecksum(ip) || binary.BigEndian.Uint16(sum) != want {
			t.Errorf("kind %d: the checksum is %#x, want %#x", kind, sum, want)
		}
		if state := afxdp.CheckChecksum(ip); state != afxdp.ChecksumFull {
			t.Errorf("kind %d: the checksum is %v", kind, state)
		}
	}
}

func TestChecksumStates(t *testing.T) {
	udp4, udp6, tcp4 := makeIP(t, false, false, []byte("hello")), makeIP(t, true, false, []byte("hello")), makeIP(t, false, true, []byte("hello"))
	with := func(ip []byte, at int, bytes ...byte) []byte {
		ip = append([]byte(nil), ip...)
		copy(ip[at:], bytes)
		return ip
	}
	for name, c := range map[string]struct {
		ip   []byte
		want afxdp.ChecksumState
	}{
		"UDP, none":               {with(udp4, 26, 0, 0), afxdp.ChecksumNone},
		"UDP over IPv6, none":     {with(udp6, 46, 0, 0), afxdp.ChecksumWrong},
		"TCP, zero":               {with(tcp4, 36, 0, 0), afxdp.ChecksumWrong},
		"options":                 {with(udp4, 0, 0x4f), afxdp.ChecksumUnknown},
		"first fragment":          {with(udp4, 6, 0x20, 0), afxdp.ChecksumUnknown},
		"last fragment":           {with(udp4, 6, 0, 5), afxdp.ChecksumUnknown},
		"do not fragment":         {with(udp4, 6, 0x40, 0), afxdp.ChecksumFull}, // the IP header's own checksum is not looked at
		"ICMP":                    {with(udp4, 9, 1), afxdp.ChecksumUnknown},
		"IPv6 extension":          {with(udp6, 6, 0), afxdp.ChecksumUnknown},
		"total length too large":  {with(udp4, 2, 1, 0), afxdp.ChecksumUnknown},
		"total length too small":  {with(udp4, 2, 0, 27), afxdp.ChecksumUnknown},
		"UDP options":             {append(with(udp4, 2, 0, 37), 1, 2, 3, 4), afxdp.ChecksumFull}, // RFC 9868: behind the datagram, not in its sum
		"UDP length too large":    {with(udp4, 24, 0, 14), afxdp.ChecksumUnknown},
		"UDP length too small":    {with(udp4, 24, 0, 7), afxdp.ChecksumUnknown},
		"header length too small": {with(udp4, 0, 0x44), afxdp.ChecksumUnknown},
		"version 5":               {with(udp4, 0, 0x55), afxdp.ChecksumUnknown},
		"cut":                     {udp4[:30], afxdp.ChecksumUnknown},
		"cut IPv6":                {udp6[:39], afxdp.ChecksumUnknown},
		"empty":                   {nil, afxdp.ChecksumUnknown},
	} {
		before := string(c.ip)
		got := afxdp.CheckChecksum(c.ip)
		if got != c.want || string(c.ip) != before {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
		if _, ok := afxdp.PutPseudoChecksum(c.ip, 0); ok != (c.want != afxdp.ChecksumUnknown) {
			t.Errorf("%s: PutPseudoChecksum answers %v", name, ok)
		}
	}
}

func FuzzCheckChecksum(f *testing.F) {
	for kind := range 4 {
		f.Add(makeIP(f, kind&1 != 0, kind&2 != 0, []byte("payload")))
	}
	f.Fuzz(func(t *testing.T, ip []byte) {
		known := afxdp.CheckChecksum(ip) != afxdp.ChecksumUnknown
		if _, ok := afxdp.PutPseudoChecksum(ip, 0); ok != known {
			t.Errorf("PutPseudoChecksum answers %v, CheckChecksum knows the packet: %v", ok, known)
		}
		if known && (!afxdp.PutChecksum(ip) || afxdp.CheckChecksum(ip) != afxdp.ChecksumFull) {
			t.Errorf("after PutChecksum the checksum is %v", afxdp.CheckChecksum(ip))
		}
	})
}

// TestKernelPacketsArePseudo receives what a kernel socket sent over veth, with the device's offloads as they are by default.
func TestKernelPacketsArePseudo(t *testing.T) {
	a, b := newPair(t, 1)
	pb := b.newPort(t, nil)
	prog := b.program(t, unix.ETH_P_IP)
	defer prog.Close()
	must(t, b.attached.Update(prog))

	ours, err := a.links.LinkByIndex(a.ifindex)
	must(t, err)
	peer, err := b.links.LinkByIndex(b.ifindex)
	must(t, err)
	must(t, a.links.AddrAdd(ours, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(198, 18, 5, 1), Mask: net.CIDRMask(24, 32)}}))
	must(t, a.links.NeighSet(&netlink.Neigh{LinkIndex: a.ifindex, Family: unix.AF_INET, State: netlink.NUD_PERMANENT,
		IP: net.IPv4(198, 18, 5, 2), HardwareAddr: peer.Attrs().HardwareAddr}))
	a.do(t, func() {
		conn, err := net.Dial("udp4", "198.18.5.2:9")
		must(t, err)
		defer conn.Close()
		_, err = conn.Write([]byte("from a kernel socket"))
		must(t, err)
	})
	packet := pb.umem.Data(pb.collect(t, 1)[0])
	if state := afxdp.CheckChecksum(packet[14:]); state != afxdp.ChecksumPseudo {
		t.Errorf("got %v, want %v", state, afxdp.ChecksumPseudo)
	}
	if !afxdp.PutChecksum(packet[14:]) || afxdp.CheckChecksum(packet[14:]) != afxdp.ChecksumFull {
		t.Error("the checksum could not be completed")
	}
}

func BenchmarkCheckChecksum(b *testing.B) {
	ip := makeIP(b, false, false, make([]byte, 1400))
	b.SetBytes(int64(len(ip)))
	for b.Loop() {
		if afxdp.CheckChecksum(ip) != afxdp.ChecksumFull {
			b.Fatal("wrong")
		}
	}
}
