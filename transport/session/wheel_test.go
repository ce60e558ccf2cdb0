package session

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

const tick = 1 << tickBits

// wheelModel is a wheel beside the slow and obvious way: a list of all timers.
type wheelModel struct {
	t      *testing.T
	wheel  wheel
	timers []timer
	at     []transport.Time // 0: not armed
}

// arm sets a timer. One that is overdue already is due now.
func (m *wheelModel) arm(i int, at, now transport.Time) {
	m.wheel.arm(&m.timers[i], at)
	at = max(at, now)
	if m.at[i] == 0 || at < m.at[i] {
		m.at[i] = at
	}
}

func (m *wheelModel) remove(i int) {
	m.wheel.remove(&m.timers[i])
	m.at[i] = 0
}

// expire fires what is due: never early, nothing left that is a tick overdue.
func (m *wheelModel) expire(now transport.Time) (fired int) {
	for c := m.wheel.expire(now); c != nil; c = m.wheel.expire(now) {
		i := m.index(c)
		if m.at[i] == 0 {
			m.t.Fatalf("timer %d fired and was not armed", i)
		}
		if m.at[i] > now {
			m.t.Fatalf("timer %d fired %v early", i, m.at[i].Sub(now))
		}
		m.at[i] = 0
		fired++
	}
	for i, at := range m.at {
		if at != 0 && at+tick <= now {
			m.t.Fatalf("timer %d is %v overdue", i, now.Sub(at))
		}
		if m.timers[i].linked != (at != 0) {
			m.t.Fatalf("timer %d is in the wheel: %v", i, at == 0)
		}
	}
	return fired
}

func (m *wheelModel) index(t *timer) int {
	for i := range m.timers {
		if t == &m.timers[i] {
			return i
		}
	}
	m.t.Fatal("a timer that nobody armed")
	return 0
}

// next checks that the wheel asks to be looked at in time for the earliest timer.
func (m *wheelModel) next(now transport.Time) transport.Time {
	earliest := transport.Time(0)
	for _, at := range m.at {
		if at != 0 && (earliest == 0 || at < earliest) {
			earliest = at
		}
	}
	next := m.wheel.next()
	switch {
	case (next == 0) != (earliest == 0):
		m.t.Fatalf("next is %d, the earliest timer %d", next, earliest)
	case next > max(earliest, now)+tick:
		m.t.Fatalf("next is %v after the earliest timer", next.Sub(earliest))
	}
	return next
}

// drawn draws a duration between a nanosecond and ten hours, all magnitudes alike.
func drawn(r *rand.Rand) time.Duration {
	return time.Duration(r.Uint64()>>1) >> (63 - r.UintN(46)) % (10 * time.Hour)
}

func TestWheelAgainstList(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := &wheelModel{t: t, timers: make([]timer, 40), at: make([]transport.Time, 40)}
		now := transport.Time(1 + r.Int64N(int64(100*time.Hour)))
		for range 2000 {
			i := r.IntN(len(m.timers))
			switch r.IntN(6) {
			case 0, 1:
				m.arm(i, now.Add(drawn(r)), now)
			case 2:
				m.arm(i, max(now-transport.Time(r.IntN(1e6)), 1), now)
			case 3:
				m.remove(i)
			case 4:
				now = now.Add(drawn(r))
				m.expire(now)
			case 5: // as an engine does: to the very time that the wheel asked for
				if at := m.next(now); at != 0 {
					now = max(now, at)
					m.expire(now)
				}
			}
			m.next(now)
		}
	}
}

// TestWheelTakesFewSteps drives a wheel by its own next: each timer fires within a tick of its time, after one look a level at most.
func TestWheelTakesFewSteps(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for range 1000 {
		m := &wheelModel{t: t, timers: make([]timer, 1), at: make([]transport.Time, 1)}
		now := transport.Time(r.Int64N(int64(time.Hour)))
		m.expire(now)
		at := now.Add(drawn(r) % (4 * time.Hour)).Add(1) // within the wheel's range
		m.arm(0, at, now)
		for step := 0; ; step++ {
			if step > wheelLevels {
				t.Fatalf("a timer %v ahead has not fired after %d looks", at.Sub(now), step)
			}
			next := m.next(now)
			if m.expire(next) == 1 {
				if late := next.Sub(at); late >= tick {
					t.Fatalf("a timer %v ahead fired %v late", at.Sub(now), late)
				}
				break
			}
		}
	}
}

// TestWheelRemovesWhatIsDue: handling one session's timeout may close others that are due in the same tick.
func TestWheelRemovesWhatIsDue(t *testing.T) {
	m := &wheelModel{t: t, timers: make([]timer, 5), at: make([]transport.Time, 5)}
	for i := range m.timers {
		m.arm(i, 1000, 0)
	}
	first := m.index(m.wheel.expire(tick))
	m.at[first] = 0
	for i := range m.timers {
		if i != first && i != (first+2)%5 {
			m.remove(i)
		}
	}
	if n := m.expire(tick); n != 1 {
		t.Errorf("%d fired, want the one that was left", n)
	}
	if m.wheel.next() != 0 {
		t.Error("something is left")
	}
}
