package rdma

import (
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"
)

func gid(addr string) GID { return netip.MustParseAddr(addr).As16() }

// table has the rows that a RoCE port of a machine with an IPv4 and an IPv6 address has (drivers/infiniband/core/cache.c), in another order.
var table = []GIDEntry{
	{GID: gid("fe80::1"), Index: 0, Type: GIDRoCE1},
	{GID: gid("fe80::1"), Index: 1, Type: GIDRoCE2},
	{GID: gid("2001:db8::1"), Index: 2, Type: GIDRoCE2},
	{GID: gid("::ffff:192.0.2.7"), Index: 3, Type: GIDRoCE1},
	{GID: gid("::ffff:192.0.2.7"), Index: 4, Type: GIDRoCE2},
	{GID: gid("::ffff:192.0.2.8"), Index: 5, Type: GIDRoCE2},
	{GID: GID{}, Index: 6, Type: GIDRoCE2},
}

func TestChooseGID(t *testing.T) {
	infiniband := []GIDEntry{{GID: gid("fe80::2c9:1"), Index: 0, Type: GIDInfiniBand}}
	for _, c := range []struct {
		what  string
		table []GIDEntry
		peer  string
		want  int // index; -1: none
	}{
		{"any peer: RoCE v2 over IPv4, the lowest index", table, "", 4},
		{"an IPv4 peer", table, "198.51.100.1", 4},
		{"an IPv4 peer in IPv6 clothes", table, "::ffff:198.51.100.1", 4},
		{"an IPv6 peer: global before link-local", table, "2001:db8::2", 2},
		{"an IPv6 peer without a global address here", table[:2], "2001:db8::2", 1},
		{"RoCE v1 where there is nothing better", table[:1], "", 0},
		{"InfiniBand takes any peer", infiniband, "192.0.2.1", 0},
		{"no row", nil, "", -1},
		{"an empty row", table[6:], "", -1},
	} {
		var peer netip.Addr
		if c.peer != "" {
			peer = netip.MustParseAddr(c.peer)
		}
		got, ok := ChooseGID(c.table, peer)
		if ok != (c.want >= 0) || ok && got.Index != c.want {
			t.Errorf("%s: %v, %v, want index %d", c.what, got, ok, c.want)
		}
	}
}

// The user's choice of an index is taken as it is, or refused with what there is.
func TestGIDByOption(t *testing.T) {
	p := Port{Device: "mlx5_0", Number: 1, GIDs: table}
	if e, err := p.GID(3, netip.Addr{}); err != nil || e.Index != 3 {
		t.Errorf("%v, %v", e, err)
	}
	if e, err := p.GID(-1, netip.Addr{}); err != nil || e.Index != 4 {
		t.Errorf("%v, %v", e, err)
	}
	_, err := p.GID(77, netip.Addr{})
	if !errors.Is(err, ErrNoGID) || !strings.Contains(err.Error(), "index 77") || !strings.Contains(err.Error(), "4: 192.0.2.7 (RoCE v2)") {
		t.Error(err)
	}
	p.GIDs = table[:1]
	if _, err = p.GID(-1, netip.Addr{}); err != nil {
		t.Error(err)
	}
	p.GIDs = nil
	if _, err = p.GID(-1, netip.MustParseAddr("192.0.2.1")); !errors.Is(err, ErrNoGID) || !strings.Contains(err.Error(), "192.0.2.1") {
		t.Error(err)
	}
}

// A row is found by its GID, which RoCE has once for each version, and the best of them is taken.
func TestPortRow(t *testing.T) {
	own, other := GID(netip.MustParseAddr("::ffff:192.0.2.7").As16()), GID(netip.MustParseAddr("fe80::7").As16())
	p := Port{Device: "mlx5_0", Number: 1, GIDs: []GIDEntry{
		{GID: other, Index: 0, Type: GIDRoCE2}, {GID: own, Index: 2, Type: GIDRoCE1}, {GID: own, Index: 3, Type: GIDRoCE2},
	}}
	if e, err := p.Row(own); err != nil || e.Index != 3 {
		t.Errorf("%v, %v", e, err)
	}
	if e, err := p.Row(other); err != nil || e.Index != 0 {
		t.Errorf("%v, %v", e, err)
	}
	if _, err := p.Row(GID{15: 1}); !errors.Is(err, ErrNoGID) || !strings.Contains(err.Error(), "no GID ::1") {
		t.Error(err)
	}
}

func TestPortDown(t *testing.T) {
	p := Port{Device: "mlx5_0", Number: 1, State: "down"}
	if err := p.Usable(); !errors.Is(err, ErrNoPort) || !strings.Contains(err.Error(), "down") {
		t.Error(err)
	}
	p.Active = true
	if err := p.Usable(); err != nil {
		t.Error(err)
	}
}

// An error of a verb has its name, the errno, the kind, and the advice.
func TestVerbError(t *testing.T) {
	for _, sign := range []int{1, -1} { // verbs disagree
		err := failedAs(ErrMemlock, "ibv_reg_mr", sign*int(syscall.ENOMEM), "%d bytes", 7)
		if !errors.Is(err, ErrMemlock) || !errors.Is(err, syscall.ENOMEM) || errors.Is(err, ErrLimit) {
			t.Errorf("%#v", err)
		}
		if want := "rdma: ibv_reg_mr: cannot allocate memory: RLIMIT_MEMLOCK is too small: 7 bytes"; err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
	if err := failed("ibv_poll_cq", 0, ""); err.Error() != "rdma: ibv_poll_cq" || errors.Is(err, syscall.Errno(0)) {
		t.Errorf("%q", err)
	}
}

func TestCompletionError(t *testing.T) {
	w := WC{ID: 0x2a, QPN: 17}
	if err := w.Err(); err != nil {
		t.Error(err)
	}
	w.Status, w.Vendor = StatusRemoteAccess, 0x88
	err := w.Err()
	if !errors.Is(err, StatusRemoteAccess) || errors.Is(err, StatusFlushed) {
		t.Error(err)
	}
	const want = "rdma: queue pair 17: work request 0x2a: remote access error (vendor error 0x88): " +
		"the remote key is revoked or of another region, or the range lies outside of the region or its rights"
	if err.Error() != want {
		t.Errorf("%q", err)
	}
	if got := Status(77).String(); got != "work completion status 77" {
		t.Error(got)
	}
	for s := range statuses {
		if statuses[s].name == "" {
			t.Errorf("status %d has no name", s)
		}
	}
}
