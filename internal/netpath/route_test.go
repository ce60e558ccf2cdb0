package netpath_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
	"github.com/fastrpc/fastrpc/internal/netpath"
)

// A site is a lab with the client's tables open.
type site struct {
	*lab.Lab
	*testing.T
	tables *netpath.Tables
}

func newSite(t *testing.T) *site {
	s := &site{Lab: labtest.New(t, lab.Config{}), T: t}
	s.do(s.Client(), func() (err error) { s.tables, err = netpath.Open(); return })
	t.Cleanup(func() { s.tables.Close() })
	return s
}

func (s *site) do(h lab.Host, f func() error) {
	s.Helper()
	if err := h.Do(f); err != nil {
		s.Fatal(err)
	}
}

func (s *site) lookup(dst string) (netpath.Route, error) {
	s.Helper()
	return s.tables.Lookup(s.Context(), netip.MustParseAddr(dst), netip.Addr{})
}

// wants is what a lookup of dst over veth0 gives, when nothing special is to be seen.
func (s *site) wants(dst, src string) netpath.Route {
	return netpath.Route{
		Ifindex: s.Client().Ifindex, IfName: "veth0", LowerIfindex: s.Client().Ifindex, LowerName: "veth0", MTU: 1500,
		Src: netip.MustParseAddr(src), NextHop: netip.MustParseAddr(dst),
		SrcMAC: [6]byte(s.Client().MAC), DstMAC: [6]byte(s.Server().MAC),
	}
}

func (s *site) check(dst string, want netpath.Route) {
	s.Helper()
	got, err := s.lookup(dst)
	if err != nil || got != want {
		s.Errorf("%s: %v\ngot  %+v\nwant %+v", dst, err, got, want)
	}
}

