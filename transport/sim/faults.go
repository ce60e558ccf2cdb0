package sim

import (
	"fmt"
	"time"
)

// Faults is what a Network does to the packets of one direction. Probabilities lie between 0 and 1; the zero value is a perfect wire. The
// package comment says in which order a packet meets them.
type Faults struct {
	Delay       time.Duration // of every packet
	Jitter      time.Duration // scale of what is added to Delay. It never reorders: a packet waits for the one before it
	JitterShape Shape         // how what is added is distributed. Default Uniform

	Loss  float64        // of each packet for itself
	Burst GilbertElliott // loss in bursts

	Duplicate     float64 // a second copy comes up to ReorderDelay later, with its own luck in corruption
	Corrupt       float64 // bits or bytes change, or the end is cut off
	CorruptHeader float64 // the same, but within the first 64 bytes, where the headers are

	Reorder      float64       // the packet comes late and those behind it may overtake
	ReorderDelay time.Duration // how late at most. Default twice Delay+Jitter, at least 100 µs

	Spike      float64 // the packet, and all behind it, come SpikeDelay later: a paused switch, a full buffer
	SpikeDelay time.Duration

	Bandwidth Bandwidth // of this direction alone

	MTU       int  // larger packets (Frame.Data, bytes) go no further, like those that meet a black hole. 0: no limit
	ReportMTU bool // no black hole: a sender with LinkOptions.Unreachable hears of it at once, as ICMP would report it
}

// headerBytes is how much of a packet CorruptHeader may hit.
const headerBytes = 64

// Shape is a distribution of jitter. Of all of them the mean is half of Faults.Jitter, J below, so that one can stand in for another.
type Shape uint8

const (
	// Uniform is flat between 0 and J.
	Uniform Shape = iota
	// Normal is a bell with a standard deviation of J/6, cut to lie between 0 and J.
	Normal
	// Pareto has a heavy tail: a Pareto distribution of shape 3, as netem's (iproute2, netem/pareto.c), moved to begin at 0, also known as
	// Lomax's. The median is 0.26 J; one packet in a hundred comes later than 3.6 J, one in a million later than 99 J.
	Pareto
)

// GilbertElliott is loss in bursts: a chain of two states, good and bad, that may change state before each packet, with a probability of loss
// in each (E. N. Gilbert, "Capacity of a Burst-Noise Channel", Bell System Technical Journal 39, 1960; E. O. Elliott, "Estimates of Error
// Rates for Codes on Burst-Noise Channels", ibid. 42, 1963). Every direction has a chain of its own, which SetFaults puts into the good state.
// The bad state takes GoodToBad/(GoodToBad+BadToGood) of the packets in the long run, 1/BadToGood of them at a time on average. The zero
// value is off. tc-netem's "loss gemodel" calls the four p, r, 1-k and 1-h.
type GilbertElliott struct {
	GoodToBad float64
	BadToGood float64
	LossGood  float64
	LossBad   float64 // default 1 where GoodToBad is set
}

// BurstLoss is the chain that loses the given share of packets in bursts of so many on average, and none between them: Gilbert's model with
// nothing passing in the bad state. It panics where there is no such chain: the share must be below 1, a burst at least one packet, and the
// gaps between bursts, burst*(1-share)/share packets on average, also at least one.
func BurstLoss(share, burst float64) GilbertElliott {
	if share == 0 {
		return GilbertElliott{}
	}
	leave := 1 / burst
	enter := leave * share / (1 - share)
	if !(share > 0 && share < 1 && burst >= 1 && enter <= 1) {
		panic(fmt.Sprintf("sim: no chain of two states loses %v of the packets in bursts of %v on average", share, burst))
	}
	return GilbertElliott{GoodToBad: enter, BadToGood: leave, LossBad: 1}
}

func (f Faults) withDefaults() Faults {
	if f.Burst.GoodToBad > 0 && f.Burst.LossBad == 0 {
		f.Burst.LossBad = 1
	}
	for _, p := range [...]float64{
		f.Loss, f.Burst.GoodToBad, f.Burst.BadToGood, f.Burst.LossGood, f.Burst.LossBad,
		f.Duplicate, f.Corrupt, f.CorruptHeader, f.Reorder, f.Spike,
	} {
		if !(p >= 0 && p <= 1) {
			panic("sim: Faults: a probability is not between 0 and 1")
		}
	}
	if f.Delay < 0 || f.Jitter < 0 || f.ReorderDelay < 0 || f.SpikeDelay < 0 {
		panic("sim: Faults: a delay is negative")
	}
	if f.JitterShape > Pareto {
		panic("sim: Faults: no such JitterShape")
	}
	if f.MTU < 0 {
		panic("sim: Faults: the MTU is negative")
	}
	if f.ReorderDelay == 0 {
		f.ReorderDelay = max(2*(f.Delay+f.Jitter), 100*time.Microsecond)
	}
	f.Bandwidth = f.Bandwidth.withDefaults()
	return f
}
