package sim

import (
	"net/netip"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// BenchmarkPipe is one 128-byte frame: Alloc, Send, Completed and Free here, Recv and Free there.
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

// BenchmarkNetwork is the same through a Network with every fault, 32 packets under way.
func BenchmarkNetwork(b *testing.B) {
	n := NewNetwork(1, Faults{Delay: 32 * time.Microsecond, Jitter: time.Microsecond, Loss: 0.01, Duplicate: 0.01, Reorder: 0.01, Corrupt: 0.01})
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
		var f transport.Frame
		ok := x.Alloc(&f)
		if !ok {
			return false
		}
		f.Data, f.Path = f.Data[:128], path
		out[0] = f
		if n, err := x.Send(out); n != 1 || err != nil {
			return false
		}
		n, _ := y.Recv(in)
		y.Free(in[:n])
		x.Free(in[:x.Completed(in)])
		return n > 0
	}
}
