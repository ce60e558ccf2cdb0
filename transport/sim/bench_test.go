package sim

import (
	"net/netip"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// BenchmarkPipe is one 100-byte frame: Alloc, Send, Completed and Free here, Recv and Free there.
func BenchmarkPipe(b *testing.B) {
	x, y := Pipe(LinkOptions{})
	path, err := x.Resolve(b.Context(), x.Addr(), y.Addr())
	if err != nil {
		b.Fatal(err)
	}
	exchange := exchanger(x, y, path)
	b.ReportAllocs()
	for b.Loop() {
		if !exchange() {
			b.Fatal("no packet came")
		}
	}
}

// BenchmarkNetwork is one 100-byte packet through a Network, sent and received, with 32 packets under way.
func BenchmarkNetwork(b *testing.B) {
	lossy := Faults{Delay: 32 * time.Microsecond, Jitter: time.Microsecond, Loss: .01, Duplicate: .01, Reorder: .01, Corrupt: .01}
	all := lossy
	all.JitterShape, all.Burst, all.CorruptHeader = Pareto, BurstLoss(.01, 5), .01
	all.Bandwidth = Bandwidth{BitsPerSecond: 10e9, QueueBytes: 100_000, MarkBytes: 50_000}
	for _, c := range []struct {
		name    string
		faults  Faults
		ingress Bandwidth
	}{
		{"Perfect", Faults{Delay: 32 * time.Microsecond}, Bandwidth{}},
		{"Lossy", lossy, Bandwidth{}},
		{"Everything", all, all.Bandwidth},
	} {
		b.Run(c.name, func(b *testing.B) {
			n := NewNetwork(1, c.faults)
			n.SetIngress(addrB, c.ingress)
			x, y := n.Link(addrA, LinkOptions{}), n.Link(addrB, LinkOptions{})
			path, err := x.Resolve(b.Context(), x.Addr(), y.Addr())
			if err != nil {
				b.Fatal(err)
			}
			exchange := exchanger(x, y, path)
			b.ReportAllocs()
			for b.Loop() {
				n.Advance(n.Now().Add(time.Microsecond))
				exchange()
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
		})
	}
}

// BenchmarkIncast is one packet of 16 senders into one receiver, whose switch port is never idle and always too small.
func BenchmarkIncast(b *testing.B) {
	n := NewNetwork(1, Faults{Delay: 20 * time.Microsecond, Bandwidth: Bandwidth{BitsPerSecond: 10e9}})
	n.SetIngress(addrB, Bandwidth{BitsPerSecond: 10e9, QueueBytes: 50_000, MarkBytes: 25_000})
	y := n.Link(addrB, LinkOptions{})
	var exchanges [16]func() bool
	for i := range exchanges {
		x := n.Link(netip.AddrPortFrom(addrA.Addr(), uint16(1000+i)), LinkOptions{})
		path, err := x.Resolve(b.Context(), x.Addr(), y.Addr())
		if err != nil {
			b.Fatal(err)
		}
		exchanges[i] = exchanger(x, y, path)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n.Advance(n.Now().Add(100 * time.Nanosecond)) // a packet of 166 bytes takes 133
		exchanges[i%16]()
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
}

var (
	addrA = netip.MustParseAddrPort("198.18.0.1:7")
	addrB = netip.MustParseAddrPort("198.18.0.2:9")
	addrC = netip.MustParseAddrPort("198.18.0.3:9")
	addr6 = netip.MustParseAddrPort("[2001:2::1]:9")
)

// exchanger returns a function that sends one frame and receives what is there.
func exchanger(x, y transport.Link, path transport.Path) func() bool {
	out, in := make([]transport.Frame, 1), make([]transport.Frame, 8)
	return func() bool {
		f := &out[0]
		if !x.Alloc(f) {
			return false
		}
		f.Data, f.Path = f.Data[:100], path
		if n, err := x.Send(out); n != 1 || err != nil {
			return false
		}
		n, _ := y.Recv(in)
		y.Free(in[:n])
		x.Free(in[:x.Completed(in)])
		return n > 0
	}
}
