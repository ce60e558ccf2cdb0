package session

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

const ms = time.Millisecond

// fastPhi finds a dead peer within 100 ms at a heartbeat of 10 ms.
var fastPhi = PhiConfig{AcceptablePause: 30 * ms, MinStdDev: 5 * ms}

// normalTail integrates the normal density above z with Simpson's rule: slow, and obviously what phi is the logarithm of.
func normalTail(z float64) float64 {
	const steps, width = 20000, 14.0
	h, sum := width/steps, 0.0
	for i := range steps + 1 {
		weight := 2.0 + 2*float64(i%2)
		if i == 0 || i == steps {
			weight = 1
		}
		x := z + float64(i)*h
		sum += weight * math.Exp(-x*x/2)
	}
	return sum * h / 3 / math.Sqrt(2*math.Pi)
}

func TestPhiOf(t *testing.T) {
	for _, c := range []struct{ z, phi float64 }{ // from tables of the normal distribution
		{0, 0.30103}, {1, 0.79955}, {2, 1.64302}, {3, 2.86970}, {4, 4.49934}, {5, 6.54265}, {6, 9.00586}, {8, 15.20614}, {10, 23.11805},
	} {
		if got := phiOf(c.z); math.Abs(got-c.phi) > 1e-5 {
			t.Errorf("phi of %v is %.5f, want %.5f", c.z, got, c.phi)
		}
	}
	for z := -6.0; z < 30; z += 0.37 {
		if got, want := phiOf(z), -math.Log10(normalTail(z)); math.Abs(got-want) > 1e-6*max(1, want) {
			t.Errorf("phi of %.2f is %.8f, want %.8f", z, got, want)
		}
	}
	for _, z := range []float64{-1e9, -40, 37.2, 38, 39, 1e9} {
		if got := phiOf(z); got < 0 || got > phiMax || math.Signbit(got) || z < 0 != (got == 0) {
			t.Errorf("phi of %v is %v", z, got)
		}
	}
	for _, phi := range []float64{0.5, 1, 8, 16, 100, 299, 300} {
		if got := phiOf(quantile(phi)); math.Abs(got-phi) > 0.01 || got < phi {
			t.Errorf("phi of the quantile for %v is %v", phi, got)
		}
	}
}

// steadyBeats makes a detector that has heard n signs of life at equal intervals, the last at the time returned.
func steadyBeats(cfg PhiConfig, interval time.Duration, n int) (*detector, transport.Time) {
	d, now := newDetector(cfg, interval), transport.Time(time.Hour)
	d.start(now)
	for range n {
		now = now.Add(interval)
		d.beat(now)
	}
	return &d, now
}

// TestPhiValues: phi of a silence against mean and deviation worked out apart from it.
func TestPhiValues(t *testing.T) {
	cfg := PhiConfig{Window: 4, MinStdDev: ms, AcceptablePause: 30 * ms}
	d, now := newDetector(cfg, 50*ms), transport.Time(time.Hour)
	d.start(now)
	for _, gap := range []time.Duration{7 * ms, 40 * ms, 60 * ms, 50 * ms, 70 * ms} { // the first is none
		now = now.Add(gap)
		d.beat(now)
	}
	mean, deviation := 55.0, math.Sqrt((15*15+5*5+5*5+15*15)/4.0)
	for silence := time.Duration(0); silence < 400*ms; silence += 3 * ms {
		want := -math.Log10(normalTail((silence.Seconds()*1000 - mean - 30) / deviation))
		if got := d.phi(now.Add(silence)); math.Abs(got-want) > 1e-6*max(1, want) {
			t.Errorf("phi after %v is %.8f, want %.8f", silence, got, want)
		}
	}
}

// TestPhiMonotone: suspicion never falls while nothing comes, and stays a number.
func TestPhiMonotone(t *testing.T) {
	d, now := steadyBeats(PhiConfig{}, 50*ms, 20)
	before := 0.0
	for silence := time.Duration(1); silence < 1e6*time.Hour && silence > 0; silence += silence/50 + 1 {
		phi := d.phi(now.Add(silence))
		if phi < before || phi > phiMax || math.IsNaN(phi) {
			t.Fatalf("phi after %v is %v, and was %v before", silence, phi, before)
		}
		before = phi
	}
	if before != phiMax {
		t.Errorf("phi ends at %v", before)
	}
}

