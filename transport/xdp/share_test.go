package xdp_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/xdp"
)

// Every Port of an interface has the same Links, and a Link lives until the last of them has closed it.
func TestPortsShareLinks(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 2})
	h := cable.Server()
	peer := listenKernel(t, cable.Client(), addrPort(cable.Client().IPv4, 9001))
	remote := addrPort(cable.Client().IPv4, 9001)

	first := listen2(t, h, "xdp://veth0:9000?frames=128")
	second := listen2(t, h, "xdp://veth0:9001?frames=128") // names what is so already
	third, err := tryDial(t, h, remote, "")
	must(t, err)
	if len(first.Links()) != 2 || !slices.Equal(first.Links(), second.Links()) || !slices.Equal(first.Links(), inOrder(third.Links())) {
		t.Fatalf("Links: %v, %v, %v", first.Links(), second.Links(), third.Links())
	}
	if _, err := tryListen(t, h, "xdp://veth0:9002?frames=256"); !errors.Is(err, xdp.ErrSettings) || !strings.Contains(err.Error(), "frames=128") {
		t.Errorf("other settings: %v", err)
	}
	if _, err := tryListen(t, h, "xdp://veth0:9000"); !errors.Is(err, xdp.ErrPortTaken) {
		t.Errorf("the same port again: %v", err)
	}
	links := first.Links()
	works := func(p transport.Port) {
		t.Helper()
		local := p.Local()
		path := resolve(t, links[0], local, remote)
		send(t, links[0], path, []byte("to the peer"))
		_, from := readFrom(t, peer)
		if from.Port() != local.Port() {
			t.Fatalf("from %v, not %v", from, local)
		}
		_, err := peer.WriteToUDPAddrPort([]byte("back"), from)
		must(t, err)
		f, got := receiveAny(t, links)
		if string(got) != "back" || f.Path.LocalPort != local.Port() {
			t.Fatalf("%q at %v", got, f.Path.Local())
		}
	}
	for _, p := range []transport.Port{first, second, third} {
		works(p)
	}
	closePort(t, first)
	works(second)
	freed := listenKernel(t, h, addrPort(h.IPv4, 9000)) // its packets are no longer taken
	_, err = peer.WriteToUDPAddrPort([]byte("not ours"), addrPort(h.IPv4, 9000))
	must(t, err)
	if got, _ := readFrom(t, freed); string(got) != "not ours" {
		t.Errorf("received %q", got)
	}
	closePort(t, third)
	works(second)
	closePort(t, second)
	for _, l := range links {
		if _, err := l.Recv(make([]transport.Frame, 1)); !errors.Is(err, transport.ErrClosed) {
			t.Errorf("Recv after the last Close: %v", err)
		}
		if l.Alloc(new(transport.Frame)) {
			t.Error("Alloc after the last Close")
		}
		l.Wake()
		must(t, l.Close())
	}
	checkBare(t, h)
}

// receiveAny is receive over all Links, by polling.
func receiveAny(t testing.TB, links []transport.Link) (transport.Frame, []byte) {
	t.Helper()
	var fs [1]transport.Frame
	for until := transport.Now().Add(patience); transport.Now() < until; {
		for _, l := range links {
			n, err := l.Recv(fs[:])
			must(t, err)
			if n == 1 {
				data := bytes.Clone(fs[0].Data)
				l.Free(fs[:])
				return fs[0], data
			}
		}
	}
	t.Fatal("no packet came")
	panic("unreachable")
}

// Both addresses of an interface can have the same port; a packet for an address that nobody listens on is not delivered.
func TestPortOfSingleAddresses(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 1})
	h := cable.Server()
	four, six := addrPort(h.IPv4, 9000), addrPort(h.IPv6, 9000)
	c := listenKernel(t, cable.Client(), addrPort(cable.Client().IPv6, 9001))
	c4 := listenKernel(t, cable.Client(), addrPort(cable.Client().IPv4, 9001))

	p4 := listen(t, h, "xdp://"+four.String())
	l := p4.Links()[0]
	_, err := c.WriteToUDPAddrPort([]byte("to nobody"), six)
	must(t, err)
	_, err = c4.WriteToUDPAddrPort([]byte("four"), four)
	must(t, err)
	if _, got := receive(t, l); string(got) != "four" {
		t.Errorf("received %q", got)
	}
	if s := stats(l); s.NotOurs != 1 || s.Received != 1 {
		t.Errorf("%+v", s)
	}

	p6 := listen2(t, h, "xdp://"+six.String())
	_, err = c.WriteToUDPAddrPort([]byte("six"), six)
	must(t, err)
	if _, got := receive(t, l); string(got) != "six" {
		t.Errorf("received %q", got)
	}
	if _, err := tryListen(t, h, "xdp://"+six.String()); !errors.Is(err, xdp.ErrPortTaken) {
		t.Errorf("the same address again: %v", err)
	}
	if _, err := tryListen(t, h, "xdp://veth0:9000"); !errors.Is(err, xdp.ErrPortTaken) {
		t.Errorf("all addresses beside one: %v", err)
	}
	closePort(t, p6)
	_, err = c4.WriteToUDPAddrPort([]byte("four"), four)
	must(t, err)
	if _, got := receive(t, l); string(got) != "four" {
		t.Errorf("received %q", got)
	}
}

