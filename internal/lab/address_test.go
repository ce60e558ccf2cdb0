package lab_test

import (
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
)

// An IPv6 address is added in the kernel's own time; Up waits for it. Many labs, since it is mostly there at once.
func TestAddressesReceiveAtOnce(t *testing.T) {
	for range 10 {
		l := labtest.New(t, lab.Config{})
		for _, h := range []lab.Host{l.Client(), l.Server()} {
			if err := h.Do(func() error {
				routes, err := netlink.RouteGet(h.IPv6.AsSlice())
				if err == nil && routes[0].Type != unix.RTN_LOCAL {
					t.Errorf("%s: %+v", h.Namespace, routes[0])
				}
				return err
			}); err != nil {
				t.Error(err)
			}
		}
		if err := l.Down(); err != nil {
			t.Error(err)
		}
	}
}
