package bench

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
)

// testClient is the client of a run without connections, whose time passes when now moves.
func testClient(workload string, at result.Point, now *time.Duration) *client {
	w, err := workloadOf(workload)
	if err != nil {
		panic(err)
	}
	return &client{workload: w, endpoint: Endpoint{Workload: workload, Point: at}, clock: func() time.Duration { return *now }}
}

// virtual is a system in virtual time: a lone call takes what took says of its number.
type virtual struct {
	now   *time.Duration
	took  func(call int) time.Duration
	calls int
	seen  []uint64 // the numbers of the first calls
}

func (v *virtual) Call(p []byte) error {
	if len(v.seen) < cap(v.seen) {
		v.seen = append(v.seen, binary.LittleEndian.Uint64(p))
	}
	*v.now += v.took(v.calls)
	v.calls++
	return nil
}

func (v *virtual) Close() error { return nil }

// Each call carries another payload; the loop around it counts all of them, or for as long as it shall, and allocates nothing.
func TestWorker(t *testing.T) {
	var now time.Duration
	v := &virtual{now: &now, took: func(int) time.Duration { return 100 }, seen: make([]uint64, 0, 4)}
	c := testClient(Latency, result.Point{Size: 64, Outstanding: 1}, &now)
	w := newWorker(64, 0, v)
	c.load = &closedLoop{client: c, hands: []hand{w}}
	tally := c.newTally()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := w.run(c, now, bound{requests: 10}, tally.records[0]); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
	if r := tally.round(); r.Ops != 1010 || r.Latency.Count != 1010 || r.Latency.P50 != 0.1 || v.calls != 1010 {
		t.Errorf("%d calls counted, %d recorded, %v µs, want 1010 of 0.1 µs", r.Ops, r.Latency.Count, r.Latency.P50)
	}
	if !slices.Equal(v.seen, []uint64{1, 2, 3, 4}) {
		t.Errorf("payloads were numbered %v", v.seen)
	}
	tally = c.newTally()
	if err := c.load.run(bound{duration: 1000}, tally); err != nil {
		t.Fatal(err)
	}
	if r := tally.round(); r.Ops != 10 || r.Seconds != 1e-6 || c.calls.Load() != 1020 {
		t.Errorf("%d calls in %v s, %d in all, want 10 in 1 µs", r.Ops, r.Seconds, c.calls.Load())
	}
}

// A hand that comes to run late counts from the begin that all of them have in common: so it has less time for its calls, and the first of them is not
// charged with the wait.
func TestHandBeginsLate(t *testing.T) {
	const late, end = 1000, 3000
	var now time.Duration
	c := testClient(Rate, result.Point{Size: 64, Outstanding: 1}, &now)
	v := virtual{now: &now, took: func(int) time.Duration { return 1000 }}
	for name, h := range map[string]hand{
		"worker": newWorker(64, 0, &v),
		"window": newWindow(&shuffler{virtual: v, t: t, slots: c.endpoint.Slots()}, &c.endpoint, 1),
	} {
		now = late
		r := record{latency: NewRecorder()}
		elapsed, err := h.run(c, 0, bound{duration: end}, &r)
		if l := r.latency.Latency(); err != nil || elapsed != end || r.ops != 2 || l.Max != 1 {
			t.Errorf("%s: %d calls of at most %v µs until %v, %v; want 2 of 1 µs until 3 µs", name, r.ops, l.Max, elapsed, err)
		}
	}
}

