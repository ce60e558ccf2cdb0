package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/fastrpc/fastrpc/transport/wire"
)

var (
	testMAC     = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	testStart   = time.Date(2026, 1, 2, 12, 0, 0, 1500, time.UTC)
	testHello   = wire.Handshake{Kind: wire.Hello, Source: 0x0300000a_1b2c3d4e, Calls: 1024, MaxMessage: 1 << 20, MaxPacket: 1472, IdleSeconds: 60, StreamWindow: 64}
	testRequest = wire.Frame{Type: wire.Request, Call: wire.CallID(5, 9), A: 3, B: 950, Payload: make([]byte, 64)}
)

// dataPacket is a data packet with these frames.
func dataPacket(number uint32, frames ...wire.Frame) []byte {
	b := make([]byte, wire.DataHeaderBytes)
	(&wire.DataHeader{Session: 0x0300000a_1b2c3d4e, Number: number}).Put(b)
	for _, f := range frames {
		var header [wire.FrameHeaderBytes]byte
		f.Put(header[:], len(f.Payload))
		b = append(append(b, header[:]...), f.Payload...)
	}
	b = append(b, make([]byte, wire.ChecksumBytes)...)
	wire.Sum(b)
	return b
}

func helloPacket() []byte {
	b := make([]byte, 2048)
	return b[:testHello.Put(b)]
}

// ipv4 and ipv6 are the packet with a datagram from port 40000, with this ECN field.
func ipv4(to layers.UDPPort, ecn uint8, payload []byte) []byte {
	ip := &layers.IPv4{Version: 4, TTL: 64, TOS: ecn, Protocol: layers.IPProtocolUDP, SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{192, 0, 2, 2}}
	udp := &layers.UDP{SrcPort: 40000, DstPort: to}
	_ = udp.SetNetworkLayerForChecksum(ip)
	return stack(ip, udp, gopacket.Payload(payload))
}

func ipv6(to layers.UDPPort, ecn uint8, payload []byte) []byte {
	ip := &layers.IPv6{Version: 6, HopLimit: 64, TrafficClass: ecn, NextHeader: layers.IPProtocolUDP, SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2")}
	udp := &layers.UDP{SrcPort: 40000, DstPort: to}
	_ = udp.SetNetworkLayerForChecksum(ip)
	return stack(ip, udp, gopacket.Payload(payload))
}

func ether(typ layers.EthernetType, payload []byte) []byte {
	return stack(&layers.Ethernet{SrcMAC: testMAC, DstMAC: testMAC, EthernetType: typ}, gopacket.Payload(payload))
}

func vlan(typ layers.EthernetType, payload []byte) []byte {
	return ether(layers.EthernetTypeDot1Q, stack(&layers.Dot1Q{VLANIdentifier: 7, Type: typ}, gopacket.Payload(payload)))
}

func stack(l ...gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...); err != nil {
		panic(err)
	}
	return b.Bytes()
}

type testFrame struct {
	data []byte
	cut  int // captured; 0: all
}

func (f *testFrame) captured() []byte {
	if f.cut > 0 {
		return f.data[:f.cut]
	}
	return f.data
}

// testCapture is one of everything.
func testCapture() []testFrame {
	damaged := dataPacket(19, testRequest)
	damaged[60] ^= 1
	return []testFrame{
		{ether(layers.EthernetTypeIPv4, ipv4(9000, 0, helloPacket())), 0},
		{ether(layers.EthernetTypeIPv4, ipv4(9000, 3, dataPacket(17, testRequest, wire.Frame{Type: wire.Ping}))), 0},
		{ether(layers.EthernetTypeIPv6, ipv6(9000, 3, dataPacket(18, wire.Frame{Type: wire.Window, Call: 1, A: 64}))), 0},
		{vlan(layers.EthernetTypeIPv6, ipv6(9000, 1, dataPacket(18))), 0},
		{vlan(layers.EthernetTypeIPv4, ipv4(9000, 1, dataPacket(18))), 0},
		{ether(layers.EthernetTypeIPv4, ipv4(9000, 0, damaged)), 0},
		{ether(layers.EthernetTypeIPv4, ipv4(9000, 0, dataPacket(20, testRequest))), 96},
		{ether(layers.EthernetTypeIPv4, ipv4(9000, 0, dataPacket(21, testRequest))), 60},
		{ether(layers.EthernetTypeIPv4, ipv4(9000, 0, dataPacket(22, wire.Frame{Type: 99}))), 0},
		{ether(layers.EthernetTypeIPv4, ipv4(53, 0, []byte("\x11 something else that is long enough to be one"))), 0},
		{ether(layers.EthernetTypeIPv4, ipv4(9000, 0, []byte("GET /"))), 0},
		{ether(layers.EthernetTypeIPv4, stack(&layers.IPv4{Version: 4, Protocol: layers.IPProtocolTCP, SrcIP: net.IP{1, 1, 1, 1}, DstIP: net.IP{1, 1, 1, 2}}, gopacket.Payload(make([]byte, 20)))), 0},
		{ether(layers.EthernetTypeARP, make([]byte, 28)), 0},
		{[]byte{1, 2, 3}, 0},
	}
}

