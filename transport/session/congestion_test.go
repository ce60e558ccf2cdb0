package session

import (
	"math"
	"testing"
	"time"
	"unsafe"

	"github.com/fastrpc/fastrpc/transport"
)

// TestSwiftOneFlow: utilization and queue of a link that one sender has to itself.
func TestSwiftOneFlow(t *testing.T) {
	for _, c := range []struct {
		name     string
		change   func(b *bottleneck)
		early    float64 // least utilization of the first 5 ms, slow start included
		late     float64 // and later
		maxQueue time.Duration
	}{
		{"lossless", func(*bottleneck) {}, 0.93, 0.985, 45 * time.Microsecond},
		{"0.1 % loss", func(b *bottleneck) { b.loss = 0.001 }, 0.9, 0.98, 45 * time.Microsecond},
		{"1 % loss", func(b *bottleneck) { b.loss = 0.01 }, 0.9, 0.97, 45 * time.Microsecond},
		{"1 % loss, 200 µs", func(b *bottleneck) { b.loss, b.baseRTT = 0.01, 200*time.Microsecond }, 0.6, 0.9, 45 * time.Microsecond},
		{"buffer below target", func(b *bottleneck) { b.queue = 20 }, 0.9, 0.95, 24 * time.Microsecond},
		{"marks", func(b *bottleneck) { b.mark = 15 }, 0.9, 0.9, 20 * time.Microsecond},
		{"receiver pauses", func(b *bottleneck) { b.pause = 200 * time.Microsecond }, 0.8, 0.88, 45 * time.Microsecond},
	} {
		b := tenGbit()
		c.change(b)
		b.start(1, 1024, 0)
		early := sumOf(b.run(5*time.Millisecond)) / (b.rate * 0.005)
		late := sumOf(b.run(100*time.Millisecond)) / (b.rate * 0.1)
		if early < c.early || late < c.late || b.meanQueue() > c.maxQueue {
			t.Errorf("%s: utilization %.3f, then %.3f, want %.3f and %.3f; mean queue %v, want at most %v",
				c.name, early, late, c.early, c.late, b.meanQueue(), c.maxQueue)
		}
		if c.name == "lossless" && b.dropped > 0 {
			t.Errorf("%s: the queue overflowed %d times", c.name, b.dropped)
		}
	}
}

// TestSwiftFairness: senders share a port's queue, whoever came first.
func TestSwiftFairness(t *testing.T) {
	for _, c := range []struct {
		name      string
		flows     int
		apart     time.Duration
		loss      float64
		pause     time.Duration
		deviation float64
	}{
		{"2 at once", 2, 0, 0, 0, 0.05},
		{"2, one late", 2, 10 * time.Millisecond, 0, 0, 0.05},
		{"4, each later", 4, 5 * time.Millisecond, 0, 0, 0.1},
		{"16 at once", 16, 0, 0, 0, 0.2},
		{"16, each later", 16, time.Millisecond, 0, 0, 0.2},
		{"16, 1 % loss", 16, 0, 0.01, 0, 0.2},
		{"16, receiver pauses", 16, 0, 0, 200 * time.Microsecond, 0.2},
		{"100 at once", 100, 0, 0, 0, 0.5},
	} {
		b := tenGbit()
		b.loss, b.pause = c.loss, c.pause
		b.start(c.flows, 256, c.apart)
		b.run(100 * time.Millisecond)
		got := b.run(100 * time.Millisecond)
		deviation, jain := spread(got)
		utilization, drops := sumOf(got)/(b.rate*0.1), float64(b.dropped)/float64(b.served)
		if deviation > c.deviation || jain < 0.97 {
			t.Errorf("%s: shares up to %.0f %% off, Jain's index %.4f", c.name, 100*deviation, jain)
		}
		if least := 0.95 * (1 - c.pause.Seconds()*500); utilization < least || drops > 0.001 {
			t.Errorf("%s: utilization %.3f, want %.3f; %.4f of the packets overflowed the queue", c.name, utilization, least, drops)
		}
	}
}

// TestSwiftRecovers: the path is dead for a while; the window is small at its end, and the link full again soon after.
func TestSwiftRecovers(t *testing.T) {
	b := tenGbit()
	b.start(1, 256, 0)
	b.run(20 * time.Millisecond)
	b.loss = 1
	b.run(100 * time.Millisecond)
	if w, _ := b.flows[0].window(); w != 1 {
		t.Errorf("after %d timeouts in a row the window is %d", b.flows[0].timeouts, w)
	}
	b.loss = 0
	b.run(100 * time.Millisecond) // the probe timeout had backed off
	if got := sumOf(b.run(10*time.Millisecond)) / (b.rate * 0.01); got < 0.95 {
		t.Errorf("utilization %.3f after the path came back", got)
	}
}

const us = time.Microsecond

