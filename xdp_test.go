package fastrpc_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/bpf"
	"github.com/fastrpc/fastrpc/internal/lab"
)

// sizes of messages: empty, in place, around one packet of an MTU of 1,500, and in fragments.
var sizes = []int{0, 1, 64, 1371, 1372, 1373, 1400, 1500, 4096, 65_536, 1 << 20}

// Every client reaches every server, whatever either travels over, and over both versions of IP.
func TestXDPAndUDPTalkToEachOther(t *testing.T) {
	nothingLeft(t)
	w := cabled(t, 2)
	for _, schemes := range [][2]string{{"xdp", "xdp"}, {"udp", "xdp"}, {"xdp", "udp"}} {
		for _, ip := range []netip.Addr{w.lab.Server().IPv4, w.lab.Server().IPv6} {
			family := map[bool]string{true: "IPv4", false: "IPv6"}[ip.Is4()]
			t.Run(fmt.Sprintf("%s client, %s server, %s", schemes[0], schemes[1], family), func(t *testing.T) {
				w := w
				w.scheme, w.listen, w.remote = schemes[0], schemes[1]+"://"+w.lab.Server().Interface, ip
				s := echoServer()
				c := w.dial(t, w.serve(t, s))
				if name, why := c.Transport(); !strings.HasPrefix(name, schemes[0]+" ") || why != "" {
					t.Errorf("the client's transport is %q (%q)", name, why)
				}
				for _, n := range sizes {
					checkEcho(t, c, "echo", pattern(n))
					checkEcho(t, c, "worker", pattern(n))
				}
			})
		}
	}
}

// Where the driver cannot run the program, the kernel's generic hook does.
func TestXDPGenericMode(t *testing.T) {
	nothingLeft(t)
	w := cabled(t, 1)
	w.query = "?mode=generic"
	s := echoServer()
	c := w.dial(t, w.serve(t, s))
	if name, _ := c.Transport(); !strings.Contains(name, "generic") {
		t.Errorf("the client's transport is %q", name)
	}
	if names := s.Transports(); len(names) != 1 || !strings.Contains(names[0], "generic") {
		t.Errorf("the server's transports are %q", names)
	}
	for _, n := range sizes {
		checkEcho(t, c, "echo", pattern(n))
		checkEcho(t, c, "worker", pattern(n))
	}
}

// Servers and clients of one process share the interface: both hosts serve and call, several times each.
func TestXDPDialsAndServersShareQueues(t *testing.T) {
	nothingLeft(t)
	w := cabled(t, 2)
	back := w // the same lab, seen from the other side
	back.remote = w.lab.Client().IPv4
	var clients []*fastrpc.Client
	for range 2 {
		there := w.serve(t, echoServer())
		var here netip.AddrPort
		s := echoServer()
		must(t, w.atClient(func() (err error) {
			here, err = s.Listen(t.Context(), "xdp://veth0:0")
			return err
		}))
		t.Cleanup(func() { shutDown(t, s) })
		for range 3 {
			clients = append(clients, w.dial(t, there))
			must(t, w.atServer(func() error {
				c, err := fastrpc.Dial(t.Context(), back.dialTarget(here.Port()), insecure)
				if err == nil {
					t.Cleanup(func() { hangUp(t, c) })
					clients = append(clients, c)
				}
				return err
			}))
		}
	}
	callFromAll := func(clients []*fastrpc.Client) {
		var wg sync.WaitGroup
		for i, c := range clients {
			for _, method := range []string{"echo", "worker"} {
				wg.Go(func() {
					m := c.Method(method)
					for n := range 200 {
						want := fmt.Sprintf("%d/%s/%d", i, method, n)
						rep, err := m.Call(context.Background(), []byte(want), fastrpc.Timeout(patience))
						if err != nil {
							t.Errorf("call %s: %v", want, err)
							return
						}
						if string(rep.Body()) != want {
							t.Errorf("got %q, want %q", rep.Body(), want)
						}
						rep.Release()
					}
				})
			}
		}
		wg.Wait()
	}
	callFromAll(clients)
	for _, c := range clients[:4] { // those that stay do not notice
		hangUp(t, c)
	}
	callFromAll(clients[4:])
	if _, err := clients[0].Method("echo").Call(t.Context(), nil); fastrpc.CodeOf(err) != fastrpc.Canceled || fastrpc.OutcomeOf(err) != fastrpc.NotExecuted {
		t.Errorf("a call on a closed client: %v", err)
	}
}

// Packets that a kernel socket's peer sends land on any queue of the server, by a hash of their ports: each is seen to by its session's owner.
func TestXDPManyKernelClientsOverTwoQueues(t *testing.T) {
	nothingLeft(t)
	w := cabled(t, 2)
	w.scheme = "udp"
	s := echoServer()
	port := w.serve(t, s)
	if names := s.Transports(); len(names) != 1 || !strings.Contains(names[0], "and 1 more") {
		t.Errorf("the server's transports are %q", names)
	}
	for i := range 16 {
		c := w.dial(t, port)
		for n := range 20 {
			checkEcho(t, c, "echo", pattern(i*n))
			checkEcho(t, c, "worker", pattern(i*n*10))
		}
	}
}

// An address of this host has no way past lo. xdp:// says what to use instead, and auto:// uses it and says why.
func TestXDPLocalAddress(t *testing.T) {
	nothingLeft(t)
	w := cabled(t, 1)
	w.listen = "udp://"
	port := w.serve(t, echoServer())
	h := w.lab.Server()
	for _, ip := range []netip.Addr{h.IPv4, h.IPv6, netip.MustParseAddr("127.0.0.1")} {
		at := netip.AddrPortFrom(ip, port)
		must(t, h.Do(func() error {
			_, err := fastrpc.Dial(t.Context(), "xdp://"+at.String(), insecure)
			checkError(t, err, fastrpc.InvalidArgument, fastrpc.NotExecuted, "udp://")
			c, err := fastrpc.Dial(t.Context(), "auto://"+at.String(), insecure)
			if err != nil {
				return err
			}
			defer hangUp(t, c)
			if name, why := c.Transport(); !strings.HasPrefix(name, "udp ") || !strings.Contains(why, ip.String()) || !strings.Contains(why, "address of this host") {
				t.Errorf("auto:// took %q, because %q", name, why)
			}
			checkEcho(t, c, "echo", pattern(100))
			return nil
		}))
	}
}

// auto:// prefers AF_XDP, for servers and clients.
func TestAutoTakesXDP(t *testing.T) {
	nothingLeft(t)
	w := cabled(t, 1)
	w.scheme, w.listen = "auto", "auto://veth0"
	s := echoServer()
	c := w.dial(t, w.serve(t, s))
	if name, why := c.Transport(); !strings.HasPrefix(name, "xdp ") || why != "" {
		t.Errorf("the client took %q (%q)", name, why)
	}
	if names := s.Transports(); len(names) != 1 || !strings.HasPrefix(names[0], "xdp ") {
		t.Errorf("the server took %q", names)
	}
	checkEcho(t, c, "echo", pattern(100))
}

// bare fails unless no XDP program is on the host's interface.
func bare(t testing.TB, h lab.Host) {
	t.Helper()
	must(t, h.Do(func() error {
		if a, there, err := bpf.Attached(h.Ifindex); err != nil || there {
			t.Errorf("%s runs a program: %+v, %v", h.Namespace, a, err)
		}
		return nil
	}))
}