// Requests are shared out among several goroutines, whose calls are numbered apart.
func TestHandsTogether(t *testing.T) {
	var clocks [3]time.Duration
	c := testClient(Rate, result.Point{Size: 64, Outstanding: 3, Blocking: true}, new(time.Duration))
	c.clock = sinceStart
	l := &closedLoop{client: c}
	var systems []*virtual
	for i := range clocks {
		v := &virtual{now: &clocks[i], took: func(int) time.Duration { return 0 }, seen: make([]uint64, 0, 100)}
		systems = append(systems, v)
		l.hands = append(l.hands, newWorker(64, i, v))
	}
	c.load = l
	tally := c.newTally()
	if err := l.run(bound{requests: 100}, tally); err != nil {
		t.Fatal(err)
	}
	numbers := map[uint64]bool{}
	for i, v := range systems {
		if v.calls != 33 && v.calls != 34 {
			t.Errorf("goroutine %d made %d calls of 100", i, v.calls)
		}
		for _, n := range v.seen {
			numbers[n] = true
		}
	}
	if r := tally.round(); r.Ops != 100 || r.Latency.Count != 100 || len(numbers) != 100 {
		t.Errorf("%d counted, %d recorded, %d numbers, want 100", r.Ops, r.Latency.Count, len(numbers))
	}
}

// shuffler ends its calls out of order: of those outstanding the second oldest, unless that one has waited for long. A call takes a microsecond.
type shuffler struct {
	virtual
	t         *testing.T
	open      []int
	numbers   map[uint64]bool
	next      int
	slots     int
	most      int
	overtaken int
}

func (s *shuffler) Begin(slot int, payload []byte) error {
	n := binary.LittleEndian.Uint64(payload)
	if slot != s.next || slices.Contains(s.open, slot) || s.numbers != nil && s.numbers[n] {
		s.t.Errorf("call %d in slot %d, want slot %d, free, and a number of its own", n, slot, s.next)
	}
	if s.numbers != nil {
		s.numbers[n] = true
	}
	s.next = (s.next + 1) % s.slots
	s.open = append(s.open, slot)
	s.most = max(s.most, len(s.open))
	return nil
}

func (s *shuffler) Wait(ended []int) (int, error) {
	if len(s.open) == 0 {
		s.t.Fatal("waited for nothing")
	}
	*s.now += time.Microsecond
	i := min(1, len(s.open)-1)
	if s.overtaken++; s.overtaken == 100 { // after more calls than there are slots
		i, s.overtaken = 0, 0
	}
	ended[0] = s.open[i]
	s.open = slices.Delete(s.open, i, i+1)
	return 1, nil
}

// The loop keeps as many calls outstanding as it may, begins the slots in turn also when one of them is late, counts what ended in time and
// waits for the rest. It allocates nothing.
func TestWindow(t *testing.T) {
	var now time.Duration
	e := Endpoint{Workload: Rate, Point: result.Point{Size: 64, Outstanding: 4}}
	c := testClient(Rate, e.Point, &now)
	s := &shuffler{virtual: virtual{now: &now}, t: t, numbers: map[uint64]bool{}, slots: e.Slots()}
	w := newWindow(s, &e, 0)
	c.load = &closedLoop{client: c, hands: []hand{w}}
	tally := c.newTally()
	if err := c.load.run(bound{duration: 5 * time.Millisecond}, tally); err != nil {
		t.Fatal(err)
	}
	r := tally.round()
	if s.most != 4 || len(s.open) != 0 || w.open != 0 || r.Ops != 5000 || r.PerSec != 1e6 || w.calls != 5003 || len(s.numbers) != 5003 {
		t.Errorf("%d at once, %d left, %d of %d calls counted, %v a second", s.most, len(s.open), r.Ops, w.calls, r.PerSec)
	}
	tally = c.newTally()
	if err := c.load.run(bound{requests: 1000}, tally); err != nil {
		t.Fatal(err)
	}
	if r := tally.round(); r.Ops != 1000 || w.calls != 6003 || c.calls.Load() != 6003 {
		t.Errorf("%d counted of 1000, %d begun in all", r.Ops, w.calls)
	}
	s.numbers = nil
	if n := testing.AllocsPerRun(10, func() { _, _ = w.run(c, now, bound{duration: 100 * time.Microsecond}, tally.records[0]) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