// swiftAt makes a controller whose window is cwnd, after slow start, at the time 1 s; its rounds have ended there.
func swiftAt(cwnd float64) *swift {
	s := newSwift(256, 50*us)
	s.cwnd, s.threshold = cwnd, float32(cwnd)
	s.beginRound(transport.Time(time.Second))
	return s
}

// TestSwiftSteps: what one event does to a window.
func TestSwiftSteps(t *testing.T) {
	const now = transport.Time(time.Second + time.Millisecond)
	ack := func(n, flight int, queue time.Duration, marked bool) func(*swift) {
		return func(s *swift) { s.acked(now, n, flight, 40*us+queue, 40*us, marked) }
	}
	for _, c := range []struct {
		name string
		from float64
		do   []func(*swift)
		want float64
	}{
		{"half a packet a round trip", 100, []func(*swift){ack(50, 100, 10*us, false)}, 100.25},
		{"the largest window", 255.999, []func(*swift){ack(200, 255, 10*us, false)}, 256},
		{"not used, no growth", 100, []func(*swift){ack(10, 49, 10*us, false)}, 100},
		{"half used, growth", 100, []func(*swift){ack(50, 50, 10*us, false)}, 100.25},
		{"below one packet", 0.5, []func(*swift){ack(1, 1, 10*us, false)}, 1},
		{"at the target, nothing", 100, []func(*swift){ack(50, 100, 50*us, false)}, 100},
		{"above: what the path carries, and a dip", 100, []func(*swift){ack(50, 100, 60*us, false)}, 100 * 0.5 * 2 / 3},
		{"long path: in proportion", 100, []func(*swift){
			func(s *swift) { s.acked(now, 50, 100, 400*us, 300*us, false) }}, 100 * 0.75 * 2 / 3},
		{"from the dip back in no time", 100, []func(*swift){ack(50, 100, 60*us, false),
			func(s *swift) { s.acked(now.Add(50*us), 10, 50, 45*us, 40*us, false) },
			func(s *swift) { s.acked(now.Add(60*us), 30, 50, 45*us, 40*us, false) }}, 50},
		{"once a round trip", 100, []func(*swift){ack(50, 100, 60*us, false),
			func(s *swift) { s.acked(now.Add(90*us), 1, 50, 100*us, 40*us, false) }}, 100 * 0.5 * 2 / 3},
		{"one fast packet: no standing queue", 100, []func(*swift){
			func(s *swift) { s.acked(transport.Time(time.Second).Add(30*us), 1, 100, 50*us, 40*us, false) }, ack(1, 100, 200*us, false)}, 100.005},
		{"small windows are allowed more", 1, []func(*swift){ack(1, 1, 105*us, false)}, 1.5},
		{"first mark", 100, []func(*swift){ack(50, 100, 10*us, true)}, 50},
		{"a fifth marked later", 100, []func(*swift){func(s *swift) { s.alpha = 0.2 },
			func(s *swift) { s.acked(now.Add(-980*us), 4, 49, 45*us, 40*us, false) }, ack(1, 49, 10*us, true)}, 90},
		{"a loss alone", 100, []func(*swift){ack(1, 49, 10*us, false), func(s *swift) { s.lost(now, now-1) }}, 100},
		{"a loss near the target", 100, []func(*swift){ack(1, 49, 50*us, false), func(s *swift) { s.lost(now, now-1) }}, 100},
		{"a loss at a deep queue", 100, []func(*swift){
			func(s *swift) { s.acked(transport.Time(time.Second).Add(30*us), 1, 49, 200*us, 40*us, false) },
			func(s *swift) { s.lost(now, now-1) }}, 100 * 0.5 * 2 / 3},
		{"a lost packet that was sent before the decrease", 100, []func(*swift){ack(50, 100, 60*us, false),
			func(s *swift) { s.lost(now, now-1) }}, 100 * 0.5 * 2 / 3},
		{"12 of 100 lost", 100, []func(*swift){losses(now, 12)}, 100},
		{"14 of 100 lost", 100, []func(*swift){losses(now, 14)}, 50},
		{"200 of 100 lost", 100, []func(*swift){losses(now, 200)}, 50},
		{"12, 100 arrived, 12 again", 100, []func(*swift){losses(now, 12), ack(100, 49, 10*us, false), losses(now, 12)}, 100},
		{"one timeout", 100, []func(*swift){timeouts(now, 1)}, 100},
		{"two timeouts", 100, []func(*swift){timeouts(now, 2)}, 50},
		{"three timeouts", 100, []func(*swift){timeouts(now, 3)}, 1},
		{"nine timeouts", 100, []func(*swift){timeouts(now, 9)}, 1},
		{"three timeouts and life", 100, []func(*swift){timeouts(now, 3),
			func(s *swift) { s.acked(now.Add(50*us), 1, 1, 45*us, 40*us, false) },
			func(s *swift) { s.acked(now.Add(100*us), 2, 2, 45*us, 40*us, false) },
			func(s *swift) { s.acked(now.Add(150*us), 60, 60, 45*us, 40*us, false) }}, 50},
		{"overload was none", 100, []func(*swift){losses(now, 14), spurious}, 100},
		{"timeouts were none", 100, []func(*swift){timeouts(now, 3), spurious}, 100},
		{"none twice", 100, []func(*swift){losses(now, 14), spurious, spurious}, 100},
		{"12 lost, 5 not, 5 more", 100, []func(*swift){losses(now, 12), spurious, spurious, spurious, spurious, spurious, losses(now, 5)}, 100},
		{"the delay shrank it, not the loss", 100, []func(*swift){losses(now, 1), ack(50, 100, 60*us, false), spurious}, 100 * 0.5 * 2 / 3},
		{"never below the least", 0.012, []func(*swift){losses(now, 20)}, swiftMin},
		{"reset", 100, []func(*swift){ack(50, 100, 60*us, false), (*swift).reset}, swiftInitial},
	} {
		s := swiftAt(c.from)
		for _, do := range c.do {
			do(s)
		}
		if math.Abs(s.cwnd-c.want) > 1e-5 {
			t.Errorf("%s: window %.5f, want %.5f", c.name, s.cwnd, c.want)
		}
	}
}

