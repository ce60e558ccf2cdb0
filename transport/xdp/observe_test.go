package xdp_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
	"github.com/fastrpc/fastrpc/internal/netpath"
	"github.com/fastrpc/fastrpc/internal/tap"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/xdp"
)

// look connects to this process as one who looks at a host's interface does.
func look(t testing.TB, h lab.Host) (p *tap.Process) {
	t.Helper()
	must(t, h.Do(func() error {
		names, err := tap.Find(h.Ifindex)
		must(t, err)
		if len(names) != 1 {
			t.Fatalf("processes that have %s open: %q", h.Interface, names)
		}
		p, err = tap.Dial(names[0])
		return err
	}))
	return p
}

func capture(t testing.TB, h lab.Host) *tap.Capture {
	t.Helper()
	c, err := look(t, h).Capture(tap.Options{Bytes: 1 << 20})
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

// captured reads all packets that are there.
func captured(t testing.TB, c *tap.Capture) (all []tap.Packet) {
	t.Helper()
	must(t, c.Look())
	for {
		var p tap.Packet
		ok, err := c.Next(&p, math.MaxInt64)
		must(t, err)
		if !ok {
			return all
		}
		p.Data = bytes.Clone(p.Data)
		all = append(all, p)
	}
}

// pair is a Link on each host of a cable, and the path to the server's.
func pair(t testing.TB, c lab.Config, query string) (cable *lab.Lab, client, server transport.Link, path transport.Path) {
	t.Helper()
	cable = labtest.New(t, c)
	remote := addrPort(cable.Server().IPv4, 9000)
	s := listen(t, cable.Server(), "xdp://veth0:9000?"+query)
	p := dial(t, cable.Client(), remote, "?"+query)
	client, server = p.Links()[0], s.Links()[0]
	return cable, client, server, resolve(t, client, p.Local(), remote)
}

// A capture at each end shows what is sent and what is received, the very bytes, also of packets that take several buffers.
func TestCapture(t *testing.T) {
	for _, mtu := range []int{1500, 9000} {
		t.Run(fmt.Sprint("MTU ", mtu), func(t *testing.T) {
			cable, client, server, path := pair(t, lab.Config{Queues: 1, MTU: mtu}, "frames=256")
			send(t, client, path, []byte("before"))
			receive(t, server)
			atClient, atServer := capture(t, cable.Client()), capture(t, cable.Server())
			sizes := []int{1, 64, 1000, int(path.MTU)}
			var sent [][]byte
			for _, n := range sizes {
				data := random(n)
				send(t, client, path, data)
				f, got := receive(t, server)
				if !bytes.Equal(got, data) {
					t.Fatalf("%d bytes came as %d others", n, len(got))
				}
				back := random(n)
				send(t, server, f.Path, back)
				receive(t, client)
				sent = append(sent, data, back)
			}
			a, b := captured(t, atClient), captured(t, atServer)
			if len(a) != len(sent) || len(b) != len(sent) {
				t.Fatalf("captured %d and %d packets of %d", len(a), len(b), len(sent))
			}
			var last int64
			for i, data := range sent {
				out, in := a[i], b[i] // the even ones go from client to server
				if i%2 == 1 {
					out, in = b[i], a[i]
				}
				if out.Direction != tap.Out || in.Direction != tap.In || out.Length != len(out.Data) || !bytes.Equal(out.Data, in.Data) {
					t.Errorf("packet %d: %d bytes sent (direction %d), %d received (direction %d)", i, out.Length, out.Direction, in.Length, in.Direction)
				}
				var p netpath.Parsed
				if err := netpath.Parse(out.Data, &p); err != nil || !bytes.Equal(out.Data[p.Offset:p.Offset+p.Bytes], data) {
					t.Errorf("packet %d: the frame holds %d bytes that are not what was sent (%v)", i, p.Bytes, err)
				}
				if out.Time < last || in.Time < out.Time {
					t.Errorf("packet %d: sent at %d, received at %d, after one at %d", i, out.Time, in.Time, last)
				}
				last = in.Time
			}
		})
	}
}

// Packets that are dropped because they are no good are shown as well: they are what one looks for.
func TestCaptureShowsDropped(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 1})
	h, client := cable.Server(), cable.Client()
	bound := listen(t, h, "xdp://"+addrPort(h.IPv4, 9000).String()+"?frames=256").Links()[0]
	c := capture(t, h)
	peer := listenKernel(t, client, addrPort(client.IPv6, 0))
	_, err := peer.WriteToUDPAddrPort([]byte("to the other address"), addrPort(h.IPv6, 9000))
	must(t, err)
	var fs [8]transport.Frame
	until := transport.Now().Add(patience)
	for stats(bound).NotOurs == 0 && transport.Now() < until {
		n, err := bound.Recv(fs[:])
		must(t, err)
		bound.Free(fs[:n])
	}
	if all := captured(t, c); len(all) != 1 || !bytes.HasSuffix(all[0].Data, []byte("to the other address")) {
		t.Errorf("captured %+v, counted %+v", all, stats(bound))
	}
}

