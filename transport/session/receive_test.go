package session

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

func TestReceiveWindow(t *testing.T) {
	for i, x := range []struct {
		records []uint64
		bits    uint64
		largest uint64
	}{
		{[]uint64{0}, 0, 0},
		{[]uint64{5}, 0, 5},
		{[]uint64{0, 1, 2}, 0b11, 2},
		{[]uint64{2, 0}, 0b10, 2},
		{[]uint64{0, 63}, 1 << 62, 63},
		{[]uint64{0, 64}, 1 << 63, 64}, // the last that the bitmap can tell of
		{[]uint64{0, 65}, 0, 65},       // and the first that it cannot
		{[]uint64{0, 1, 65}, 1 << 63, 65},
		{[]uint64{0, 1 << 40}, 0, 1 << 40},
	} {
		var w receiveWindow
		for j, n := range x.records {
			if w.seen(n) {
				t.Errorf("%d: %d counts as seen", i, n)
			}
			w.record(n, transport.Time(j+1))
			if !w.seen(n) {
				t.Errorf("%d: %d was recorded and not seen", i, n)
			}
		}
		if w.bits != x.bits || w.largest != x.largest {
			t.Errorf("%d: largest %d, bits %b; want %d, %b", i, w.largest, w.bits, x.largest, x.bits)
		}
	}
}

// TestReceiveWindowAgainstSet: what was recorded is seen; what was not is not, unless it is more than 64 behind.
func TestReceiveWindowAgainstSet(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 2))
		var w receiveWindow
		set := map[uint64]bool{}
		base, largest := uint64(0), uint64(0)
		for range 2000 {
			base += uint64(r.IntN(3))
			if r.IntN(100) == 0 {
				base += uint64(r.IntN(200))
			}
			n := base + uint64(r.IntN(70))
			want := set[n] || len(set) > 0 && n+64 < largest
			if w.seen(n) != want {
				t.Fatalf("seed %d: seen(%d) = %v with the largest %d", seed, n, !want, largest)
			}
			if want {
				continue
			}
			w.record(n, 1)
			set[n] = true
			largest = max(largest, n)
			for back := uint64(1); back <= 64 && back <= largest; back++ {
				if got := w.bits&(1<<(back-1)) != 0; got != set[largest-back] {
					t.Fatalf("seed %d: bit %d is %v", seed, back-1, got)
				}
			}
		}
	}
}

// TestOneWayDelay: the two clocks differ by any amount, and the wait in queues is what goes beyond the least delay seen.
func TestOneWayDelay(t *testing.T) {
	const ms = transport.Time(time.Millisecond)
	for _, skew := range []uint32{0, 5, 1 << 31, 1<<32 - 1000} {
		var o oneWay
		if o.queued(ms, 0) != 0 {
			t.Error("a wait is known before the first packet")
		}
		packet := func(sent, delay transport.Time) time.Duration {
			stamp := micros(sent) + skew
			o.sample(sent+delay, sent+delay, stamp)
			return o.queued(sent+delay, stamp)
		}
		for i, x := range []struct {
			sent, delay transport.Time
			want        time.Duration
		}{
			{1000 * ms, 3 * ms, 0}, // nothing to compare it with
			{1001 * ms, 5 * ms, 2 * time.Millisecond},
			{1002 * ms, 1 * ms, 0}, // a new least
			{1003 * ms, 3 * ms, 2 * time.Millisecond},
			{1004 * ms, 301 * ms, 300 * time.Millisecond},
			{12000 * ms, 2 * ms, time.Millisecond}, // the next period still knows the last
			{12001 * ms, 1 * ms, 0},
			{23000 * ms, 9 * ms, 8 * time.Millisecond},
			{34000 * ms, 9 * ms, 0}, // and the one after has forgotten: the way has become longer
		} {
			if got := packet(x.sent, x.delay); got != x.want {
				t.Errorf("skew %d, packet %d: waited %v, want %v", skew, i, got, x.want)
			}
		}
	}
}

// TestOneWayDelayOverTheWrap: stamps begin anew every 71 minutes.
func TestOneWayDelayOverTheWrap(t *testing.T) {
	var o oneWay
	wrap := transport.Time(1<<32) * 1000
	for now := wrap - transport.Time(time.Second); now < wrap+transport.Time(time.Second); now += transport.Time(100 * time.Millisecond) {
		stamp := micros(now - 50000)
		o.sample(now, now, stamp)
		if q := o.queued(now, stamp); q != 0 {
			t.Errorf("waited %v", q)
		}
		if q := o.queued(now+7000000, stamp); q != 7*time.Millisecond {
			t.Errorf("waited %v, want 7 ms", q)
		}
	}
}
