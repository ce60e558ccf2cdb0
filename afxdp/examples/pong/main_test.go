//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
)

const childVariable = "PONG_TEST_INTERFACE"

// TestMain also is the program under test: a process of the lab's server, whose /sys shows the lab's interface.
func TestMain(m *testing.M) {
	if name := os.Getenv(childVariable); name != "" {
		os.Args = []string{"pong", name}
		main()
		return
	}
	os.Exit(m.Run())
}

// TestPings has the server's kernel ignore pings, so that only pong answers, and compares replies of many sizes, byte
// by byte.
func TestPings(t *testing.T) {
	l := labtest.New(t, lab.Config{Queues: 2})
	pong := exec.Command(os.Args[0])
	pong.Env = append(os.Environ(), childVariable+"="+l.Server().Interface)
	output, err := pong.StderrPipe()
	must(t, err)
	must(t, l.Server().Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/icmp_echo_ignore_all", []byte("1"), 0)
	}))
	must(t, l.Server().Start(pong))
	defer func() { _ = pong.Process.Kill(); _ = pong.Wait() }()
	says := bufio.NewScanner(output)
	if !says.Scan() || !strings.Contains(says.Text(), "answering pings") {
		t.Fatalf("pong says %q", says.Text())
	}

	var conn net.PacketConn
	must(t, l.Client().Do(func() (err error) {
		conn, err = net.ListenPacket("ip4:icmp", "0.0.0.0")
		return err
	}))
	defer conn.Close()
	const pings = 50
	for i := range pings {
		request := echo(uint16(i), 1+i*29)
		_, err := conn.WriteTo(request, &net.IPAddr{IP: l.Server().IPv4.AsSlice()})
		must(t, err)
		want := append([]byte(nil), request...)
		want[0] = echoReply
		binary.BigEndian.PutUint16(want[2:], 0)
		binary.BigEndian.PutUint16(want[2:], checksum(want))
		if got := reply(t, conn); string(got) != string(want) {
			t.Fatalf("ping %d of %d bytes: the reply is %x, want %x", i, len(request), got, want)
		}
	}
	must(t, pong.Process.Signal(os.Interrupt))
	if !says.Scan() || !strings.HasSuffix(says.Text(), "50 pings answered") {
		t.Errorf("at the end pong says %q", says.Text())
	}
	if err := pong.Wait(); err != nil {
		t.Errorf("pong: %v", err)
	}
}

// echo is an ICMP echo request with so many bytes of data.
func echo(number uint16, bytes int) []byte {
	b := make([]byte, 8+bytes)
	b[0] = echoRequest
	binary.BigEndian.PutUint16(b[4:], identifier)
	binary.BigEndian.PutUint16(b[6:], number)
	for i := range b[8:] {
		b[8+i] = byte(i * 31)
	}
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

const identifier = 0x5a5a

// reply waits for the next ICMP echo reply with our identifier.
func reply(t *testing.T, conn net.PacketConn) []byte {
	t.Helper()
	must(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	b := make([]byte, 2048)
	for {
		n, _, err := conn.ReadFrom(b)
		must(t, err)
		if n >= 8 && b[0] == echoReply && binary.BigEndian.Uint16(b[4:]) == identifier {
			return b[:n]
		}
	}
}

// checksum is that of RFC 1071, word by word.
func checksum(b []byte) uint16 {
	sum := 0
	for i, c := range b {
		sum += int(c) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTurnAroundRefuses(t *testing.T) {
	good := make([]byte, leastBytes)
	good[icmpAt] = echoRequest
	for name, b := range map[string][]byte{
		"nothing": nil, "cut": good[:leastBytes-1], "a reply": make([]byte, 100), "a code": append(append([]byte(nil), good[:icmpAt]...), 8, 1, 0, 0, 0, 0, 0, 0),
	} {
		before := string(b)
		if turnAround(b) || string(b) != before {
			t.Errorf("%s was turned around", name)
		}
	}
	if !turnAround(good) {
		t.Error("a request was refused")
	}
}
