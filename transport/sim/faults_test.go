package sim

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// Each fault happens as often as asked, and to nothing else than asked.
func TestFaultRates(t *testing.T) {
	const packets = 20_000
	for name, c := range map[string]struct {
		faults Faults
		count  func(c Counters) uint64
		want   float64
	}{
		"None":      {Faults{}, func(c Counters) uint64 { return packets - c.Delivered + c.Reordered + c.Corrupted + c.Spiked }, 0},
		"Loss":      {Faults{Loss: .3}, func(c Counters) uint64 { return c.Lost }, .3},
		"Duplicate": {Faults{Duplicate: .05}, func(c Counters) uint64 { return c.Delivered - packets }, .05},
		"Reorder":   {Faults{Reorder: .2}, func(c Counters) uint64 { return c.Reordered }, .2},
		"Burst":     {Faults{Burst: BurstLoss(.3, 2)}, func(c Counters) uint64 { return c.Lost }, .3},
		"Header":    {Faults{CorruptHeader: .1}, func(c Counters) uint64 { return c.Corrupted }, .1},
		"Either":    {Faults{Corrupt: .2, CorruptHeader: .1}, func(c Counters) uint64 { return c.Corrupted }, .28},
		"Corrupt":   {Faults{Corrupt: .1}, func(c Counters) uint64 { return c.Corrupted }, .1},
		"Spike":     {Faults{Spike: .01, SpikeDelay: time.Second}, func(c Counters) uint64 { return c.Spiked }, .01},
		"All":       {Faults{Loss: 1}, func(c Counters) uint64 { return c.Lost }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			n := NewNetwork(3, c.faults)
			a, b := pairOf(t, n, LinkOptions{})
			for key := range uint64(packets) {
				a.send(key, 16)
				if key%100 == 0 {
					finish(n, b)
				}
			}
			finish(n, b)
			n.Counters().check(t)
			if got := float64(c.count(n.Counters())) / packets; got < c.want*.9 || got > c.want*1.1 {
				t.Errorf("happened to %.3f of packets, want %.3f: %+v", got, c.want, n.Counters())
			}
		})
	}
}

// Jitter and spikes delay within their bounds and keep the order; only Reorder changes it.
func TestOrderAndDelay(t *testing.T) {
	run := func(f Faults) (sorted bool, late int) {
		n := NewNetwork(4, f)
		a, b := pairOf(t, n, LinkOptions{})
		start := n.Now()
		for key := range uint64(200) {
			a.send(key, 16)
		}
		keys, at := finish(n, b)
		if len(keys) != 200 {
			t.Fatalf("%d of 200 arrived", len(keys))
		}
		for _, s := range at {
			d := s.Sub(start)
			if d < f.Delay {
				t.Errorf("a packet took %v, less than Delay", d)
			}
			if d > f.Delay+f.Jitter {
				late++
			}
		}
		return slices.IsSorted(keys), late
	}
	jitter := Faults{Delay: time.Millisecond, Jitter: time.Millisecond}
	if sorted, late := run(jitter); !sorted || late > 0 {
		t.Errorf("with jitter alone: sorted %v, %d later than Delay+Jitter", sorted, late)
	}
	spiky := jitter
	spiky.Spike, spiky.SpikeDelay = .02, time.Second
	if sorted, late := run(spiky); !sorted || late == 0 {
		t.Errorf("with spikes: sorted %v, %d late", sorted, late)
	}
	for _, shape := range []Shape{Normal, Pareto} {
		bent := jitter
		bent.JitterShape = shape
		if sorted, late := run(bent); !sorted || late > 0 != (shape == Pareto) {
			t.Errorf("with jitter of shape %d: sorted %v, %d later than Delay+Jitter", shape, sorted, late)
		}
	}
	shuffled := jitter
	shuffled.Reorder = .2
	if sorted, _ := run(shuffled); sorted {
		t.Error("with reordering the order was kept")
	}
}

// A packet counted as corrupted differs from what was sent; all of its bytes may be hit, or with CorruptHeader the first 64.
func TestCorruptAlwaysDiffers(t *testing.T) {
	const size = 96
	for name, c := range map[string]struct {
		faults Faults
		reach  int
	}{
		"Corrupt":       {Faults{Corrupt: 1}, size},
		"CorruptHeader": {Faults{CorruptHeader: 1}, headerBytes},
	} {
		t.Run(name, func(t *testing.T) {
			n := NewNetwork(5, c.faults)
			a, b := pairOf(t, n, LinkOptions{})
			var hit [size]bool
			var cut int
			for key := range uint64(5000) {
				a.send(key, size)
				n.Advance(n.Now() + 1)
				in := make([]transport.Frame, 1)
				if k, _ := b.Recv(in); k != 1 {
					t.Fatal("nothing came")
				}
				want := make([]byte, size)
				binary.LittleEndian.PutUint64(want, key)
				for i := 8; i < size; i++ {
					want[i] = byte(key + uint64(i))
				}
				got := in[0].Data
				if bytes.Equal(got, want) {
					t.Fatalf("packet %d came through whole", key)
				}
				if len(got) < size {
					cut++
					if len(got) >= c.reach {
						t.Errorf("a packet was cut to %d bytes", len(got))
					}
				}
				for i, c := range got {
					hit[i] = hit[i] || c != want[i]
				}
				b.Free(in)
			}
			for i := range hit {
				if hit[i] != (i < c.reach) {
					t.Errorf("byte %d hit: %v", i, hit[i])
				}
			}
			if cut == 0 {
				t.Error("no packet was cut")
			}
		})
	}
}

// What cannot be is refused where it is set.
func TestFaultsOutOfRange(t *testing.T) {
	for name, f := range map[string]func(){
		"Probability": func() { NewNetwork(1, Faults{Loss: 1.1}) },
		"NaN":         func() { NewNetwork(1, Faults{CorruptHeader: math.NaN()}) },
		"Chain":       func() { NewNetwork(1, Faults{Burst: GilbertElliott{GoodToBad: -.1}}) },
		"Delay":       func() { NewNetwork(1, Faults{Delay: -1}) },
		"Shape":       func() { NewNetwork(1, Faults{JitterShape: Pareto + 1}) },
		"MTU":         func() { NewNetwork(1, Faults{MTU: -1}) },
		"Rate":        func() { NewNetwork(1, Faults{Bandwidth: Bandwidth{BitsPerSecond: -1}}) },
		"Queue":       func() { NewNetwork(1, Faults{}).SetIngress(addrA, Bandwidth{QueueBytes: maxQueueBytes + 1}) },
		"Mark":        func() { NewNetwork(1, Faults{}).SetIngress(addrA, Bandwidth{MarkBytes: -1}) },
		"BurstShort":  func() { BurstLoss(.1, .5) },
		"BurstAll":    func() { BurstLoss(1, 2) },
		"BurstDense":  func() { BurstLoss(.9, 2) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("was taken")
				}
			}()
			f()
		})
	}
}
