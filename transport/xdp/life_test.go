package xdp_test

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/xdp"
)

// Sources outside of the prefixes are not heard, neither on the queue nor through the kernel's socket.
func TestPrefixes(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 1})
	four, six := addrPort(cable.Server().IPv4, 9000), addrPort(cable.Server().IPv6, 9000)
	c4 := listenKernel(t, cable.Client(), addrPort(cable.Client().IPv4, 9001))
	c6 := listenKernel(t, cable.Client(), addrPort(cable.Client().IPv6, 9001))
	for prefixes, denied := range map[string]bool{"198.18.0.0/24,2001:2::/64": false, "192.0.2.0/24,2001:2::1": true} {
		p := listen2(t, cable.Server(), "xdp://veth0:9000?prefixes="+prefixes)
		l := p.Links()[0]
		_, err := c4.WriteToUDPAddrPort([]byte("four"), four)
		must(t, err)
		if !denied {
			receive(t, l)
		}
		_, err = c6.WriteToUDPAddrPort([]byte("six"), six)
		must(t, err)
		if _, got := receive(t, l); string(got) != "six" {
			t.Errorf("received %q", got)
		}
		for until := transport.Now().Add(patience); denied && stats(l).Denied == 0; {
			var fs [1]transport.Frame
			if n, err := l.Recv(fs[:]); n != 0 || err != nil || transport.Now() > until {
				t.Fatalf("prefixes=%s: received %d, %v: %+v", prefixes, n, err, stats(l))
			}
		}
		if s := stats(l); denied != (s.Denied == 1) || denied != (s.Steering.Denied == 1) || s.ViaKernel != 0 {
			t.Errorf("prefixes=%s: %+v", prefixes, s)
		}
		closePort(t, p)
	}
}

// The interface goes away in the middle: an event, errors, no panic, and everything can be closed.
func TestInterfaceDeleted(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 2})
	remote := addrPort(cable.Server().IPv4, 9000)
	p, err := tryDial(t, cable.Client(), remote, "")
	must(t, err)
	l := p.Links()[0]
	path := resolve(t, l, p.Local(), remote)
	send(t, l, path, []byte("before"))

	// The last socket that is bound to it keeps the kernel from forgetting a deleted interface, so a hang here is one of the bugs looked for.
	must(t, cable.Client().Do(func() error {
		link, err := netlink.LinkByIndex(cable.Client().Ifindex)
		must(t, err)
		return netlink.LinkDel(link)
	}))
	for !errors.Is(event(t, l, transport.LinkDown).Err, xdp.ErrInterfaceGone) { // the first says that it goes down
	}
	var f transport.Frame
	ok := l.Alloc(&f)
	if !ok {
		t.Fatal("no frame")
	}
	f.Path, f.Data = path, f.Data[:1]
	if n, err := l.Send([]transport.Frame{f}); n != 0 || !errors.Is(err, xdp.ErrInterfaceGone) {
		t.Errorf("Send = %d, %v", n, err)
	}
	if _, err := l.Recv(make([]transport.Frame, 1)); !errors.Is(err, xdp.ErrInterfaceGone) {
		t.Errorf("Recv: %v", err)
	}
	if _, err := l.Resolve(t.Context(), p.Local(), remote); !errors.Is(err, xdp.ErrInterfaceGone) {
		t.Errorf("Resolve: %v", err)
	}
	_ = l.Flush()
	l.Free([]transport.Frame{f})
	closePort(t, p)
}

// Carrier and MTU are told as events.
func TestLinkEvents(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 1})
	l := listen(t, cable.Server(), "xdp://veth0:9000").Links()[0]
	change := func(h lab.Host, f func(netlink.Link) error) {
		t.Helper()
		must(t, h.Do(func() error {
			link, err := netlink.LinkByIndex(h.Ifindex)
			must(t, err)
			return f(link)
		}))
	}
	change(cable.Client(), netlink.LinkSetDown) // which takes the carrier away here
	event(t, l, transport.LinkDown)
	change(cable.Client(), netlink.LinkSetUp)
	event(t, l, transport.LinkUp)
	change(cable.Server(), func(link netlink.Link) error { return netlink.LinkSetMTU(link, 1400) })
	if e := event(t, l, transport.MTUChanged); e.Path != (transport.Path{MTU: 1400 - 48}) {
		t.Errorf("%+v", e)
	}
}

// A resolved Path stays right when the peer's MAC changes.
func TestNeighbourIsFollowed(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 1})
	remote := addrPort(cable.Server().IPv4, 9000)
	p := dial(t, cable.Client(), remote, "")
	l := p.Links()[0]
	path := resolve(t, l, p.Local(), remote)
	c := listenKernel(t, cable.Server(), remote)
	send(t, l, path, []byte("to the old one"))
	readFrom(t, c)

	mac := []byte{0x02, 0, 0, 0, 0x12, 0x34}
	must(t, cable.Server().Do(func() error {
		link, err := netlink.LinkByIndex(cable.Server().Ifindex)
		must(t, err)
		return netlink.LinkSetHardwareAddr(link, mac)
	}))
	must(t, cable.Client().Do(func() error { // as when the peer announces it
		return netlink.NeighSet(&netlink.Neigh{
			LinkIndex: cable.Client().Ifindex, IP: remote.Addr().AsSlice(), HardwareAddr: mac, State: netlink.NUD_REACHABLE,
		})
	}))
	want := []byte("to the new one")
	until := transport.Now().Add(patience)
	for got := false; !got; { // the change arrives when it arrives
		send(t, l, path, want)
		must(t, c.SetReadDeadline(deadline(20)))
		buf := make([]byte, 100)
		n, _, err := c.ReadFromUDPAddrPort(buf)
		got = err == nil && bytes.Equal(buf[:n], want)
		if transport.Now() > until {
			t.Fatal("packets still go to the old MAC")
		}
	}
}

// Opening and closing leaves no descriptor and no mapping behind.
func TestNothingLeaks(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 2})
	remote := addrPort(cable.Server().IPv4, 9000)
	cycle := func() {
		p := listen2(t, cable.Client(), "xdp://veth0:9000?frames=64")
		q, err := tryDial(t, cable.Client(), remote, "")
		must(t, err)
		resolve(t, q.Links()[0], q.Local(), remote)
		closePort(t, p)
		closePort(t, q)
		if p, err := tryListen(t, cable.Client(), "xdp://veth0:9000?queues=7"); err == nil {
			t.Error("there is no queue 7")
			closePort(t, p)
		}
	}
	cycle()
	fds, maps, goroutines := descriptors(t), mappings(t), runtime.NumGoroutine()
	for range 50 {
		cycle()
	}
	if now := descriptors(t); now > fds {
		t.Errorf("%d descriptors before, %d after", fds, now)
	}
	for until := transport.Now().Add(patience); runtime.NumGoroutine() > goroutines; runtime.Gosched() { // the lab's own may still be ending
		if transport.Now() > until {
			t.Fatalf("%d goroutines before, %d after", goroutines, runtime.NumGoroutine())
		}
	}
	if now := mappings(t); now > maps {
		t.Errorf("%d mappings of sockets before, %d after", maps, now)
	}
}

func descriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(list)
}

// mappings counts what AF_XDP has mapped; the heap's own come and go.
func mappings(t testing.TB) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	must(t, err)
	return strings.Count(string(maps), "socket:")
}