func prefix(s string) *net.IPNet {
	p := netip.MustParsePrefix(s)
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func addAddress(link netlink.Link, p string) error {
	a := &netlink.Addr{IPNet: prefix(p)}
	if netip.MustParsePrefix(p).Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return netlink.AddrAdd(link, a)
}

func addRoutes(routes ...*netlink.Route) error {
	for _, r := range routes {
		if err := netlink.RouteAdd(r); err != nil {
			return err
		}
	}
	return nil
}

// hurry makes the kernel of this namespace give up on a neighbour in milliseconds.
func hurry() error {
	for _, f := range []string{"ipv4", "ipv6"} {
		dir := "/proc/sys/net/" + f + "/neigh/veth0/"
		if err := os.WriteFile(dir+"retrans_time_ms", []byte("10"), 0); err != nil {
			return err
		}
	}
	return nil
}

func TestLookupConnected(t *testing.T) {
	s := newSite(t)
	s.check("198.18.0.2", s.wants("198.18.0.2", "198.18.0.1"))
	s.check("2001:2::2", s.wants("2001:2::2", "2001:2::1"))
	s.check("::ffff:198.18.0.2", s.wants("198.18.0.2", "198.18.0.1"))
	s.check("fe80::2%veth0", s.wants("fe80::2", "fe80::1"))
	if _, err := s.lookup("fe80::2"); !errors.Is(err, netpath.ErrNoRoute) || !strings.Contains(err.Error(), "%eth0") {
		t.Errorf("link-local without zone: %v", err)
	}
	if _, err := s.lookup("fe80::2%nowhere"); !errors.Is(err, netpath.ErrNoRoute) {
		t.Errorf("unknown zone: %v", err)
	}
	s.do(s.Client(), func() error { // in the thread's namespace
		got, err := netpath.Lookup(t.Context(), s.Server().IPv4, netip.Addr{})
		if want := s.wants("198.18.0.2", "198.18.0.1"); got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		return err
	})
}

func TestLookupThroughGateway(t *testing.T) {
	s := newSite(t)
	s.do(s.Client(), func() error {
		i := s.Client().Ifindex
		return addRoutes(
			&netlink.Route{LinkIndex: i, Dst: prefix("198.19.0.0/16"), Gw: s.Server().IPv4.AsSlice(), MTU: 1400},
			&netlink.Route{LinkIndex: i, Dst: prefix("2001:2:0:9::/64"), Gw: s.Server().IPv6.AsSlice()},
			&netlink.Route{LinkIndex: i, Dst: prefix("198.18.9.0/24"), Via: &netlink.Via{
				AddrFamily: unix.AF_INET6, Addr: s.Server().IPv6.AsSlice(),
			}},
		)
	})
	want := s.wants("198.18.0.2", "198.18.0.1")
	want.MTU = 1400
	s.check("198.19.1.2", want)
	s.check("2001:2:0:9::9", s.wants("2001:2::2", "2001:2::1"))
	s.check("198.18.9.9", s.wants("2001:2::2", "198.18.0.1")) // IPv4 by way of an IPv6 neighbour
}

func TestLookupVLAN(t *testing.T) {
	s := newSite(t)
	upper := func(h lab.Host, address string) (index int) {
		s.do(h, func() error {
			attrs := netlink.NewLinkAttrs()
			attrs.Name, attrs.ParentIndex, attrs.MTU = "veth0.7", h.Ifindex, 1496
			vlan := &netlink.Vlan{LinkAttrs: attrs, VlanId: 7, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
			if err := netlink.LinkAdd(vlan); err != nil {
				if errors.Is(err, unix.EOPNOTSUPP) {
					t.Skip("this kernel has no 802.1Q VLANs: ", err)
				}
				return err
			}
			if err := netlink.LinkSetUp(vlan); err != nil {
				return err
			}
			index = vlan.Index
			return addAddress(vlan, address)
		})
		return index
	}
	index := upper(s.Client(), "198.19.7.1/24")
	upper(s.Server(), "198.19.7.2/24")
	want := s.wants("198.19.7.2", "198.19.7.1")
	want.Ifindex, want.IfName, want.VLAN, want.MTU = index, "veth0.7", 7, 1496
	s.check("198.19.7.2", want)
}

func TestLookupLocal(t *testing.T) {
	s := newSite(t)
	for _, dst := range []string{"198.18.0.1", "127.0.0.1", "127.9.9.9", "::1", "2001:2::1"} {
		r, err := s.lookup(dst)
		if err != nil || !r.Local || r.DstMAC != [6]byte{} || r.MTU == 0 || r.IfName == "" {
			t.Errorf("%s: %+v, %v", dst, r, err)
		}
	}
}

func TestLookupRefuses(t *testing.T) {
	s := newSite(t)
	s.do(s.Client(), func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return addRoutes(
			&netlink.Route{Dst: prefix("198.19.1.0/24"), Type: unix.RTN_UNREACHABLE},
			&netlink.Route{Dst: prefix("198.19.2.0/24"), Type: unix.RTN_BLACKHOLE},
			&netlink.Route{Dst: prefix("198.19.3.0/24"), Type: unix.RTN_PROHIBIT},
			&netlink.Route{Dst: prefix("2001:2:0:1::/64"), Type: unix.RTN_UNREACHABLE, LinkIndex: lo.Attrs().Index},
			&netlink.Route{Dst: prefix("2001:2:0:2::/64"), Type: unix.RTN_BLACKHOLE, LinkIndex: lo.Attrs().Index},
			&netlink.Route{Dst: prefix("198.19.9.0/24"), LinkIndex: lo.Attrs().Index},
		)
	})
	for _, c := range []struct {
		dst, src string
		want     error
	}{
		{"203.0.113.1", "", netpath.ErrNoRoute},
		{"2001:db8::1", "", netpath.ErrNoRoute},
		{"198.19.1.1", "", netpath.ErrNoRoute},
		{"198.19.2.1", "", netpath.ErrNoRoute},
		{"198.19.3.1", "", netpath.ErrNoRoute},
		{"2001:2:0:1::1", "", netpath.ErrNoRoute},
		{"2001:2:0:2::1", "", netpath.ErrNoRoute},
		{"198.19.9.1", "", netpath.ErrNotEthernet},
		{"198.18.0.2", "198.18.0.2", netpath.ErrNoAddress},
		{"198.18.0.2", "2001:2::1", netpath.ErrNoAddress},
		{"2001:2::2", "2001:2::2", netpath.ErrNoAddress},
		{"224.0.0.1", "", netpath.ErrNotUnicast},
		{"ff02::1", "", netpath.ErrNotUnicast},
		{"0.0.0.0", "", netpath.ErrNotUnicast},
		{"255.255.255.255", "", netpath.ErrNotUnicast},
		{"198.18.0.255", "", netpath.ErrNotUnicast},
		{"", "", netpath.ErrNotUnicast},
	} {
		dst, _ := netip.ParseAddr(c.dst)
		src, _ := netip.ParseAddr(c.src)
		if r, err := s.tables.Lookup(t.Context(), dst, src); !errors.Is(err, c.want) || r != (netpath.Route{}) {
			t.Errorf("%s from %q: %+v, %v, want %v", c.dst, c.src, r, err, c.want)
		}
	}
}

func TestLookupFromGivenSource(t *testing.T) {
	s := newSite(t)
	s.do(s.Client(), func() error {
		link, err := netlink.LinkByName("veth0")
		if err != nil {
			return err
		}
		return errors.Join(addAddress(link, "198.18.0.5/24"), addAddress(link, "2001:2::5/64"))
	})
	for dst, src := range map[string]string{"198.18.0.2": "198.18.0.5", "2001:2::2": "2001:2::5"} {
		got, err := s.tables.Lookup(t.Context(), netip.MustParseAddr(dst), netip.MustParseAddr(src))
		if want := s.wants(dst, src); err != nil || got != want {
			t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
		}
	}
}

func TestNeighbourThatDoesNotAnswer(t *testing.T) {
	s := newSite(t)
	for dst, protocol := range map[string]string{"198.18.0.99": "(ARP)", "2001:2::99": "(neighbour discovery)"} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.tables.Lookup(ctx, netip.MustParseAddr(dst), netip.Addr{})
		if !errors.Is(err, netpath.ErrNoNeighbour) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s, cancelled: %v", dst, err)
		}
		// Only now: the kernel resolves already, and the next lookup joins in.
		s.do(s.Client(), hurry)
		_, err = s.lookup(dst) // no deadline: the kernel's verdict ends it
		if !errors.Is(err, netpath.ErrNoNeighbour) || !strings.Contains(err.Error(), dst+" on veth0 "+protocol) {
			t.Errorf("%s: %v", dst, err)
		}
	}
	// The verdict holds for that time only.
	s.do(s.Server(), func() error {
		link, err := netlink.LinkByName("veth0")
		if err != nil {
			return err
		}
		return errors.Join(addAddress(link, "198.18.0.99/24"), addAddress(link, "2001:2::99/64"))
	})
	s.check("198.18.0.99", s.wants("198.18.0.99", "198.18.0.1"))
	s.check("2001:2::99", s.wants("2001:2::99", "2001:2::1"))
}

