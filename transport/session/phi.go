package session

import (
	"math"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// PhiConfig sets how a silent peer becomes a suspect. A zero field takes its default.
//
// A peer is suspected after a silence of about mean + AcceptablePause + z × deviation, where mean and deviation are those of its signs of life
// and z belongs to the Threshold: 5.6 to 8. At the defaults, with a heartbeat of 50 ms on a quiet network, that is 362 ms after its last sign of life.
type PhiConfig struct {
	// Threshold is the phi at which a peer is suspected: at 8, one suspicion in 10^8 is wrong if the intervals are distributed normally. Default 8,
	// at most 300.
	Threshold float64
	// Window is how many intervals between signs of life are remembered. Default 64, at most 4096.
	Window int
	// MinSamples is how many there must be before phi decides; until then a fixed number of missed heartbeats does. Default 8.
	MinSamples int
	// MinStdDev is the least standard deviation reckoned with, so that a very regular peer is not suspected for a little lateness. Default 20 ms.
	MinStdDev time.Duration
	// AcceptablePause is a silence that is always allowed beyond the mean: a collection, a container's CPU quota, a busy host. Default 200 ms.
	AcceptablePause time.Duration
	// FirstEstimate stands for the mean interval, with a quarter of it as deviation, until there are samples. Default: the heartbeat interval.
	FirstEstimate time.Duration
}

// Defaults, each with its reason.
const (
	defaultPhiThreshold    = 8                      // one false alarm in two months of heartbeats at 50 ms, were they normally distributed
	defaultPhiWindow       = 64                     // 3 s of heartbeats at 50 ms: adapts while a network is busy, outlives a single hiccup
	defaultPhiMinSamples   = 8                      // a mean of fewer says little
	defaultPhiMinStdDev    = 20 * time.Millisecond  // a scheduler's turn on a busy host
	defaultAcceptablePause = 200 * time.Millisecond // two periods of a container's CPU quota

	phiMax       = 300     // double precision ends at a tail of 10^-308
	phiWindowMax = 4096    // with sampleMax, the sum of squares stays below 2^64
	sampleMax    = 1 << 25 // µs, half a minute
)

func (c PhiConfig) withDefaults(interval time.Duration) PhiConfig {
	def(&c.Threshold, defaultPhiThreshold)
	def(&c.Window, defaultPhiWindow)
	def(&c.MinSamples, defaultPhiMinSamples)
	def(&c.MinStdDev, defaultPhiMinStdDev)
	def(&c.AcceptablePause, defaultAcceptablePause)
	def(&c.FirstEstimate, interval)
	c.Threshold = min(c.Threshold, phiMax)
	c.Window = min(max(c.Window, 2), phiWindowMax)
	return c
}

// detector is the phi accrual failure detector of Hayashibara, Défago, Yared and Katayama (SRDS 2004): the longer a silence is against what was
// usual, the larger phi, the negative decimal logarithm of the probability that a sign of life comes even later.
//
// It departs from the paper in one thing. A gap of more than twice the mean is taken to hold a pause, and what AcceptablePause allows is not
// learned from it: a pause now and then would otherwise count twice, and widen the deviation until a dead peer is found too late.
type detector struct {
	samples    []uint32 // intervals, µs; a ring
	next       int      // place of the next one
	filled     int
	seen       int // intervals measured, FirstEstimate's two not among them; stays at minSamples
	minSamples int
	sum        uint64         // of samples, µs
	squares    uint64         // of samples, µs²
	last       transport.Time // the last sign of life, or the start
	z          float64        // the normal distribution's quantile for the threshold
	minStdDev  float64        // µs
	pause      float64        // µs
	running    bool
	fresh      bool // since the start there was no sign of life
	alive      bool // there was one ever
}

// newDetector makes a detector that is stopped, for signs of life that come about every interval.
func newDetector(cfg PhiConfig, interval time.Duration) detector {
	cfg = cfg.withDefaults(interval)
	d := detector{
		samples:    make([]uint32, cfg.Window),
		minSamples: cfg.MinSamples,
		z:          quantile(cfg.Threshold),
		minStdDev:  inMicros(cfg.MinStdDev),
		pause:      inMicros(cfg.AcceptablePause),
	}
	d.learn(cfg.FirstEstimate - cfg.FirstEstimate/4)
	d.learn(cfg.FirstEstimate + cfg.FirstEstimate/4)
	return d
}

// start begins to watch: signs of life are due from now on. What was learned before stays.
func (d *detector) start(now transport.Time) { d.running, d.fresh, d.last = true, true, now }

// stop ends the watch. The time until the next start is no interval.
func (d *detector) stop() { d.running = false }

// beat takes a sign of life, of which the caller passes on one a heartbeat interval at most. The first after a start measures no interval: it
// answers to the start.
func (d *detector) beat(now transport.Time) {
	if !d.running {
		return
	}
	if !d.fresh {
		gap := now.Sub(d.last)
		mean := time.Duration(d.mean() * 1000)
		if gap > 2*mean {
			gap = max(2*mean, gap-time.Duration(d.pause*1000))
		}
		d.learn(gap)
		d.seen = min(d.seen+1, d.minSamples)
	}
	d.last, d.fresh, d.alive = now, false, true
}

// learn puts an interval into the ring, in the place of the oldest when it is full.
func (d *detector) learn(gap time.Duration) {
	x := uint64(min(max(gap.Microseconds(), 0), sampleMax))
	if old := uint64(d.samples[d.next]); d.filled == len(d.samples) {
		d.sum -= old
		d.squares -= old * old
	} else {
		d.filled++
	}
	d.samples[d.next] = uint32(x)
	d.sum += x
	d.squares += x * x
	d.next = (d.next + 1) % len(d.samples)
}

// judged tells whether phi may decide. Until there are enough samples the caller counts missed heartbeats.
func (d *detector) judged() bool { return d.alive && d.seen >= d.minSamples }

// phi is the suspicion that the silence at the time now means the peer's death: 0 while nothing is due and before the first sign of life, at most 300.
func (d *detector) phi(now transport.Time) float64 {
	if !d.running || !d.alive {
		return 0
	}
	return phiOf((inMicros(now.Sub(d.last)) - d.mean() - d.pause) / d.stdDev())
}

// suspectAt is when phi reaches the threshold if nothing comes; 0 while phi is 0 for good.
func (d *detector) suspectAt() transport.Time {
	if !d.running || !d.alive {
		return 0
	}
	silence := (d.mean() + d.pause + d.z*d.stdDev()) * 1000
	return d.last.Add(time.Duration(math.Ceil(max(silence, 0))) + 1) // so that rounding does not leave phi just below
}

// forgive takes by off the silence: for so long this process itself could not have heard anything.
func (d *detector) forgive(by time.Duration) { d.last = d.last.Add(by) }

// mean of the samples, µs.
func (d *detector) mean() float64 { return float64(d.sum) / float64(d.filled) }

// stdDev of the samples, µs, but not below the configured least.
func (d *detector) stdDev() float64 {
	mean := d.mean()
	return max(math.Sqrt(max(float64(d.squares)/float64(d.filled)-mean*mean, 0)), d.minStdDev)
}

// phiOf is -log10 of the normal distribution's tail above z.
func phiOf(z float64) float64 {
	tail := math.Erfc(z/math.Sqrt2) / 2
	if tail < 1e-300 {
		return phiMax
	}
	return max(-math.Log10(tail), 0)
}

// quantile is the z whose phi is as given.
func quantile(phi float64) float64 {
	low, high := -8.0, 38.0 // where phi is 0 in double precision, and beyond phiMax
	for range 60 {
		if z := (low + high) / 2; phiOf(z) < phi {
			low = z
		} else {
			high = z
		}
	}
	return high
}

func inMicros(d time.Duration) float64 { return float64(d) / 1000 }
