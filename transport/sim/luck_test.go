package sim

import (
	"math"
	"slices"
	"testing"
	"time"
)

// losses tells of each packet whether the direction's loss took it.
func losses(t *testing.T, g GilbertElliott, packets int) []bool {
	n := NewNetwork(20, Faults{Burst: g})
	lost := make([]bool, packets+1)
	n.Trace(func(r TraceRecord) {
		if r.Fate == Lost {
			lost[r.Number] = true
		}
	})
	for range packets {
		n.Inject(addrA, addrB, []byte{1})
		n.Advance(n.Now())
	}
	n.Counters().check(t)
	return lost[1:]
}

// The chain's states last as long as its probabilities say, and lose as many packets.
func TestGilbertElliott(t *testing.T) {
	const packets = 400_000
	for name, c := range map[string]struct {
		chain GilbertElliott
		share float64 // of packets lost
		burst float64 // mean length of a run of losses; 0: not looked at
	}{
		"Off":     {GilbertElliott{BadToGood: .5, LossBad: 1}, 0, 0},
		"Gilbert": {GilbertElliott{GoodToBad: .01, BadToGood: .25}, .01 / .26, 4},
		"Bursts":  {BurstLoss(.05, 8), .05, 8},
		"Single":  {BurstLoss(.1, 1), .1, 1},
		"Elliott": {GilbertElliott{GoodToBad: .02, BadToGood: .08, LossGood: .1, LossBad: .5}, .2*.5 + .8*.1, 0},
		"Forever": {GilbertElliott{GoodToBad: 1}, 1, packets},
	} {
		t.Run(name, func(t *testing.T) {
			lost := losses(t, c.chain, packets)
			count, runs := 0, 0
			for i, l := range lost {
				if l {
					count++
					if i == 0 || !lost[i-1] {
						runs++
					}
				}
			}
			if got := float64(count) / packets; math.Abs(got-c.share) > .08*c.share {
				t.Errorf("lost %.4f of the packets, want %.4f", got, c.share)
			}
			if got := float64(count) / float64(runs); c.burst > 0 && math.Abs(got-c.burst) > .08*c.burst {
				t.Errorf("runs of %.2f losses on average, want %.2f", got, c.burst)
			}
		})
	}
}

// Each direction has a chain of its own, and SetFaults puts it into the good state.
func TestBurstPerDirection(t *testing.T) {
	stuck := GilbertElliott{GoodToBad: 1}
	n := NewNetwork(21, Faults{})
	a, b := pairOf(t, n, LinkOptions{})
	n.SetFaults(addrA, addrB, Faults{Burst: stuck})
	a.send(1, 16)
	b.send(2, 16)
	n.SetFaults(addrA, addrB, Faults{Burst: GilbertElliott{BadToGood: .001, LossBad: 1}})
	a.send(3, 16)
	if keys, _ := finish(n, b); !slices.Equal(keys, []uint64{3}) {
		t.Errorf("B received %v, want 3 alone", keys)
	}
	if keys, _ := a.packets(); !slices.Equal(keys, []uint64{2}) {
		t.Errorf("A received %v, want 2", keys)
	}
}

// The shapes of jitter: mean, bounds and quantiles.
func TestJitterShapes(t *testing.T) {
	const draws = 200_000
	j := time.Millisecond
	for _, c := range []struct {
		name     string
		shape    Shape
		mean     float64 // all in parts of j
		median   float64
		p99      float64
		p9999    float64
		longest  float64
		accuracy float64 // of the quantiles
	}{
		{"Uniform", Uniform, .5, .5, .99, .9999, 1, .02},
		{"Normal", Normal, .5, .5, .5 + 2.326/6, 1, 1, .02},
		{"Pareto", Pareto, .5, math.Cbrt(2) - 1, math.Cbrt(100) - 1, math.Cbrt(10_000) - 1, 250, .2},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := NewNetwork(22, Faults{})
			f := Faults{Jitter: j, JitterShape: c.shape}
			all := make([]float64, draws)
			sum := 0.
			for i := range all {
				all[i] = float64(n.jitter(&f)) / float64(j)
				sum += all[i]
			}
			slices.Sort(all)
			if all[0] < 0 || all[draws-1] > c.longest {
				t.Errorf("between %.3f and %.3f, want within 0 and %.0f", all[0], all[draws-1], c.longest)
			}
			if got := sum / draws; math.Abs(got-c.mean) > .01 {
				t.Errorf("the mean is %.3f, want %.3f", got, c.mean)
			}
			for q, want := range map[float64]float64{.5: c.median, .99: c.p99, .9999: c.p9999} {
				if got := all[int(q*draws)]; math.Abs(got-want) > c.accuracy*want {
					t.Errorf("quantile %v is %.3f, want %.3f", q, got, want)
				}
			}
		})
	}
}
