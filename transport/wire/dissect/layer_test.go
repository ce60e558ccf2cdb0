package dissect_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/fastrpc/fastrpc/transport/wire"
	"github.com/fastrpc/fastrpc/transport/wire/dissect"
)

// datagram is an IPv4 packet that holds a Ping, with one request of 1,000 bytes behind it.
func datagram(to layers.UDPPort) []byte {
	b := make([]byte, wire.DataHeaderBytes+2*wire.FrameHeaderBytes+1000+wire.ChecksumBytes)
	(&wire.DataHeader{Session: 1}).Put(b)
	(&wire.Frame{Type: wire.Ping}).Put(b[wire.DataHeaderBytes:], 0)
	(&wire.Frame{Type: wire.Request, Call: 1}).Put(b[wire.Overhead:], 1000)
	wire.Sum(b)
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{192, 0, 2, 2}}
	udp := &layers.UDP{SrcPort: 40000, DstPort: to}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		panic(err)
	}
	out := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(out, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, udp, gopacket.Payload(b)); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// TestLayer has gopacket find the packet by its port, in each of its ways to decode.
func TestLayer(t *testing.T) {
	const port = 9719
	dissect.RegisterPort(port)
	t.Cleanup(func() { layers.RegisterUDPPortLayerType(port, gopacket.LayerTypePayload) })
	b := datagram(port)
	for name, o := range map[string]gopacket.DecodeOptions{"eager": gopacket.Default, "lazy": gopacket.Lazy} {
		for _, n := range []int{len(b), len(b) - 900} {
			packet := gopacket.NewPacket(b[:n], layers.LayerTypeIPv4, o)
			p, ok := packet.ApplicationLayer().(*dissect.Packet)
			if !ok {
				t.Fatalf("%s, %d bytes: %v", name, n, packet)
			}
			if p.LayerType() != dissect.LayerTypeFastRPC || p.Length != len(b)-28 || len(p.LayerContents()) != n-28 || len(p.Frames) != 2 {
				t.Errorf("%s, %d bytes: %v", name, n, p)
			}
			if want := map[bool]dissect.Checksum{true: dissect.ChecksumRight, false: dissect.ChecksumUnknown}[n == len(b)]; p.Checksum != want {
				t.Errorf("%s, %d bytes: checksum %v", name, n, p.Checksum)
			}
		}
		b[28] = 0x21 // version 2
		if packet := gopacket.NewPacket(b, layers.LayerTypeIPv4, o); packet.ErrorLayer() == nil || packet.Layer(dissect.LayerTypeFastRPC) != nil {
			t.Errorf("%s: a packet of another version is decoded: %v", name, packet)
		}
		b[28] = 0x11
	}
	// As the first layer, without a datagram around it.
	if p, ok := gopacket.NewPacket(b[28:], dissect.LayerTypeFastRPC, gopacket.Lazy).ApplicationLayer().(*dissect.Packet); !ok || len(p.Frames) != 2 {
		t.Errorf("alone: %v", p)
	}
}

// ExamplePacket decodes into the same layers again and again, as gopacket's fast way is.
func ExamplePacket() {
	var ip layers.IPv4
	var udp layers.UDP
	var p dissect.Packet
	parser := gopacket.NewDecodingLayerParser(layers.LayerTypeIPv4, &ip, &udp)
	parser.IgnoreUnsupported = true
	var found []gopacket.LayerType
	if err := parser.DecodeLayers(datagram(9000), &found); err != nil {
		fmt.Println(err)
	}
	if p.Decode(udp.Payload, int(udp.Length)-8) == nil && p.Plausible() {
		fmt.Println(&p)
	}
	// Output:
	// Data to 0000000000000001 #0
	//   Ping
	//   Request slot 0 seq 1 method 0, no deadline, 1000 bytes
}
