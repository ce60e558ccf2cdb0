package udp

import (
	"net"
	"net/netip"
	"testing"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/linktest"
)

// listen opens a Link on an address such as udp://127.0.0.1:0 and closes it when the test ends, unless the test has.
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

func dial(t testing.TB, remote netip.AddrPort) (*Link, netip.AddrPort) {
	t.Helper()
	p, err := Driver{}.Dial(t.Context(), transport.Target{Scheme: "udp"}, remote)
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

func resolve(t testing.TB, l *Link, remote netip.AddrPort) transport.Path {
	t.Helper()
	path, err := l.Resolve(t.Context(), netip.AddrPort{}, remote)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConformance(t *testing.T) {
	at := func(ip string, local netip.AddrPort) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr(ip), local.Port())
	}
	for name, c := range map[string]struct{ listenA, listenB, ip, unreachable string }{
		"IPv4":       {"udp://127.0.0.1:0", "udp://127.0.0.1:0", "127.0.0.1", "[::1]:9"},
		"IPv6":       {"udp://[::1]:0", "udp://[::1]:0", "::1", "127.0.0.1:9"},
		"AllOverV4":  {"udp://:0?frames=256", "udp://0.0.0.0:0", "127.0.0.1", "127.0.0.1:0"},
		"AllOverV6":  {"udp://[::]:0", "udp://:0?frames=64", "::1", "0.0.0.0:9"},
		"V4ToAll":    {"udp://127.0.0.1:0?frames=16", "udp://:0", "127.0.0.1", "224.0.0.1:9"},
		"V6ToDevice": {"udp://[::1]:0?busypoll=0", "udp://lo:0", "::1", "[::ffff:127.0.0.1]:9"},
	} {
		t.Run(name, func(t *testing.T) {
			linktest.Run(t, func(t *testing.T) linktest.Pair {
				a, localA := openOnly(t, c.listenA)
				b, localB := openOnly(t, c.listenB)
				p := linktest.Pair{A: a, B: b, AddrA: at(c.ip, localA), AddrB: at(c.ip, localB), Unreachable: netip.MustParseAddrPort(c.unreachable)}
				stranger, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(p.AddrB))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { stranger.Close() })
				p.Inject = func(b []byte) {
					if _, err := stranger.Write(b); err != nil {
						t.Errorf("inject: %v", err)
					}
				}
				return p
			})
		})
	}
}

// openOnly is listen for a Link that somebody else closes.
func openOnly(t *testing.T, address string) (transport.Link, netip.AddrPort) {
	target, err := transport.ParseTarget(address)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Driver{}.Listen(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	return p.Links()[0], p.Local()
}
