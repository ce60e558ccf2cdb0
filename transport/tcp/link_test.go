package tcp

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/linktest"
)

// listen opens a Link on an address such as tcp://127.0.0.1:0 and closes it when the test ends, unless the test has.
func listen(t testing.TB, address string) (*Link, netip.AddrPort) {
	t.Helper()
	target, err := transport.ParseTarget(address)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Driver{}.Listen(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	return closeAtEnd(t, p)
}

func dial(t testing.TB, remote netip.AddrPort, settings string) (*Link, netip.AddrPort) {
	t.Helper()
	target, err := transport.ParseTarget("tcp://host" + settings)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Driver{}.Dial(t.Context(), target, remote)
	if err != nil {
		t.Fatal(err)
	}
	return closeAtEnd(t, p)
}

func closeAtEnd(t testing.TB, p transport.Port) (*Link, netip.AddrPort) {
	l := p.Links()[0].(*Link)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if !l.closed.Load() {
			l.Close()
		}
	})
	return l, p.Local()
}

func TestConformance(t *testing.T) {
	for name, c := range map[string]struct{ listen, ip, dial, unreachable string }{
		"IPv4":      {"tcp://127.0.0.1:0", "127.0.0.1", "", "[::1]:9"},
		"AllOverV6": {"tcp://[::]:0?frames=64", "::1", "?frames=16", "127.0.0.1:9"},
		"Device":    {"tcp://lo:0?busypoll=0", "127.0.0.2", "?frames=256", "224.0.0.1:9"},
	} {
		t.Run(name, func(t *testing.T) {
			linktest.Run(t, func(t *testing.T) linktest.Pair {
				b, localB := listen(t, c.listen)
				addrB := netip.AddrPortFrom(netip.MustParseAddr(c.ip), localB.Port())
				a, addrA := dial(t, addrB, c.dial)
				return linktest.Pair{A: a, B: b, AddrA: addrA, AddrB: addrB, Unreachable: netip.MustParseAddrPort(c.unreachable),
					Inject: func(junk []byte) { inject(t, addrB, junk) }}
			})
		})
	}
}

// The same between two hosts. Their Links are opened inside their network namespaces and used from outside: what a Link opens later belongs
// to its own.
func TestConformanceOverACable(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 1})
	for _, ip := range []netip.Addr{cable.Server().IPv4, cable.Server().IPv6} {
		t.Run(ip.String(), func(t *testing.T) {
			linktest.Run(t, func(t *testing.T) linktest.Pair {
				client, server := overCable(t, cable, ip)
				return linktest.Pair{A: client, B: server, AddrA: client.local, AddrB: server.local,
					Unreachable: netip.MustParseAddrPort("192.0.2.1:9")} // of no network of the lab
			})
		})
	}
}

// A connection over a cable breaks, and the next is opened by a thread that is in neither host's network namespace.
func TestReconnectOverACable(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 1})
	client, server := overCable(t, cable, cable.Server().IPv6)
	path := resolve(t, client, server.local)
	for range 3 {
		send(t, client, path, "hello")
		freeOne(server, awaitPacket(t, server))
		p := awaitEvent(t, server, transport.PeerConnected).Path
		server.lose(server.conns.all[indexOf(server, &p)], unix.ECONNABORTED)
		awaitEvent(t, client, transport.PeerClosed)
	}
}

func overCable(t testing.TB, cable *lab.Lab, ip netip.Addr) (client, server *Link) {
	t.Helper()
	inside := func(h lab.Host, f func()) {
		if err := h.Do(func() error { f(); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	at := netip.AddrPortFrom(ip, 0)
	inside(cable.Server(), func() { server, at = listen(t, "tcp://"+at.String()) })
	inside(cable.Client(), func() { client, _ = dial(t, at, "") })
	return client, server
}

// inject sends bytes over a connection of their own.
func inject(t testing.TB, to netip.AddrPort, junk []byte) {
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
	if err != nil {
		t.Fatalf("inject: %v", err)
	}
	defer c.Close()
	if err := c.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(junk); err != nil {
		t.Logf("inject: %v", err) // the Link may have closed it already
	}
}