// testFile writes frames to a capture, a microsecond and a bit apart.
func testFile(t *testing.T, build func(linkType, []testFrame) []byte, frames []testFrame) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "capture")
	if err := os.WriteFile(name, build(linkEthernet, frames), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

const decodedText = `12:00:00.000001500 192.0.2.1:40000 > 192.0.2.2:9000 Hello from 0300000a1b2c3d4e insecure, 1024 calls, messages to 1048576 bytes, packets to 1472, idle 60s, ack delay 0s, stream window 64
12:00:00.000002501 192.0.2.1:40000 > 192.0.2.2:9000 (CE) Data to 0300000a1b2c3d4e #17
  Request slot 5 seq 9 method 3, 950µs left, 64 bytes
  Ping
12:00:00.000003502 [2001:db8::1]:40000 > [2001:db8::2]:9000 (CE) Data to 0300000a1b2c3d4e #18
  Window slot 0 seq 1 messages below 64
12:00:00.000004503 [2001:db8::1]:40000 > [2001:db8::2]:9000 Data to 0300000a1b2c3d4e #18
12:00:00.000005504 192.0.2.1:40000 > 192.0.2.2:9000 Data to 0300000a1b2c3d4e #18
12:00:00.000006505 192.0.2.1:40000 > 192.0.2.2:9000 Data to 0300000a1b2c3d4e #19, checksum wrong
  Request slot 5 seq 9 method 3, 950µs left, 64 bytes
12:00:00.000007506 192.0.2.1:40000 > 192.0.2.2:9000 Data to 0300000a1b2c3d4e #20, 54 of 116 bytes captured
  Request slot 5 seq 9 method 3, 950µs left, 64 bytes (6 captured)
12:00:00.000009508 192.0.2.1:40000 > 192.0.2.2:9000 Data to 0300000a1b2c3d4e #22
  malformed: frame 1: type 99 is not known
`

const decodedCounts = `packets: 7 Data, 1 Hello
frames: 3 Request, 1 Ping, 1 Window
checksum wrong: 1, cut by the capture: 1, malformed: 1, not fastrpc: 6
`

func TestDecode(t *testing.T) {
	for name, build := range map[string]func(linkType, []testFrame) []byte{"pcap": nanoPcap, "pcapng": nanoPcapng} {
		code, out, errOut := fast(t, "decode", testFile(t, build, testCapture()))
		if code != exitOK || out != decodedText || errOut != decodedCounts {
			t.Errorf("%s: exit code %d\n got %s%s\nwant %s%s", name, code, out, errOut, decodedText, decodedCounts)
		}
	}
}

// TestDecodePort shows by its port what is too little to tell it from other traffic, and nothing of other ports.
func TestDecodePort(t *testing.T) {
	file := testFile(t, nanoPcap, testCapture())
	_, out, errOut := fast(t, "decode", file, "--port", "9000")
	if !strings.Contains(out, "Data to 0300000a1b2c3d4e, 18 of 116 bytes captured\n") || !strings.Contains(errOut, "cut by the capture: 2, malformed: 1, not fastrpc: 5") {
		t.Errorf("%s%s", out, errOut)
	}
	if _, bySource, _ := fast(t, "decode", file, "--port", "40000"); strings.Count(bySource, " > ") != strings.Count(out, " > ")+1 {
		t.Errorf("by the source's port: %s", bySource) // and the one to port 53, whose first byte is ours
	}
	if _, out, errOut := fast(t, "decode", file, "--port", "9001"); out != "" || !strings.Contains(errOut, "nothing on UDP port 9001") {
		t.Errorf("%q, %q", out, errOut)
	}
	if _, out, errOut := fast(t, "decode", testFile(t, nanoPcap, testCapture()[9:])); out != "" || !strings.Contains(errOut, "--port") {
		t.Errorf("%q, %q", out, errOut)
	}
}

func TestDecodeJSON(t *testing.T) {
	_, out, errOut := fast(t, "decode", testFile(t, nanoPcapng, testCapture()), "--json", "--raw")
	if errOut != decodedCounts || strings.Count(out, "\n") != 8 {
		t.Fatalf("%s%s", out, errOut)
	}
	type object struct {
		Time, Src, Dst, Raw string
		CE                  bool
		Packet              struct {
			Kind, Checksum, Malformed string
			Number                    uint32
			Frames                    []struct {
				Type         string
				Bytes, Slot  int
				LeftUs       int `json:"left_us"`
				CapturedHere int `json:"captured"`
			}
		}
	}
	var got []object
	for dec := json.NewDecoder(strings.NewReader(out)); dec.More(); {
		var o object
		if err := dec.Decode(&o); err != nil {
			t.Fatal(err)
		}
		got = append(got, o)
	}
	o := got[1]
	if o.Time != "2026-01-02T12:00:00.000002501Z" || o.Src != "192.0.2.1:40000" || o.Dst != "192.0.2.2:9000" || !o.CE || !strings.HasPrefix(o.Raw, "1100") ||
		o.Packet.Kind != "Data" || o.Packet.Number != 17 || o.Packet.Checksum != "right" || len(o.Packet.Frames) != 2 ||
		o.Packet.Frames[0].Type != "Request" || o.Packet.Frames[0].LeftUs != 950 || o.Packet.Frames[0].Slot != 5 {
		t.Errorf("%+v", o)
	}
	if o := got[6]; o.Packet.Checksum != "unknown" || o.Packet.Frames[0].Bytes != 64 || o.Packet.Frames[0].CapturedHere != 6 || len(o.Raw) != 2*54 {
		t.Errorf("cut: %+v", o)
	}
	if o := got[5]; o.Packet.Checksum != "wrong" || got[7].Packet.Malformed == "" {
		t.Errorf("damaged: %+v, %+v", o, got[7])
	}
}

func TestDecodeRaw(t *testing.T) {
	_, out, _ := fast(t, "decode", testFile(t, nanoPcap, testCapture()[4:5]), "--raw")
	if !strings.Contains(out, " #18\n    00000000  11 00 00 00 12 00 00 00  4e 3d 2c 1b 0a 00 00 03  |") || strings.Count(out, "\n") != 1+3 {
		t.Error(out)
	}
}

func TestDecodeErrors(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	sound, err := os.ReadFile(testFile(t, nanoPcap, testCapture()[:2]))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ file, out, says string }{
		{filepath.Join(dir, "none"), "", "no such file"},
		{write("empty", ""), "", "tcpdump"},
		{write("text", "this is no capture, and long enough for a header"), "", "tcpdump"},
		{write("cut", string(sound[:len(sound)-1])), "Hello", "ends within a packet"},
		{write("long", string(sound[:24])+"\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff"), "", "4294967295"},
	} {
		code, out, errOut := fast(t, "decode", c.file)
		if code != exitFailure || !strings.Contains(out, c.out) || c.out == "" && out != "" || !strings.Contains(errOut, c.says) || !strings.Contains(errOut, "fastrpc: "+c.file) && c.says != "no such file" {
			t.Errorf("%s: exit code %d, output %q, error %q", c.file, code, out, errOut)
		}
	}
	other := bytes.Clone(sound)
	other[20] = 200
	if code, out, errOut := fast(t, "decode", write("other", string(other))); code != exitOK || out != "" || !strings.Contains(errOut, "link type 200") {
		t.Errorf("another link type: exit code %d, output %q, error %q", code, out, errOut)
	}
}

// TestDecodeLive: a packet on standard input is shown before the next one is there, and an interrupt is a good end.
func TestDecodeLive(t *testing.T) {
	b, err := os.ReadFile(testFile(t, nanoPcap, testCapture()[4:5]))
	if err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	in, feed := io.Pipe()
	defer feed.Close()
	go feed.Write(b)
	shown, out := io.Pipe()
	var errOut bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"decode", "-"}, in, out, &errOut)
		out.Close()
	}()
	line := make([]byte, 1024)
	n, err := shown.Read(line)
	if err != nil || !strings.HasSuffix(string(line[:n]), " #18\n") {
		t.Fatalf("%q, %v", line[:n], err)
	}
	interrupt()
	if code := <-ended; code != exitOK || !strings.HasPrefix(errOut.String(), "packets: 1 Data\n") {
		t.Errorf("exit code %d, error %q", code, errOut.String())
	}
}
