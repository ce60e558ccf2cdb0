package stamp

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/fastrpc/fastrpc/bpf"
	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
)

// inServer runs f in the server's namespace of a lab, with its interface.
func inServer(t *testing.T, f func(l *lab.Lab, ifi netlink.Link)) {
	l := labtest.New(t, lab.Config{})
	if err := l.Server().Do(func() error {
		ifi, err := netlink.LinkByName(l.Server().Interface)
		if err != nil {
			return err
		}
		f(l, ifi)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// exchange sends datagrams of a size from the client's namespace to a socket of the calling one, which sends each back.
func exchange(t *testing.T, l *lab.Lab, size, n int) {
	t.Helper()
	server, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.Server().IPv4, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var client net.Conn
	if err := l.Client().Do(func() error {
		client, err = net.Dial("udp4", server.LocalAddr().String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	buf := make([]byte, size)
	for range n {
		if _, err := client.Write(buf); err != nil {
			t.Fatal(err)
		}
		_, from, err := server.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := server.WriteToUDPAddrPort(buf, from); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
}

// The kernel stamps what kernel sockets send and receive over one interface: with times of this process's clock, and in turn. What goes over
// others, and the other end's view of the same packets, is not stamped, nor what is too short.
func TestKernelSockets(t *testing.T) {
	inServer(t, func(l *lab.Lab, ifi netlink.Link) {
		const size, n = 100, 5
		s := New(100, size)
		defer s.Close()
		exchange(t, l, size, 1) // neighbours know each other from here on
		missing, err := s.Start(ifi.Attrs().Index, false)
		if err != nil || len(missing) > 0 {
			t.Fatal(missing, err)
		}
		before := Now()
		exchange(t, l, size, n)
		exchange(t, l, size-1, n)
		after := Now()
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		exchange(t, l, size, n)
		events, err := s.Events()
		if err != nil || len(events) != 2*n {
			t.Fatalf("%v: %v, want %d stamps", err, events, 2*n)
		}
		for i, e := range events {
			want := Event{Number: headerBytes + size, Kind: []Kind{Arrived, Transmitted}[i%2]}
			if e.Kind != want.Kind || e.Number != want.Number || e.At < before || e.At > after {
				t.Errorf("stamp %d is %+v, want %+v between %d and %d", i, e, want, before, after)
			}
			before = e.At
		}
	})
}

// The XDP program that is there judges every packet as before, and stands alone again afterwards.
func TestXDPProgramGoesOn(t *testing.T) {
	inServer(t, func(l *lab.Lab, ifi netlink.Link) {
		p, err := bpf.Attach(ifi.Attrs().Index, bpf.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		running := func() uint32 {
			now, err := netlink.LinkByIndex(ifi.Attrs().Index)
			if err != nil || now.Attrs().Xdp == nil {
				t.Fatal("no XDP program", err)
			}
			return now.Attrs().Xdp.ProgId
		}
		exchange(t, l, 64, 1)
		own, judged := running(), func() uint64 {
			c, err := p.Counters()
			if err != nil {
				t.Fatal(err)
			}
			return c.NotOurPort
		}
		counted := judged()
		for range 2 { // a second side may follow the first
			s := New(100, 64)
			if missing, err := s.Start(ifi.Attrs().Index, true); err != nil || len(missing) > 0 {
				t.Fatal(missing, err)
			}
			if running() == own {
				t.Error("nothing stamps before the steering program")
			}
			exchange(t, l, 64, 3)
			if counted += 3; judged() != counted {
				t.Errorf("the steering program has judged %d packets, want %d", judged(), counted)
			}
			if err := s.Stop(); err != nil {
				t.Fatal(err)
			}
			if running() != own {
				t.Error("the steering program is not back")
			}
			events, err := s.Events()
			arrived := 0
			for _, e := range events {
				if e.Kind == Arrived {
					arrived++
				}
			}
			if err != nil || arrived != 3 {
				t.Errorf("%v: %+v, want 3 that arrived", err, events)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// What cannot be stamped is said, and the rest is.
func TestMissingStamps(t *testing.T) {
	inServer(t, func(_ *lab.Lab, ifi netlink.Link) {
		s := New(100, 64)
		defer s.Close()
		missing, err := s.Start(ifi.Attrs().Index, true)
		if err != nil || len(missing) != 1 || s.Stop() != nil {
			t.Errorf("%v, %q: want that no XDP program is there", err, missing)
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			t.Fatal(err)
		}
		other := New(100, 64)
		defer other.Close()
		if missing, err = other.Start(lo.Attrs().Index, true); err != nil || len(missing) != 2 {
			t.Errorf("%v, %q: want that only veth's sending is stamped, and that no XDP program is there", err, missing)
		}
	})
	if os.Geteuid() == 0 {
		if _, err := New(1, 1).Start(1<<30, false); err == nil {
			t.Error("stamps on an interface that does not exist")
		}
	}
}
