package sim

import (
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/linktest"
)

func TestLinkConformance(t *testing.T) {
	for name, c := range map[string]struct {
		faults  Faults
		options LinkOptions
	}{
		"Perfect":  {Faults{Delay: 10 * time.Microsecond}, LinkOptions{}},
		"Instant":  {Faults{}, LinkOptions{MTU: 200, Burst: 3}},
		"SlowTx":   {Faults{Delay: time.Microsecond}, LinkOptions{CompleteAfter: 50 * time.Microsecond, MTU: 600}},
		"Tiny":     {Faults{Delay: time.Microsecond}, LinkOptions{Frames: 8, FrameBytes: 300, Burst: 2}},
		"Reliable": {Faults{Delay: time.Microsecond, Jitter: time.Microsecond, Loss: 1, Corrupt: 1}, LinkOptions{Reliable: true, MTU: 600}},
		"Nightmare": {Faults{Delay: time.Millisecond, Jitter: time.Millisecond, Loss: .3, Duplicate: .2, Reorder: .2,
			Spike: .01, SpikeDelay: 9 * time.Millisecond}, LinkOptions{MTU: 900}},
		"Bursty": {Faults{Delay: time.Millisecond, Jitter: time.Millisecond, JitterShape: Pareto, Burst: BurstLoss(.2, 5)}, LinkOptions{}},
		"Narrow": {Faults{Delay: time.Microsecond, Bandwidth: Bandwidth{BitsPerSecond: 10e6, QueueBytes: 4000, MarkBytes: 3000}, MTU: 600},
			LinkOptions{MTU: 600}},
		"NarrowReliable": {Faults{Delay: time.Microsecond, Jitter: time.Microsecond, JitterShape: Normal,
			Bandwidth: Bandwidth{BitsPerSecond: 10e6, QueueBytes: 4000}}, LinkOptions{Reliable: true, Frames: 16}},
	} {
		t.Run(name, func(t *testing.T) {
			linktest.RunVirtual(t, func(t *testing.T) linktest.Pair {
				n := NewNetwork(7, c.faults)
				n.SetIngress(addrB, c.faults.Bandwidth)
				return linktest.Pair{A: n.Link(addrA, c.options), B: n.Link(addrB, c.options), AddrA: addrA, AddrB: addrB, Clock: n.Now,
					Inject: func(b []byte) { n.Inject(addrC, addrB, b) }, Unreachable: addr6}
			})
		})
	}
}

func TestPipeConformance(t *testing.T) {
	for name, o := range map[string]LinkOptions{
		"Default":  {},
		"Reliable": {Reliable: true, MTU: 1400},
		"Tiny":     {Frames: 8, FrameBytes: 300, Burst: 2, Reliable: true},
	} {
		t.Run(name, func(t *testing.T) {
			linktest.Run(t, func(t *testing.T) linktest.Pair {
				a, b := Pipe(o)
				return linktest.Pair{A: a, B: b, AddrA: a.Addr(), AddrB: b.Addr(), Unreachable: addrC}
			})
		})
	}
}
