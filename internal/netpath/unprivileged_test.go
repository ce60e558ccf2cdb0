package netpath_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/netpath"
)

// A process without any capability finds neighbours too, and has stale ones confirmed.
func TestLookupUnprivileged(t *testing.T) {
	s := newSite(t)
	s.do(s.Server(), func() error {
		link, err := netlink.LinkByName("veth0")
		if err != nil {
			return err
		}
		return errors.Join(addAddress(link, "198.18.0.50/24"), addAddress(link, "2001:2::50/64"))
	})
	s.do(s.Client(), func() error {
		var have [2]unix.CapUserData // of this thread
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		if err := unix.Capget(&header, &have[0]); err != nil {
			return err
		}
		none := have
		none[0].Effective, none[1].Effective = 0, 0
		if err := unix.Capset(&header, &none[0]); err != nil {
			return err
		}
		defer func() {
			if err := unix.Capset(&header, &have[0]); err != nil {
				t.Error(err)
			}
		}()
		if err := netlink.NeighSet(&netlink.Neigh{LinkIndex: s.Client().Ifindex, Family: unix.AF_INET, State: unix.NUD_NONE, Flags: unix.NTF_USE,
			IP: s.Server().IPv4.AsSlice()}); !errors.Is(err, unix.EPERM) {
			t.Fatalf("asking as the privileged do: %v", err)
		}
		for dst, src := range map[string]string{"198.18.0.50": "198.18.0.1", "2001:2::50": "2001:2::1", "fe80::2%veth0": "fe80::1"} {
			at := netip.MustParseAddr(dst)
			got, err := netpath.Lookup(t.Context(), at, netip.Addr{})
			if want := s.wants(at.WithZone("").String(), src); err != nil || got != want {
				t.Errorf("%s: %v\ngot  %+v\nwant %+v", dst, err, got, want)
			}
		}
		return nil
	})
}
