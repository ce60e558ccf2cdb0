package udp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/sock"
	"github.com/fastrpc/fastrpc/transport"
)

// sendTo sends one packet of n bytes.
func sendTo(t testing.TB, l *Link, path transport.Path, n int) {
	t.Helper()
	var f transport.Frame
	ok := l.Alloc(&f)
	if !ok {
		t.Fatal("no frame")
	}
	f.Data, f.Path = f.Data[:n], path
	if n, err := l.Send([]transport.Frame{f}); n != 1 || err != nil {
		t.Fatalf("Send = %d, %v", n, err)
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	fs := make([]transport.Frame, 1)
	if l.Completed(fs) != 1 || fs[0].ID != f.ID {
		t.Fatal("the frame did not complete")
	}
	l.Free(fs)
}

// awaitPacket receives one packet; the caller frees it.
func awaitPacket(t testing.TB, l *Link) transport.Frame {
	t.Helper()
	fs := make([]transport.Frame, 1)
	for end := transport.Now().Add(30 * time.Second); transport.Now() < end; {
		n, err := l.Recv(fs)
		if err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			return fs[0]
		}
		if err := l.Wait(end); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("no packet came")
	panic("unreachable")
}

// deliver sends n bytes until to has them. It is for addresses just added: the kernel completes them in the background (addrconf_dad_work in
// net/ipv6/addrconf.c), and may lose packets before.
func deliver(t testing.TB, from *Link, path transport.Path, n int, to *Link) transport.Frame {
	t.Helper()
	fs := make([]transport.Frame, 1)
	for range 100 {
		sendTo(t, from, path, n)
		if err := to.Wait(transport.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if n, err := to.Recv(fs); err != nil {
			t.Fatal(err)
		} else if n == 1 {
			return fs[0]
		}
	}
	t.Fatal("no packet came")
	panic("unreachable")
}

// awaitEvent polls as an engine does until there is an event.
func awaitEvent(t testing.TB, l *Link) transport.Event {
	t.Helper()
	es, fs := make([]transport.Event, 1), make([]transport.Frame, 1)
	for end := transport.Now().Add(30 * time.Second); transport.Now() < end; {
		if n, err := l.Recv(fs); n != 0 || err != nil {
			t.Fatalf("Recv = %d, %v; want an event only", n, err)
		}
		if l.Events(es) == 1 {
			return es[0]
		}
		if err := l.Wait(end); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("no event came")
	panic("unreachable")
}

// closedPort is a port of ip that nobody listens on.
func closedPort(t *testing.T, ip string) netip.AddrPort {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(ip), 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return netip.AddrPortFrom(netip.MustParseAddr(ip), c.LocalAddr().(*net.UDPAddr).AddrPort().Port())
}

// A refused packet is an event that names the peer, and the Link carries packets to others as before.
func TestRefusedPort(t *testing.T) {
	for _, c := range [][2]string{{"udp://127.0.0.1:0", "127.0.0.1"}, {"udp://[::1]:0", "::1"}, {"udp://:0", "127.0.0.1"}, {"udp://:0", "::1"}} {
		t.Run(c[0]+" to "+c[1], func(t *testing.T) {
			l, _ := listen(t, c[0])
			dead := closedPort(t, c[1])
			server, _ := listen(t, "udp://:0")
			alive := resolve(t, l, netip.AddrPortFrom(netip.MustParseAddr(c[1]), server.port))
			for range 3 { // with an error pending, too, Send works
				sendTo(t, l, resolve(t, l, dead), 10)
				sendTo(t, l, alive, 20)
				e := awaitEvent(t, l)
				if e.Kind != transport.Unreachable || e.Path.Remote() != dead || e.Path.LocalPort != l.port || !errors.Is(e.Err, unix.ECONNREFUSED) {
					t.Fatalf("event %+v (from %v, to %v), want ECONNREFUSED from %v", e, e.Path.Local(), e.Path.Remote(), dead)
				}
				f := awaitPacket(t, server)
				if len(f.Data) != 20 {
					t.Errorf("received %d bytes, want 20", len(f.Data))
				}
				server.Free([]transport.Frame{f})
			}
			if s := l.Stats(); s.Refused != 0 {
				t.Errorf("%d good packets were refused", s.Refused)
			}
		})
	}
}

// A flood of refusals fills no memory: what Events does not take in time is counted.
func TestEventsBounded(t *testing.T) {
	l, _ := listen(t, "udp://127.0.0.1:0")
	path := resolve(t, l, closedPort(t, "127.0.0.1"))
	fs, es := make([]transport.Frame, 1), make([]transport.Event, 2*maxEvents)
	for range 4 * maxEvents {
		sendTo(t, l, path, 10)
		if _, err := l.Recv(fs); err != nil {
			t.Fatal(err)
		}
	}
	n := l.Events(es)
	if s := l.Stats(); n != maxEvents || s.EventsDropped != 3*maxEvents {
		t.Errorf("%d events and %d dropped, want %d and %d", n, s.EventsDropped, maxEvents, 3*maxEvents)
	}
}

// inNamespace runs f on a thread of its own in a new network namespace whose loopback, the only interface, has the given MTU.
func inNamespace(t *testing.T, mtu int, f func(lo netlink.Link)) {
	if os.Geteuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine, and the namespace with it
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = errors.Join(netlink.LinkSetMTU(lo, mtu), netlink.LinkSetUp(lo))
		}
		if err != nil {
			t.Errorf("lo: %v", err)
			return
		}
		f(lo)
	}()
	<-done
}

// Paths follow the interface's MTU; a packet beyond it is never fragmented but reported.
func TestMTU(t *testing.T) {
	for _, c := range []struct {
		listen, ip  string
		first, then uint16
	}{
		{"udp://127.0.0.1:0", "127.0.0.1", 1500 - 28, 1300 - 28},
		{"udp://:0", "127.0.0.1", 1500 - 28, 1300 - 28},
		{"udp://[::1]:0", "::1", 1500 - 48, 1300 - 48},
	} {
		t.Run(c.listen+" to "+c.ip, func(t *testing.T) {
			inNamespace(t, 1500, func(lo netlink.Link) {
				server, _ := listen(t, c.listen)
				client, _ := dial(t, netip.AddrPortFrom(netip.MustParseAddr(c.ip), server.port))
				path := resolve(t, client, netip.AddrPortFrom(netip.MustParseAddr(c.ip), server.port))
				if path.MTU != c.first {
					t.Errorf("resolved MTU %d, want %d", path.MTU, c.first)
				}
				sendTo(t, client, path, int(path.MTU))
				f := awaitPacket(t, server)
				if f.Path.MTU != c.first || len(f.Data) != int(c.first) {
					t.Errorf("received %d bytes on a path of %d, want %d", len(f.Data), f.Path.MTU, c.first)
				}
				server.Free([]transport.Frame{f})

				if err := netlink.LinkSetMTU(lo, 1300); err != nil {
					t.Fatal(err)
				}
				sendTo(t, client, path, int(path.MTU))
				e := awaitEvent(t, client)
				if e.Kind != transport.MTUChanged || e.Path.MTU != c.then || e.Path.Remote() != path.Remote() || !errors.Is(e.Err, unix.EMSGSIZE) {
					t.Errorf("event %+v, want MTUChanged to %d", e, c.then)
				}
				if s := client.Stats(); s.Refused != 1 {
					t.Errorf("%d packets refused, want 1", s.Refused)
				}
				if p := resolve(t, client, path.Remote()); p.MTU != c.then {
					t.Errorf("resolved MTU %d, want %d", p.MTU, c.then)
				}
				leaveError(t, client, path)
			})
		})
	}
}

// leaveError puts a message into the error queue that no failing call tells of. It ends a Wait; the next ones must not return for it again.
func leaveError(t *testing.T, l *Link, path transport.Path) {
	t.Helper()
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(path.RemotePort), Addr: [4]byte(path.RemoteIP[12:])}
	if l.v6 && !sock.Is4(&path.RemoteIP) {
		sa = &unix.SockaddrInet6{Port: int(path.RemotePort), Addr: path.RemoteIP}
	}
	if err := unix.Sendto(l.fd, make([]byte, 2000), unix.MSG_DONTWAIT, sa); !errors.Is(err, unix.EMSGSIZE) {
		t.Fatalf("sendto of 2000 bytes: %v, want EMSGSIZE", err)
	}
	if err := l.Wait(transport.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := l.Recv(make([]transport.Frame, 1)); n != 0 || err != nil {
		t.Errorf("Recv = %d, %v", n, err)
	}
	fds := []unix.PollFd{{Fd: int32(l.fd)}}
	if n, err := unix.Poll(fds, 0); n != 0 || err != nil {
		t.Errorf("after Recv poll says %d, %v, %#x; want nothing", n, err, fds[0].Revents)
	}
}

// Without a route Resolve and Dial fail at once; a route that went away becomes an event.
func TestNoRoute(t *testing.T) {
	inNamespace(t, 1500, func(lo netlink.Link) {
		l, _ := listen(t, "udp://:0")
		far := netip.MustParseAddrPort("198.18.7.7:9000")
		if _, err := l.Resolve(t.Context(), netip.AddrPort{}, far); !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("Resolve: %v, want ENETUNREACH", err)
		}
		if _, err := (Driver{}).Dial(t.Context(), transport.Target{Scheme: "udp"}, far); !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("Dial: %v, want ENETUNREACH", err)
		}
		sendTo(t, l, transport.Path{RemoteIP: far.Addr().As16(), RemotePort: far.Port(), LocalPort: l.port, MTU: 1000}, 10)
		if e := awaitEvent(t, l); e.Kind != transport.Unreachable || e.Path.Remote() != far || !errors.Is(e.Err, unix.ENETUNREACH) {
			t.Errorf("event %+v, want ENETUNREACH", e)
		}
	})
}

