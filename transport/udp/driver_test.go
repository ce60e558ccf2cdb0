package udp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/sock"
	"github.com/fastrpc/fastrpc/transport"
)

// Each mistake has an error of its own, which names the thing and what to do.
func TestListenErrors(t *testing.T) {
	taken, addr := listen(t, "udp://127.0.0.1:0")
	holder := fmt.Sprintf("ss -ulpn sport = :%d", taken.port)
	for target, want := range map[string]struct {
		err  error
		says string
	}{
		"udp://" + addr.String():                   {unix.EADDRINUSE, holder},
		fmt.Sprintf("udp://:%d", taken.port):       {unix.EADDRINUSE, holder},
		"udp://198.51.100.9:0":                     {unix.EADDRNOTAVAIL, "ip -br address"},
		"udp://nosuchdevice0:0":                    {unix.ENODEV, "nosuchdevice0"},
		"udp://a-name-longer-than-any-interface:0": {unix.ENODEV, "neither an IP address nor an interface"},
		"udp://[fe80::1]:0":                        {unix.EINVAL, "needs its interface"},
		"udp://[fe80::1%25nosuch0]:0":              {unix.ENODEV, "nosuch0"},
		"udp://127.0.0.1:0?frame=9":                {unix.EINVAL, `"frame" is unknown`},
		"udp://127.0.0.1:0?frames=9":               {unix.EINVAL, "16 to 65536"},
		"udp://127.0.0.1:0?busypoll=x":             {unix.EINVAL, "busypoll=x"},
	} {
		tg, err := transport.ParseTarget(target)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Driver{}.Listen(t.Context(), tg)
		if !errors.Is(err, want.err) || !strings.Contains(err.Error(), want.says) {
			t.Errorf("Listen(%s) = %v, %v; want %v and %q", target, p, err, want.err, want.says)
		}
	}
	if err := (&sock.Binding{IP: addr.Addr(), Port: 53}).Refused(unix.EACCES, "-u"); !strings.Contains(err.Error(), "CAP_NET_BIND_SERVICE") {
		t.Errorf("a privileged port: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (Driver{}).Listen(ended, transport.Target{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Listen with an ended context: %v", err)
	}
	for _, remote := range []string{"127.0.0.1:0", "0.0.0.0:9", "224.0.0.1:9"} {
		if _, err := (Driver{}).Dial(t.Context(), transport.Target{}, netip.MustParseAddrPort(remote)); err == nil {
			t.Errorf("Dial of %s succeeded", remote)
		}
	}
}

// Packets are plain datagrams that hold exactly Data, and an answer leaves from the address that was asked.
func TestPlainDatagrams(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
		l, _ := listen(t, "udp://:0")
		c, err := net.Dial("udp", netip.AddrPortFrom(netip.MustParseAddr(ip), l.port).String()) // hears from there only
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("ping from the kernel")); err != nil {
			t.Fatal(err)
		}
		f := awaitPacket(t, l)
		if string(f.Data) != "ping from the kernel" ||
			f.Path.Remote() != c.LocalAddr().(*net.UDPAddr).AddrPort() || f.Path.Local().Addr().String() != ip {
			t.Errorf("%s: received %q from %v at %v", ip, f.Data, f.Path.Remote(), f.Path.Local())
		}
		var answer transport.Frame
		ok := l.Alloc(&answer)
		if !ok {
			t.Fatal("no frame")
		}
		answer.Data, answer.Path = answer.Data[:copy(answer.Data, "pong")], f.Path
		l.Free([]transport.Frame{f})
		if n, err := l.Send([]transport.Frame{answer}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		if n, err := c.Read(b); string(b[:n]) != "pong" || err != nil {
			t.Errorf("%s: answered %q, %v", ip, b[:n], err)
		}
	}
}

// All frames sent before anything is received: the kernel keeps them, and each arrives once, in one piece.
func TestBigBurst(t *testing.T) {
	server, addr := listen(t, "udp://127.0.0.1:0")
	client, _ := dial(t, addr)
	path := resolve(t, client, addr)
	var fs []transport.Frame
	for {
		var f transport.Frame
		ok := client.Alloc(&f)
		if !ok {
			break
		}
		i := len(fs)
		f.Path = path
		f.Data = f.Data[:4+i]
		copy(f.Data, bytes.Repeat([]byte{byte(i)}, len(f.Data)))
		fs = append(fs, f)
	}
	all := len(fs)
	for len(fs) > 0 {
		n, err := client.Send(fs)
		if n == 0 || err != nil {
			t.Fatalf("Send = %d, %v", n, err)
		}
		fs = fs[n:]
	}
	if err := client.Flush(); err != nil {
		t.Fatal(err)
	}
	if c := client.Counts(); c.InFlight != all || client.frames.Landed() != all {
		t.Errorf("%d sent, %d completed, Counts %+v", all, client.frames.Landed(), c)
	}
	in := make([]transport.Frame, burst)
	lost := int(server.Stats().KernelDropped) // only where SO_RCVBUFFORCE is not allowed
	if os.Geteuid() == 0 && lost > 0 {
		t.Errorf("the socket's buffer lost %d of %d", lost, all)
	}
	got := 0
	for {
		n, err := server.Recv(in)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		for _, f := range in[:n] {
			i := len(f.Data) - 4
			if i != got || !bytes.Equal(f.Data, bytes.Repeat([]byte{byte(i)}, len(f.Data))) {
				t.Fatalf("packet %d came where %d should, or with other bytes", i, got)
			}
			got++
		}
		server.Free(in[:n])
	}
	if got+lost != all || got == 0 {
		t.Errorf("received %d and lost %d of %d", got, lost, all)
	}
}

// A datagram longer than a frame is dropped and counted, and its frame serves the next.
func TestTruncated(t *testing.T) {
	l, addr := listen(t, "udp://127.0.0.1:0?frames=16")
	c, err := net.Dial("udp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 20 {
		if _, err := c.Write(make([]byte, frameBytes+1)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Write(make([]byte, frameBytes)); err != nil {
		t.Fatal(err)
	}
	f := awaitPacket(t, l)
	l.Free([]transport.Frame{f})
	if s := l.Stats(); len(f.Data) != frameBytes || s.Truncated != 20 {
		t.Errorf("received %d bytes after %d truncated, want %d after 20", len(f.Data), s.Truncated, frameBytes)
	}
	if c := l.Counts(); c.Receive != 8 || c.Borrowed != 0 {
		t.Errorf("Counts %+v", c)
	}
}

// Opening, failing to open and closing leave no descriptor behind.
func TestNoDescriptorLeft(t *testing.T) {
	open := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(d)
	}
	once := func() {
		l, addr := openOnly(t, "udp://127.0.0.1:0")
		p, err := Driver{}.Dial(t.Context(), transport.Target{}, addr)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []transport.Target{{Host: "nosuchdevice0"}, {Host: "127.0.0.1", Port: addr.Port()}, {Host: "198.51.100.9"}} {
			if _, err := (Driver{}).Listen(t.Context(), bad); err == nil {
				t.Errorf("Listen(%v) succeeded", bad)
			}
		}
		if err := errors.Join(l.Close(), p.Close(), p.Links()[0].Close()); err != nil {
			t.Fatal(err)
		}
	}
	once()
	before := open()
	for range 20 {
		once()
	}
	if after := open(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
