//go:build rdma

package rdma

import (
	"net/netip"
	"testing"

	verbs "github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/linktest"
)

func TestMain(m *testing.M) { rxetest.Main(m) }

// closeAtEnd closes a port and its Link when the test ends; the Link may be closed then.
func closeAtEnd(t *testing.T, p transport.Port) {
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if err := p.Links()[0].Close(); err != nil && err != transport.ErrClosed {
			t.Error(err)
		}
	})
}

func target(t *testing.T, address string) transport.Target {
	t.Helper()
	target, err := transport.ParseTarget(address)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func listen(t *testing.T, settings string) *port {
	t.Helper()
	p, err := Driver{}.Listen(t.Context(), target(t, "rdma://"+rxetest.Addr+":0"+settings))
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, p)
	return p.(*port)
}

func dial(t *testing.T, to *port, settings string) *port {
	t.Helper()
	p, err := Driver{}.Dial(t.Context(), target(t, "rdma://host"+settings), to.Local())
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, p)
	return p.(*port)
}

func TestConformanceUD(t *testing.T) {
	for name, settings := range map[string]string{"Defaults": "", "FewFrames": "?frames=64"} {
		t.Run(name, func(t *testing.T) {
			linktest.Run(t, func(t *testing.T) linktest.Pair {
				a, b := listen(t, settings), listen(t, settings)
				return linktest.Pair{A: a.link, B: b.link, AddrA: a.Local(), AddrB: b.Local(), Unreachable: netip.MustParseAddrPort(rxetest.Addr + ":1")}
			})
		})
	}
}

func TestConformanceRC(t *testing.T) {
	for name, settings := range map[string]string{"Frames": "?qp=rc&frames=256", "FewFrames": "?qp=rc&frames=64"} {
		t.Run(name, func(t *testing.T) {
			linktest.Run(t, func(t *testing.T) linktest.Pair { return pairRC(t, listen(t, settings), settings) })
		})
	}
}

func pairRC(t *testing.T, b *port, settings string) linktest.Pair {
	a := dial(t, b, settings)
	return linktest.Pair{A: a.link, B: b.link, AddrA: a.Local(), AddrB: b.Local(), Unreachable: netip.MustParseAddrPort(rxetest.Addr + ":1")}
}

// Where a device has no shared receive queues, each queue pair has receives of its own.
func TestConformanceRCWithoutSharedReceives(t *testing.T) {
	linktest.Run(t, func(t *testing.T) linktest.Pair {
		a, b := openOwn(t, false), openOwn(t, true)
		return linktest.Pair{A: a.link, B: b.link, AddrA: a.Local(), AddrB: b.Local(), Unreachable: netip.MustParseAddrPort(rxetest.Addr + ":1")}
	})
}

func openOwn(t *testing.T, listening bool) *port {
	t.Helper()
	s, err := parseSettings(target(t, "rdma://host?qp=rc&frames=128").Query)
	if err != nil {
		t.Fatal(err)
	}
	withoutShared = true
	defer func() { withoutShared = false }()
	var p *port
	if listening {
		p, err = listenOn(rxetest.Addr, 0, verbs.RC, s)
	} else {
		p, err = dialFrom(t.Context(), verbs.RC, s, netip.MustParseAddrPort(rxetest.Addr+":9"))
	}
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, p)
	return p
}