// TestPhiDetection: how soon a dead peer is suspected, and that suspectAt is that moment.
func TestPhiDetection(t *testing.T) {
	for _, c := range []struct {
		cfg      PhiConfig
		interval time.Duration
		after    time.Duration // to the microsecond
		below    time.Duration // promised
	}{
		{PhiConfig{}, 50 * ms, 362240 * us, 500 * ms},
		{fastPhi, 10 * ms, 68060 * us, 100 * ms},
		{PhiConfig{Threshold: 1, AcceptablePause: us, MinStdDev: 10 * ms}, 50 * ms, 62816 * us, 63 * ms},
		{PhiConfig{Threshold: 1000}, 50 * ms, 990941 * us, time.Second}, // as 300
	} {
		d, now := steadyBeats(c.cfg, c.interval, 100)
		at, threshold := d.suspectAt(), min(max(c.cfg.Threshold, 0), phiMax)
		if threshold == 0 {
			threshold = defaultPhiThreshold
		}
		if after := at.Sub(now); after.Truncate(us) != c.after || after >= c.below {
			t.Errorf("%+v: suspected after %v, want %v, below %v", c.cfg, after, c.after, c.below)
		}
		if early, late := d.phi(at-2000), d.phi(at); early >= threshold || late < threshold {
			t.Errorf("%+v: phi is %v 2 µs before suspectAt and %v at it", c.cfg, early, late)
		}
	}
}

// TestPhiDay: a day of heartbeats with heavy-tailed lateness and pauses, in which nobody dies; then somebody does.
func TestPhiDay(t *testing.T) {
	for _, c := range []struct {
		name     string
		cfg      PhiConfig
		interval time.Duration
		late     func(r *rand.Rand, n int) time.Duration
		below    time.Duration
	}{
		{"lognormal, a pause of 100 ms every 10 s", PhiConfig{}, 50 * ms, func(r *rand.Rand, n int) time.Duration {
			return lognormal(r) + pauseIf(r.IntN(200) == 0, 100*ms)
		}, 500 * ms},
		{"Pareto, a pause of 100 ms every 2 s", PhiConfig{}, 50 * ms, func(r *rand.Rand, n int) time.Duration {
			return pareto(r) + pauseIf(r.IntN(40) == 0, 100*ms)
		}, 500 * ms},
		{"a quota: a pause of 100 ms in every fifth interval", PhiConfig{}, 50 * ms, func(r *rand.Rand, n int) time.Duration {
			return lognormal(r) + pauseIf(n%5 == 0, 100*ms)
		}, 500 * ms},
		{"fast, a pause of 20 ms every second", fastPhi, 10 * ms, func(r *rand.Rand, n int) time.Duration {
			return lognormal(r)/5 + pauseIf(r.IntN(100) == 0, 20*ms)
		}, 100 * ms},
	} {
		r := rand.New(rand.NewPCG(3, 4))
		d, now := newDetector(c.cfg, c.interval), transport.Time(time.Hour)
		d.start(now)
		alarms, longest, end := 0, time.Duration(0), now.Add(24*time.Hour)
		for n := 0; now < end; n++ {
			gap := c.interval + c.late(r, n)
			longest = max(longest, gap)
			if now = now.Add(gap); d.judged() && d.suspectAt() <= now {
				alarms++
				t.Logf("%s: alarm in a silence of %v", c.name, gap)
			}
			d.beat(now)
		}
		if found := d.suspectAt().Sub(now); alarms > 0 || found >= c.below {
			t.Errorf("%s: %d false alarms, longest silence %v; death found after %v", c.name, alarms, longest, found)
		}
		var sum, squares uint64
		for _, x := range d.samples {
			sum, squares = sum+uint64(x), squares+uint64(x)*uint64(x)
		}
		if sum != d.sum || squares != d.squares {
			t.Errorf("%s: running sums %d and %d, want %d and %d", c.name, d.sum, d.squares, sum, squares)
		}
	}
}

func lognormal(r *rand.Rand) time.Duration {
	return time.Duration(float64(ms) * math.Exp(0.8*r.NormFloat64()))
}

// pareto has its shape at 3: one in 1,000 is over 10 ms, one in 10^6 over 100.
func pareto(r *rand.Rand) time.Duration {
	return time.Duration(float64(ms) * math.Pow(1-r.Float64(), -1.0/3))
}

func pauseIf(now bool, d time.Duration) time.Duration {
	if now {
		return d
	}
	return 0
}

// TestPhiAdapts: to a network that becomes slow and irregular, and back.
func TestPhiAdapts(t *testing.T) {
	d, now := steadyBeats(PhiConfig{}, 50*ms, 100)
	quiet := d.suspectAt().Sub(now)
	for i := range 64 {
		now = now.Add(100*ms + time.Duration(i%2)*200*ms)
		d.beat(now)
	}
	if busy := d.suspectAt().Sub(now); busy < quiet+200*ms {
		t.Errorf("suspicion after %v on a quiet network, %v on an irregular one", quiet, busy)
	}
	for range 64 {
		now = now.Add(50 * ms)
		d.beat(now)
	}
	if again := d.suspectAt().Sub(now); again != quiet {
		t.Errorf("suspicion after %v on a quiet network, %v when it is quiet again", quiet, again)
	}
	for range 20 { // a round trip longer than the acceptable pause
		now = now.Add(400 * ms)
		d.beat(now)
	}
	for range 64 {
		now = now.Add(400 * ms)
		if d.suspectAt() <= now {
			t.Fatal("a long way is not learned")
		}
		d.beat(now)
	}
}