// Link-local addresses work with their zone, in both directions, from bound and unbound sockets.
func TestLinkLocal(t *testing.T) {
	inNamespace(t, 1500, func(lo netlink.Link) {
		addr, err := netlink.ParseAddr("fe80::1/64")
		if err != nil {
			t.Fatal(err)
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(lo, addr); err != nil {
			t.Fatal(err)
		}
		for _, at := range []string{"udp://[fe80::1%25lo]:0", "udp://:0"} {
			server, _ := listen(t, at)
			remote := netip.AddrPortFrom(netip.MustParseAddr("fe80::1%lo"), server.port)
			client, _ := dial(t, remote)
			path := resolve(t, client, remote)
			f := deliver(t, client, path, 33, server)
			if f.Path.Remote().Addr() != remote.Addr().WithZone("") {
				t.Errorf("%s: received from %v", at, f.Path.Remote())
			}
			sendTo(t, server, f.Path, 44)
			server.Free([]transport.Frame{f})
			answer := awaitPacket(t, client)
			if len(answer.Data) != 44 || answer.Path.Opaque != path.Opaque {
				t.Errorf("%s: the answer has %d bytes and Opaque %x, the request's was %x", at, len(answer.Data), answer.Path.Opaque, path.Opaque)
			}
			client.Free([]transport.Frame{answer})
		}
		_, err = Driver{}.Dial(t.Context(), transport.Target{}, netip.MustParseAddrPort("[fe80::1]:9"))
		if !errors.Is(err, unix.EINVAL) {
			t.Errorf("Dial of a link-local address without a zone: %v, want EINVAL", err)
		}
	})
}

// Each destination gets the source address and MTU of its own route, whatever was asked before, from any number of goroutines.
func TestResolveFollowsRoutes(t *testing.T) {
	inNamespace(t, 1500, func(lo netlink.Link) {
		addr, err := netlink.ParseAddr("198.18.0.1/32")
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.AddrAdd(lo, addr); err != nil {
			t.Fatal(err)
		}
		l, _ := listen(t, "udp://:0")
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 50 {
					for ip, mtu := range map[string]uint16{"127.0.0.1": 1472, "198.18.0.1": 1472, "::1": 1452} {
						p, err := l.Resolve(t.Context(), netip.AddrPortFrom(netip.IPv6Unspecified(), l.port), netip.AddrPortFrom(netip.MustParseAddr(ip), 9))
						if err != nil || p.Local().Addr().String() != ip || p.MTU != mtu {
							t.Errorf("Resolve(%s) from %v, MTU %d, %v", ip, p.Local(), p.MTU, err)
							return
						}
					}
				}
			})
		}
		wg.Wait()
	})
}