func losses(now transport.Time, n int) func(*swift) {
	return func(s *swift) {
		for range n {
			s.lost(now, now-1)
		}
	}
}

func timeouts(now transport.Time, n int) func(*swift) {
	return func(s *swift) {
		for i := range n {
			s.timedOut(now, i+1)
		}
	}
}

func spurious(s *swift) { s.spurious(0) }

// TestSwiftStart: the window doubles each round trip until the delay is above the target.
func TestSwiftStart(t *testing.T) {
	s, now := newSwift(256, 0), transport.Time(time.Second)
	for _, want := range []int{20, 40, 80, 160, 256, 256} {
		w, _ := s.window()
		now = now.Add(45 * us)
		s.acked(now, w, w, 45*us, 40*us, false)
		if got, _ := s.window(); got != want {
			t.Fatalf("window %d, want %d", got, want)
		}
	}
	s.acked(now.Add(200*us), 1, 256, 200*us, 40*us, false)
	s.acked(now.Add(300*us), 200, 256, 45*us, 40*us, false)
	if got, _ := s.window(); got != 128 {
		t.Errorf("window %d after the first congestion, want 128", got)
	}
}

// TestSwiftPacing: a window below one packet is time between packets.
func TestSwiftPacing(t *testing.T) {
	for _, c := range []struct {
		cwnd    float64
		rtt     time.Duration
		packets int
		gap     time.Duration
	}{
		{1, 100 * us, 1, 0},
		{7.9, 100 * us, 7, 0},
		{0.5, 100 * us, 1, 200 * us},
		{swiftMin, 50 * us, 1, 5 * time.Millisecond},
		{swiftMin, time.Second, 1, swiftMaxGap},
	} {
		s := swiftAt(c.cwnd)
		s.rtt = c.rtt
		if packets, gap := s.window(); packets != c.packets || gap != c.gap {
			t.Errorf("window %v at %v: %d packets, gap %v; want %d, %v", c.cwnd, c.rtt, packets, gap, c.packets, c.gap)
		}
	}
}

// TestFixed: nothing changes it.
func TestFixed(t *testing.T) {
	c := newController(Fixed, 64, 0)
	now := transport.Time(time.Second)
	c.acked(now, 10, 64, time.Second, us, true)
	for i := range 50 {
		c.lost(now, now-1)
		c.timedOut(now, i+1)
	}
	c.spurious(now)
	c.reset()
	if w, gap := c.window(); w != 64 || gap != 0 {
		t.Errorf("window %d, gap %v", w, gap)
	}
}

// TestControllerCost: twenty thousand sessions have one each.
func TestControllerCost(t *testing.T) {
	if size := unsafe.Sizeof(swift{}); size > 96 {
		t.Errorf("swift takes %d bytes", size)
	}
	for _, kind := range []Congestion{Swift, Fixed} {
		c, now := newController(kind, 256, 0), transport.Time(time.Second)
		allocs := testing.AllocsPerRun(100, func() {
			now = now.Add(50 * us)
			c.acked(now, 3, 200, 120*us, 40*us, false)
			c.lost(now, now-1)
			c.timedOut(now, 3)
			c.spurious(now)
			c.window()
			c.reset()
		})
		if allocs != 0 {
			t.Errorf("congestion control %d allocates %v times", kind, allocs)
		}
	}
}

func BenchmarkSwift(b *testing.B) {
	s, now := newSwift(256, 0), transport.Time(time.Second)
	for b.Loop() {
		now += 1200
		s.acked(now, 1, 64, 70*us, 40*us, false)
		s.window()
	}
}
