package xdp_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
	"github.com/fastrpc/fastrpc/transport/linktest"
)

// Every clause of the Link contract, between the two ends of a cable.
func TestLink(t *testing.T) {
	for _, mtu := range []int{1500, 9000} {
		cable := labtest.New(t, lab.Config{Queues: 1, MTU: mtu})
		for _, mode := range []string{"native", "generic"} {
			for family, ip := range families(cable) {
				t.Run(fmt.Sprintf("%s/%s/MTU %d", mode, family, mtu), func(t *testing.T) {
					query := "?frames=256&mode=" + mode
					linktest.Run(t, func(t *testing.T) linktest.Pair {
						a, b := addrPort(ip.client, 9001), addrPort(ip.server, 9002)
						return linktest.Pair{
							A: listen(t, cable.Client(), "xdp://"+a.String()+query).Links()[0], AddrA: a,
							B: listen(t, cable.Server(), "xdp://"+b.String()+query).Links()[0], AddrB: b,
							Unreachable: netip.MustParseAddrPort("192.0.2.1:9"), // of no network of the lab
						}
					})
				})
			}
		}
	}
}