func TestNeighbourStates(t *testing.T) {
	s := newSite(t)
	entry := func(state int) *netlink.Neigh {
		return &netlink.Neigh{
			LinkIndex: s.Client().Ifindex, Family: unix.AF_INET, State: state,
			IP: net.IPv4(198, 18, 0, 77), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 77},
		}
	}
	want := s.wants("198.18.0.77", "198.18.0.1") // an address that nobody has
	want.DstMAC = [6]byte{2, 0, 0, 0, 0, 77}
	for _, c := range []struct{ before, after int }{
		{unix.NUD_STALE, unix.NUD_DELAY}, // the kernel was asked to confirm it
		{unix.NUD_PERMANENT, unix.NUD_PERMANENT},
		{unix.NUD_REACHABLE, unix.NUD_REACHABLE},
	} {
		s.do(s.Client(), func() error { return netlink.NeighSet(entry(c.before)) })
		s.check("198.18.0.77", want)
		s.do(s.Client(), func() error {
			entries, err := netlink.NeighList(s.Client().Ifindex, unix.AF_INET)
			for _, e := range entries {
				if e.IP.Equal(net.IPv4(198, 18, 0, 77)) && e.State != c.after {
					t.Errorf("state %#x became %#x, want %#x", c.before, e.State, c.after)
				}
			}
			return err
		})
	}
}