// TestPhiOnePause: a pause within the acceptable is not learned beyond twice the mean.
func TestPhiOnePause(t *testing.T) {
	for _, c := range []struct{ gap, learned time.Duration }{
		{0, 0}, {30 * ms, 30 * ms}, {100 * ms, 100 * ms}, {101 * ms, 100 * ms}, {300 * ms, 100 * ms}, {310 * ms, 110 * ms}, {time.Hour, sampleMax * us},
	} {
		d, now := steadyBeats(PhiConfig{}, 50*ms, 100)
		d.beat(now.Add(c.gap))
		if got := time.Duration(d.samples[(d.next+63)%64]) * us; got != c.learned {
			t.Errorf("of a gap of %v, %v was learned, want %v", c.gap, got, c.learned)
		}
	}
}

// TestPhiColdStart: what is said before there are samples, and when they are enough.
func TestPhiColdStart(t *testing.T) {
	d, now := newDetector(PhiConfig{FirstEstimate: 80 * ms}, 50*ms), transport.Time(time.Hour)
	if d.beat(now); d.alive || d.phi(now.Add(time.Hour)) != 0 || d.suspectAt() != 0 {
		t.Error("a detector that was not started suspects")
	}
	d.start(now)
	if d.phi(now.Add(time.Hour)) != 0 || d.suspectAt() != 0 || d.judged() {
		t.Error("suspicion before the first sign of life")
	}
	for n := range 9 {
		if d.judged() {
			t.Errorf("judged after %d signs of life", n)
		}
		now = now.Add(ms)
		d.beat(now)
		if n == 0 { // 80 ms, deviation 20 ms
			if after := d.suspectAt().Sub(now).Truncate(ms); after != 392*ms {
				t.Errorf("suspicion after %v by the estimate", after)
			}
		}
	}
	if !d.judged() {
		t.Error("not judged after 8 intervals")
	}
}

// TestPhiStops: between stop and start nothing is suspected and nothing learned.
func TestPhiStops(t *testing.T) {
	d, now := steadyBeats(PhiConfig{}, 50*ms, 100)
	sum := d.sum
	d.stop()
	now = now.Add(time.Hour)
	d.beat(now)
	if d.phi(now.Add(time.Hour)) != 0 || d.suspectAt() != 0 {
		t.Error("suspicion after stop")
	}
	d.start(now)
	if got := d.suspectAt().Sub(now).Truncate(ms); got != 362*ms || !d.judged() {
		t.Errorf("a peer that is silent from the start is suspected after %v", got)
	}
	d.beat(now.Add(20 * us))
	if d.sum != sum {
		t.Error("the time to the first answer was learned as an interval")
	}
	d.beat(now.Add(70 * ms))
	if d.sum == sum {
		t.Error("nothing is learned after a second start")
	}
}

// TestPhiForgives: this process slept for a second.
func TestPhiForgives(t *testing.T) {
	d, now := steadyBeats(PhiConfig{}, 50*ms, 100)
	at, sum := d.suspectAt(), d.sum
	now = now.Add(time.Second + 50*ms)
	d.forgive(time.Second)
	if d.phi(now) > 0.01 || d.suspectAt() != at.Add(time.Second) {
		t.Errorf("phi is %v after an own pause", d.phi(now))
	}
	if d.beat(now); d.sum != sum {
		t.Error("the own pause was learned")
	}
}

// TestPhiAllocates nothing once it is made.
func TestPhiAllocates(t *testing.T) {
	d, now := steadyBeats(PhiConfig{}, 50*ms, 10)
	var used float64
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(50 * ms)
		d.beat(now)
		d.forgive(ms)
		used += d.phi(now) + float64(d.suspectAt())
		d.stop()
		d.start(now)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestPhiSums: the largest intervals in the largest window do not overflow.
func TestPhiSums(t *testing.T) {
	d, now := newDetector(PhiConfig{Window: 1 << 20, AcceptablePause: us}, 50*ms), transport.Time(time.Hour)
	d.start(now)
	for range 2 * phiWindowMax {
		now = now.Add(24 * time.Hour)
		d.beat(now)
	}
	if len(d.samples) != phiWindowMax || d.sum != phiWindowMax*sampleMax || d.squares != phiWindowMax*sampleMax*sampleMax {
		t.Errorf("%d samples, sums %d and %d", len(d.samples), d.sum, d.squares)
	}
	if got := d.stdDev(); got != d.minStdDev {
		t.Errorf("deviation %v of equal intervals", got)
	}
}
