//go:build rdma

package rdma

import (
	"net/netip"
	"testing"

	"github.com/fastrpc/fastrpc/rdma/rxetest"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/linktest"
)

func TestMain(m *testing.M) { rxetest.Main(m) }

func listen(t *testing.T, address string) *port {
	t.Helper()
	target, err := transport.ParseTarget(address)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Driver{}.Listen(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p.(*port)
}

func TestConformance(t *testing.T) {
	for name, settings := range map[string]string{"Defaults": "", "FewFrames": "?frames=64"} {
		t.Run(name, func(t *testing.T) {
			linktest.Run(t, func(t *testing.T) linktest.Pair {
				a, b := listen(t, "rdma://"+rxetest.Addr+":0"+settings), listen(t, "rdma://"+rxetest.Addr+":0"+settings)
				return linktest.Pair{A: a.link, B: b.link, AddrA: a.Local(), AddrB: b.Local(), Unreachable: netip.MustParseAddrPort(rxetest.Addr + ":1")}
			})
		})
	}
}
