package sim_test

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// Four senders into one receiver, behind a switch whose port has room for three packets of this size: an incast, and its trace.
func Example() {
	n := sim.NewNetwork(1, sim.Faults{
		Delay:     20 * time.Microsecond,
		Bandwidth: sim.Bandwidth{BitsPerSecond: 10e9}, // of each sender
	})
	receiver := netip.MustParseAddrPort("198.18.0.100:9000")
	n.SetIngress(receiver, sim.Bandwidth{BitsPerSecond: 10e9, QueueBytes: 3 * 1466, MarkBytes: 1466})
	n.Trace(func(r sim.TraceRecord) {
		if r.Fate != sim.Sent {
			fmt.Println(r)
		}
	})
	n.Link(receiver, sim.LinkOptions{})
	for i := range 4 {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 0, byte(1 + i)}), 1000)
		l := n.Link(from, sim.LinkOptions{})
		path, err := l.Resolve(context.Background(), from, receiver)
		if err != nil {
			panic(err)
		}
		var f transport.Frame
		l.Alloc(&f)
		f.Data, f.Path, f.ECN = f.Data[:1400], path, 2 // ECN-capable
		if _, err := l.Send([]transport.Frame{f}); err != nil {
			panic(err)
		}
	}
	n.Advance(n.Now().Add(time.Millisecond))
	// Output:
	// 1.000021173s #3 198.18.0.3:1000 > 198.18.0.100:9000 1400 bytes: marked
	// 1.000021173s #4 198.18.0.4:1000 > 198.18.0.100:9000 1400 bytes: queue-dropped
	// 1.000022346s #1 198.18.0.1:1000 > 198.18.0.100:9000 1400 bytes: delivered
	// 1.000023519s #2 198.18.0.2:1000 > 198.18.0.100:9000 1400 bytes: delivered
	// 1.000024692s #3 198.18.0.3:1000 > 198.18.0.100:9000 1400 bytes: delivered
}