// Sending and receiving allocate nothing, whether somebody looks or not.
func TestAllocationsOfCapture(t *testing.T) {
	cable, client, server, path := pair(t, lab.Config{Queues: 1}, "frames=256")
	fs, got := make([]transport.Frame, 8), make([]transport.Frame, 8)
	round := func() {
		for i := range fs {
			if !client.Alloc(&fs[i]) {
				t.Fatal("no frame")
			}
			fs[i].Data, fs[i].Path = fs[i].Data[:64], path
		}
		if n, err := client.Send(fs); n != len(fs) || err != nil {
			t.Fatal(n, err)
		}
		must(t, client.Flush())
		for n, until := 0, transport.Now().Add(patience); n < len(fs) && transport.Now() < until; {
			m, err := server.Recv(got)
			must(t, err)
			server.Free(got[:m])
			n += m
		}
		for n, until := 0, transport.Now().Add(patience); n < len(fs) && transport.Now() < until; {
			m := client.Completed(got)
			client.Free(got[:m])
			n += m
		}
	}
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations for 8 packets while nobody looks", n)
	}
	a, b := capture(t, cable.Client()), capture(t, cable.Server())
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations for 8 packets while somebody looks", n)
	}
	if in, out := len(captured(t, a)), len(captured(t, b)); in != 8*101 || out != 8*101 {
		t.Errorf("captured %d and %d packets of %d", in, out, 8*101)
	}
}

// Statistics are those of the packets that there were; of a Link that nobody polls only the kernel's are new.
func TestStatsForOthers(t *testing.T) {
	cable, client, server, path := pair(t, lab.Config{Queues: 1}, "frames=256")
	const packets, bytes = 7, 100
	for range packets {
		send(t, client, path, random(bytes))
		receive(t, server)
	}
	ask := func(h lab.Host) (about xdp.InterfaceStats, q xdp.QueueStats) {
		p := look(t, h)
		defer p.Close()
		parts, err := p.Stats()
		must(t, err)
		if len(parts) != 2 {
			t.Fatalf("%d parts", len(parts))
		}
		must(t, json.Unmarshal(parts[0], &about))
		must(t, json.Unmarshal(parts[1], &q))
		return about, q
	}
	polled := func(l transport.Link, h lab.Host) (about xdp.InterfaceStats, q xdp.QueueStats) {
		done := make(chan struct{})
		go func() {
			defer l.Wake()
			defer close(done)
			for until := transport.Now().Add(patience); !q.Current && transport.Now() < until; { // a slow machine may keep the owner away
				about, q = ask(h)
			}
		}()
		var fs [8]transport.Frame
		for {
			select {
			case <-done:
				return about, q
			default:
				_, _ = l.Recv(fs[:0])
				_ = l.Wait(transport.Now().Add(patience))
				if n, _ := l.Recv(fs[:]); n > 0 {
					t.Errorf("%d packets more", n)
				}
			}
		}
	}
	about, q := polled(server, cable.Server())
	const headers = 14 + 20 + 8
	if !q.Current || q.Stats.Received != packets || q.Stats.ReceivedBytes != packets*(bytes+headers) || q.Stats.Sent != 0 {
		t.Errorf("server: %+v", q)
	}
	if about.Interface != "veth0" || about.Mode != "native" || !slices.Equal(about.Ports, []uint16{9000}) || about.Steering.Redirected != packets {
		t.Errorf("server: %+v", about)
	}
	if q.Frames != server.Counts() || q.Rings.Fill.Used == 0 || q.Rings.Fill.Size != 128 || q.Rings.Rx.Used != 0 {
		t.Errorf("server: frames %+v of %+v, rings %+v", q.Frames, server.Counts(), q.Rings)
	}
	if _, q = polled(client, cable.Client()); !q.Current || q.Stats.Sent != packets || q.Stats.SentBytes != packets*(bytes+headers) {
		t.Errorf("client: %+v", q)
	}
	send(t, client, path, random(bytes))
	if _, q = ask(cable.Client()); q.Current || q.Stats.Sent != packets {
		t.Errorf("client that nobody polls: %+v", q)
	}
}
