//go:build rdma

package rdma

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	verbs "github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
	"github.com/fastrpc/fastrpc/transport"
)

// A port of InfiniBand is found by the GID that rdma_cm tells, which is no IP address; one of RoCE by its address, and version 2 is preferred.
func TestRowOf(t *testing.T) {
	gid := func(s string) verbs.GID { return netip.MustParseAddr(s).As16() }
	ib := verbs.Port{Device: "ib", Number: 2, GIDs: []verbs.GIDEntry{
		{GID: gid("fe80::2:c903:0:1"), Index: 0, Type: verbs.GIDInfiniBand}, {GID: gid("fec0::2:c903:0:1"), Index: 1, Type: verbs.GIDInfiniBand},
	}}
	roce := verbs.Port{Device: "roce", Number: 1, Ethernet: true, GIDs: []verbs.GIDEntry{
		{GID: gid("fe80::1"), Index: 1, Type: verbs.GIDRoCE2}, {GID: gid("::ffff:192.0.2.1"), Index: 2, Type: verbs.GIDRoCE1},
		{GID: gid("::ffff:192.0.2.1"), Index: 3, Type: verbs.GIDRoCE2}, {GID: gid("::ffff:192.0.2.2"), Index: 5, Type: verbs.GIDRoCE2},
	}}
	for _, c := range []struct {
		port        *verbs.Port
		own         string
		index, want int
	}{
		{&ib, "fe80::2:c903:0:1", -1, 0}, {&ib, "fe80::2:c903:0:1", 1, 1}, {&ib, "fe80::2:c903:0:1", 2, -1}, {&ib, "fe80::9", -1, -1},
		{&roce, "::ffff:192.0.2.1", -1, 3}, {&roce, "::ffff:192.0.2.1", 2, 2}, {&roce, "::ffff:192.0.2.1", 5, -1}, {&roce, "::ffff:192.0.2.3", -1, -1},
	} {
		row, err := rowOf(c.port, gid(c.own), c.index)
		if c.want < 0 && !errors.Is(err, verbs.ErrNoGID) || c.want >= 0 && (err != nil || row.Index != c.want) {
			t.Errorf("%s, %s, index %d: %v, %v, want %d", c.port.Device, c.own, c.index, row, err, c.want)
		}
	}
}

// The host of an address to listen at may be an IP address, the device, its interface, or left out; each means the same port.
func TestListenHosts(t *testing.T) {
	c, err := verbs.Open(rxetest.Device)
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Port(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	row, err := p.GID(-1, netip.MustParseAddr(rxetest.Addr))
	if err != nil {
		t.Fatal(err)
	}
	ifi, err := netlink.LinkByIndex(row.Iface)
	if err != nil {
		t.Fatal(err)
	}
	right := fmt.Sprintf("?gid=%d", row.Index)
	for _, qp := range []string{"ud", "rc"} {
		for _, at := range []string{rxetest.Addr, "[::ffff:" + rxetest.Addr + "]", rxetest.Device, ifi.Attrs().Name, "", rxetest.Addr + right, rxetest.Device + right} {
			t.Run(qp+" "+at, func(t *testing.T) {
				host, query, _ := strings.Cut(at, "?")
				p, err := Driver{}.Listen(t.Context(), target(t, "rdma://"+host+":0?qp="+qp+"&"+query))
				if err != nil {
					t.Fatal(err)
				}
				closeAtEnd(t, p)
				if got := p.Local(); got.Addr().String() != rxetest.Addr || got.Port() == 0 {
					t.Errorf("it listens at %v", got)
				}
			})
		}
		for at, says := range map[string]string{
			"127.0.0.1": "not an address of one device", "0.0.0.0": "not an address of one device", "192.0.2.9": "nor its name", "[fe80::9]": "of which interface",
			"lo": "nor its name", "nothing": "nor its name", rxetest.Addr + "?gid=200": "index 200", rxetest.Device + "?gid=200": "index 200",
		} {
			host, query, _ := strings.Cut(at, "?")
			if p, err := (Driver{}).Listen(t.Context(), target(t, "rdma://"+host+":0?qp="+qp+"&"+query)); err == nil {
				closeAtEnd(t, p)
				t.Errorf("%s: it listens at %v", at, p.Local())
			} else if !strings.Contains(err.Error(), says) || !errors.Is(err, transport.ErrNotFound) && !errors.Is(err, transport.ErrInvalid) {
				t.Errorf("%s: %v, want an error that says %q", at, err, says)
			}
		}
	}
}