// An interface can be opened again as soon as the last Link is closed, also by someone who asks while the last ones still close.
func TestReopenWhileClosing(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 2})
	h := cable.Server()
	p := listen2(t, h, "xdp://veth0:9000")
	links := p.Links()
	must(t, p.Close())
	must(t, links[0].Close())
	opened := make(chan error)
	go func() {
		again, err := tryListen(t, h, "xdp://veth0:9000")
		if err == nil {
			closePort(t, again)
		}
		opened <- err
	}()
	must(t, links[1].Close())
	must(t, <-opened)
}

// A receiver that keeps what it gets can have every receiving frame filled, not only those that the kernel had at first.
func TestHeldFrames(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 1})
	const frames = 1024
	at := addrPort(cable.Server().IPv4, 9000)
	server := listen(t, cable.Server(), "xdp://"+at.String()+"?frames=1024").Links()[0]
	p := dial(t, cable.Client(), at, "")
	client := p.Links()[0]
	path := resolve(t, client, p.Local(), at)
	var held []transport.Frame
	var fs [8]transport.Frame
	for i := range frames / 2 {
		send(t, client, path, []byte{byte(i), byte(i >> 8)})
		for until := transport.Now().Add(patience); len(held) <= i; must(t, server.Wait(until)) {
			n, err := server.Recv(fs[:])
			must(t, err)
			if held = append(held, fs[:n]...); transport.Now() > until {
				t.Fatalf("packet %d did not come: %+v", i, server.Counts())
			}
			if len(held) > i {
				break
			}
		}
	}
	for i, f := range held {
		if !bytes.Equal(f.Data, []byte{byte(i), byte(i >> 8)}) {
			t.Fatalf("frame %d holds % x", i, f.Data)
		}
	}
	if c := server.Counts(); c.Borrowed != frames/2 || c.Receive != 0 || c.Free != frames/2 {
		t.Errorf("%+v", c)
	}
	server.Free(held)
	send(t, client, path, []byte("more"))
	if _, got := receive(t, server); string(got) != "more" {
		t.Errorf("received %q", got)
	}
}

// inOrder sorts Links by queue; of Dial, the one where answers are expected goes first.
func inOrder(links []transport.Link) []transport.Link {
	slices.SortFunc(links, func(a, b transport.Link) int { return strings.Compare(a.Caps().Name, b.Caps().Name) })
	return links
}

// What the peer sends from its queue 1 arrives on queue 1: veth pairs them.
func TestQueues(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 2})
	at := addrPort(cable.Server().IPv4, 9000)
	server := listen(t, cable.Server(), "xdp://"+at.String()).Links()
	p := dial(t, cable.Client(), at, "")
	for q, client := range inOrder(p.Links()) {
		data := random(100)
		send(t, client, resolve(t, client, p.Local(), at), data)
		f, got := receive(t, server[q])
		if !bytes.Equal(got, data) {
			t.Fatalf("%d bytes", len(got))
		}
		send(t, server[q], f.Path, data)
		if _, got := receive(t, client); !bytes.Equal(got, data) {
			t.Fatalf("%d bytes came back", len(got))
		}
	}
}

// A queue that was left out loses nothing: the kernel's socket receives what comes there.
func TestQueueWithoutSocket(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 2})
	at := addrPort(cable.Server().IPv4, 9000)
	server := listen(t, cable.Server(), "xdp://"+at.String()+"?queues=1").Links()
	if len(server) != 1 || !strings.Contains(server[0].Caps().Name, "queue 1") {
		t.Fatalf("Links: %v", server)
	}
	p := dial(t, cable.Client(), at, "")
	for _, client := range p.Links() {
		data := random(100)
		send(t, client, resolve(t, client, p.Local(), at), data)
		f, got := receive(t, server[0])
		if !bytes.Equal(got, data) {
			t.Fatalf("%d bytes", len(got))
		}
		send(t, server[0], f.Path, data)
		if _, got := receiveAny(t, p.Links()); !bytes.Equal(got, data) {
			t.Fatalf("%d bytes came back", len(got))
		}
	}
	if s := stats(server[0]); s.Received != 1 || s.ViaKernel != 1 || s.Steering.NoSocket != 1 {
		t.Errorf("%+v", s)
	}
	// A card would have been told to send our port's packets to our queue; veth has no rules, which is explained and no error.
	if s := stats(server[0]); s.Rules != 0 || s.RulesRefused != 1 || !strings.Contains(s.WhyRefused, "operation not supported") {
		t.Errorf("%d rules, %d refused: %v", s.Rules, s.RulesRefused, s.WhyRefused)
	}
}
