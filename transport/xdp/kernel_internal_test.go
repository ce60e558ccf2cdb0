package xdp

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/transport"
)

// waitFor waits until a kernel socket has something.
func waitFor(t *testing.T, s *kernelSocket) {
	t.Helper()
	fds := []unix.PollFd{{Fd: s.pollFD.Load(), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 10_000); n != 1 {
		t.Fatalf("nothing came: %v", err)
	}
}

// Both families of socket carry bytes, addresses and ECN bits, and tell of refused packets, without allocating.
func TestKernelSocket(t *testing.T) {
	for name, c := range map[string]struct {
		family int
		ip     string
	}{
		"IPv4 of AF_INET6": {unix.AF_INET6, "127.0.0.1"},
		"IPv6 of AF_INET6": {unix.AF_INET6, "::1"},
		"IPv4 of AF_INET":  {unix.AF_INET, "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			ip := netip.MustParseAddr(c.ip)
			open := func(ip netip.Addr) *kernelSocket {
				s, err := openKernelSocketFamily(c.family, ip, 0, 0)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { s.close() })
				return s
			}
			a, b := open(netip.IPv6Unspecified()), open(ip)
			path := transport.Path{RemoteIP: ip.As16(), RemotePort: b.port, LocalIP: ip.As16(), LocalPort: a.port}
			var r received
			buf := make([]byte, 100)
			data := bytes.Repeat([]byte("x"), 100)
			exchange := func() {
				if err := a.send(data, &path, 2); err != nil {
					t.Fatal(err)
				}
				waitFor(t, b)
				if err := b.recv(buf, &r); err != nil {
					t.Fatal(err)
				}
			}
			exchange()
			if r.n != len(data) || !bytes.Equal(buf, data) || r.cut || r.ecn != 2 || r.ifindex == 0 ||
				r.path.RemoteIP != ip.As16() || r.path.RemotePort != a.port || r.path.LocalIP != ip.As16() || r.path.LocalPort != b.port {
				t.Errorf("%+v", r)
			}
			if n := testing.AllocsPerRun(100, exchange); n > 1 { // waitFor's list
				t.Errorf("%v allocations a packet", n)
			}
			buf = buf[:50]
			if exchange(); !r.cut {
				t.Errorf("half a packet passes for a whole one: %+v", r)
			}
			if err := b.recv(buf, &r); err != unix.EAGAIN {
				t.Errorf("an empty socket: %v", err)
			}

			if err := b.close(); err != nil {
				t.Fatal(err)
			}
			if err := b.recv(buf, &r); err != unix.EAGAIN {
				t.Errorf("a closed socket: %v", err)
			}
			if err := b.send(data, &path, 0); !errors.Is(err, transport.ErrClosed) {
				t.Errorf("a closed socket: %v", err)
			}
			_ = a.send(data, &path, 0) // to nobody
			waitFor(t, a)
			if err := a.recv(buf, &r); err == nil || err == unix.EAGAIN {
				t.Errorf("a refused packet: %v", err)
			}
			if err := a.recvError(&r); err != nil || r.err != unix.ECONNREFUSED || r.path.RemoteIP != ip.As16() || r.path.RemotePort != path.RemotePort {
				t.Errorf("a refused packet: %v: %+v", err, r)
			}
		})
	}
}

func TestKernelSocketPortTaken(t *testing.T) {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	port := c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	if s, err := openKernelSocket(netip.IPv6Unspecified(), 0, port); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("%v, %v", s, err)
	}
}
