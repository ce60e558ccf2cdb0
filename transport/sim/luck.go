package sim

import (
	"math"
	"time"
)

// All that a Network draws at random is drawn here. What is off draws nothing.

func (n *Network) chance(p float64) bool { return p > 0 && n.rng.Float64() < p }

func (n *Network) upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(n.rng.Int64N(int64(d) + 1))
}

// jitter is what a packet's delay exceeds Faults.Delay by.
func (n *Network) jitter(f *Faults) time.Duration {
	if f.Jitter == 0 {
		return 0
	}
	var x float64
	switch f.JitterShape {
	case Uniform:
		return n.upTo(f.Jitter)
	case Normal:
		x = min(max(.5+n.rng.NormFloat64()/6, 0), 1)
	case Pareto:
		// The inverse of its distribution function, 1-(1+x)^-3. 1-Float64 is never 0: x stays below 208,064.
		x = 1/math.Cbrt(1-n.rng.Float64()) - 1
	}
	return time.Duration(x * float64(f.Jitter))
}

// burst moves d's Gilbert-Elliott chain on by one packet; true: it takes the packet.
func (n *Network) burst(d *direction) bool {
	g := &d.faults.Burst
	if d.bad {
		d.bad = !n.chance(g.BadToGood)
	} else {
		d.bad = n.chance(g.GoodToBad)
	}
	if d.bad {
		return n.chance(g.LossBad)
	}
	return n.chance(g.LossGood)
}

// damage corrupts a packet, or does not; at most once, as a second time might undo the first.
func (n *Network) damage(r *record, f *Faults) {
	switch {
	case n.chance(f.CorruptHeader):
		n.corrupt(r, min(len(r.packet), headerBytes))
	case n.chance(f.Corrupt):
		n.corrupt(r, len(r.packet))
	}
}

// corrupt changes a packet's first size bytes so that it surely differs from what was sent.
func (n *Network) corrupt(r *record, size int) {
	if size == 0 {
		return
	}
	at := n.rng.IntN(size)
	switch n.rng.IntN(4) {
	case 0: // one bit
		r.packet[at] ^= 1 << n.rng.IntN(8)
	case 1: // bits here and there
		for ; at < size; at += 1 + n.rng.IntN(size) {
			r.packet[at] ^= 1 << n.rng.IntN(8)
		}
	case 2: // a run of bytes
		for end := min(size, at+1+n.rng.IntN(16)); at < end; at++ {
			r.packet[at] ^= byte(1 + n.rng.IntN(255))
		}
	case 3: // the end is missing
		r.packet = r.packet[:at]
	}
	n.note(Corrupted, r)
}
