package bench

import (
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
)

// What the harness itself takes of a call: its loops over a system that does nothing, by the real clock. Bar: 60 ns.

// nothing ends its calls at once, many together.
type nothing struct{ open []int }

func (*nothing) Call([]byte) error { return nil }
func (*nothing) Close() error      { return nil }

func (s *nothing) Begin(slot int, _ []byte) error {
	s.open = append(s.open, slot)
	return nil
}

func (s *nothing) Wait(ended []int) (int, error) {
	n := copy(ended, s.open)
	s.open = s.open[:0]
	return n, nil
}

func (s *nothing) Poll(ended []int) (int, error) { return s.Wait(ended) }

// benchmark runs a load until b.N calls have ended.
func benchmark(b *testing.B, c *client) {
	c.clock = sinceStart
	t := c.newTally()
	b.ReportAllocs()
	b.ResetTimer()
	if err := c.load.run(bound{requests: b.N}, t); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	if n := t.records[0].ops; n != int64(b.N) {
		b.Fatalf("%d calls of %d", n, b.N)
	}
}

func BenchmarkHarnessLatency(b *testing.B) {
	c := testClient(Latency, result.Point{Size: 64, Outstanding: 1}, new(time.Duration))
	c.load = &closedLoop{client: c, hands: []hand{newWorker(64, 0, &nothing{})}}
	benchmark(b, c)
}

func BenchmarkHarnessRate(b *testing.B) {
	c := testClient(Rate, result.Point{Size: 64, Outstanding: 32}, new(time.Duration))
	c.load = &closedLoop{client: c, hands: []hand{newWindow(&nothing{}, &c.endpoint, 0)}}
	benchmark(b, c)
}

// The open loop at a load that never lets it wait: waiting is not work.
func BenchmarkHarnessOpen(b *testing.B) {
	for name, kind := range map[string]string{"Poisson": Poisson, "Constant": Constant} {
		b.Run("spinning/"+name, func(b *testing.B) {
			var now time.Duration
			c, l := openOver(&virtual{now: &now}, &nothing{}, result.Point{Size: 64, Outstanding: 64, RPS: MaxRPS, Arrivals: kind})
			c.load = l
			benchmark(b, c)
		})
		b.Run("blocking/"+name, func(b *testing.B) {
			var now time.Duration
			c, l := openOver(&virtual{now: &now, took: func(int) time.Duration { return 0 }}, nil, result.Point{Size: 64, Outstanding: 1, RPS: MaxRPS, Arrivals: kind})
			l.workers[0].worker = newWorker(64, 0, &nothing{})
			l.sleep = func(time.Duration) error { return nil }
			c.load = l
			benchmark(b, c)
		})
	}
}

// Of that, the most is the clock's.
func BenchmarkHarnessClock(b *testing.B) {
	for range b.N {
		sinceStart()
	}
}
