package netpath_test

import (
	"errors"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/netpath"
)

// await returns the first Change that want accepts; the test's own time limit ends a wait in vain.
func await(t *testing.T, changes <-chan netpath.Change, want func(netpath.Change) bool) {
	t.Helper()
	for {
		select {
		case c := <-changes:
			if want(c) {
				return
			}
		case <-t.Context().Done():
			t.Fatal("no such change")
		}
	}
}

func TestWatch(t *testing.T) {
	s := newSite(t)
	changes := make(chan netpath.Change, 1000)
	closer, err := s.tables.Watch(func(c netpath.Change) { changes <- c }, s.Client().Ifindex)
	if err != nil {
		t.Fatal(err)
	}
	ip := netip.MustParseAddr("198.18.0.77")
	mac := [6]byte{2, 0, 0, 0, 0, 77}
	neighbour := &netlink.Neigh{
		LinkIndex: s.Client().Ifindex, Family: unix.AF_INET, State: unix.NUD_REACHABLE, IP: ip.AsSlice(), HardwareAddr: mac[:],
	}
	veth := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: s.Client().Ifindex, Name: "veth0"}}
	index := s.Client().Ifindex
	for _, c := range []struct {
		name string
		do   func() error
		want func(netpath.Change) bool
	}{
		{"neighbour", func() error { return netlink.NeighSet(neighbour) },
			func(c netpath.Change) bool {
				return c == netpath.Change{Kind: netpath.NeighbourChanged, Ifindex: index, IP: ip, MAC: mac}
			}},
		{"neighbour removed", func() error { return netlink.NeighDel(neighbour) },
			func(c netpath.Change) bool {
				return c == netpath.Change{Kind: netpath.NeighbourLost, Ifindex: index, IP: ip}
			}},
		{"route", func() error {
			return addRoutes(&netlink.Route{LinkIndex: index, Dst: prefix("198.19.0.0/16")})
		}, func(c netpath.Change) bool { return c.Kind == netpath.RoutesChanged }},
		{"address", func() error { return addAddress(veth, "198.18.0.6/24") },
			func(c netpath.Change) bool { return c.Kind == netpath.AddressesChanged && c.Ifindex == index }},
		{"MTU", func() error { return netlink.LinkSetMTU(veth, 1300) },
			func(c netpath.Change) bool {
				return c == netpath.Change{
					Kind: netpath.LinkChanged, Ifindex: index, Up: true, MTU: 1300, MAC: [6]byte(s.Client().MAC),
				}
			}},
		{"carrier lost", func() error {
			return s.Server().Do(func() error {
				far, err := netlink.LinkByName("veth0")
				if err != nil {
					return err
				}
				return netlink.LinkSetDown(far)
			})
		}, func(c netpath.Change) bool { return c.Kind == netpath.LinkChanged && !c.Up }},
		{"removed", func() error { return netlink.LinkDel(veth) },
			func(c netpath.Change) bool { return c.Kind == netpath.LinkRemoved && c.Ifindex == index }},
	} {
		t.Log(c.name)
		s.do(s.Client(), c.do)
		await(t, changes, c.want)
	}
	if err := errors.Join(closer.Close(), closer.Close()); err != nil {
		t.Error(err)
	}
}

// A watcher of one interface hears nothing of another; one that is closed hears nothing.
func TestWatchFilters(t *testing.T) {
	s := newSite(t)
	all := make(chan netpath.Change, 1000)
	var other, closed int
	for _, w := range []struct {
		f       func(netpath.Change)
		ifindex []int
		close   bool
	}{
		{func(c netpath.Change) { other++ }, []int{s.Client().Ifindex + 100}, false},
		{func(c netpath.Change) { closed++ }, nil, true},
		{func(c netpath.Change) { all <- c }, nil, false},
	} {
		closer, err := s.tables.Watch(w.f, w.ifindex...)
		if err != nil {
			t.Fatal(err)
		}
		if w.close {
			closer.Close()
		}
	}
	s.do(s.Client(), func() error {
		link, err := netlink.LinkByName("veth0")
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetMTU(link, 1300), netlink.LinkSetMTU(link, 1400))
	})
	await(t, all, func(c netpath.Change) bool { return c.MTU == 1400 })
	s.tables.Close() // no call is in progress after that
	if other != 0 || closed != 0 {
		t.Errorf("%d changes of another interface, %d after Close", other, closed)
	}
}

func TestOverrunIsTold(t *testing.T) {
	s := newSite(t)
	held, release, changes := make(chan struct{}), make(chan struct{}), make(chan netpath.Change, 10000)
	first := true
	if _, err := s.tables.Watch(func(c netpath.Change) {
		if first {
			first = false
			close(held)
			<-release
		}
		changes <- c
	}); err != nil {
		t.Fatal(err)
	}
	s.do(s.Client(), func() error {
		for i := range 3000 { // some four times what the socket's buffer takes
			n := &netlink.Neigh{
				LinkIndex: s.Client().Ifindex, Family: unix.AF_INET, State: unix.NUD_PERMANENT,
				IP: net.IPv4(198, 18, 0, 77), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, byte(i >> 8), byte(i)},
			}
			if err := netlink.NeighSet(n); err != nil {
				return err
			}
		}
		return nil
	})
	<-held
	close(release)
	await(t, changes, func(c netpath.Change) bool { return c.Kind == netpath.Overrun })
}

// Close ends what waits, closes every descriptor and ends the goroutine.
func TestCloseReleasesAll(t *testing.T) {
	s := newSite(t)
	var arp int
	s.do(s.Server(), func() (err error) {
		arp, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(bits.ReverseBytes16(unix.ETH_P_ARP)))
		return err
	})
	defer unix.Close(arp)
	before := descriptors(t)
	var tables *netpath.Tables
	s.do(s.Client(), func() (err error) { tables, err = netpath.Open(); return })
	if _, err := tables.Watch(func(netpath.Change) {}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		_, err := tables.Lookup(t.Context(), netip.MustParseAddr("198.18.0.99"), netip.Addr{})
		ended <- err
	}()
	if _, err := unix.Read(arp, make([]byte, 100)); err != nil { // the kernel asks, the lookup waits
		t.Fatal(err)
	}
	if err := tables.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, netpath.ErrClosed) {
		t.Errorf("lookup in progress: %v", err)
	}
	_, watchErr := tables.Watch(func(netpath.Change) {})
	_, lookupErr := tables.Lookup(t.Context(), s.Server().IPv4, netip.Addr{})
	for _, err := range []error{watchErr, lookupErr, tables.Close()} {
		if !errors.Is(err, netpath.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	if err := s.tables.Close(); err != nil {
		t.Error(err)
	}
	stacks := make([]byte, 1<<20)
	for range 1000 { // run has said that it ends; it may not be gone yet
		if !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "(*Tables).run") {
			return
		}
		runtime.Gosched()
	}
	t.Error("the goroutine runs on")
}

func descriptors(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}
