package session_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// tenGigabits is a way of 20 µs, with a sender's own wire of 10 Gbit/s.
func tenGigabits(loss float64) sim.Faults {
	return sim.Faults{Delay: 20 * time.Microsecond, Loss: loss, Bandwidth: sim.Bandwidth{BitsPerSecond: tenGigabit}}
}

// seedsFor is how many worlds to look at: what has no luck in it is the same in all of them.
func seedsFor(luck bool) uint64 {
	if testing.Short() || !luck {
		return 1
	}
	return 3
}

// TestGoodputUnderLoss: what random loss leaves of the goodput, of long requests and of long replies, one or two at once.
func TestGoodputUnderLoss(t *testing.T) {
	body := pattern(8<<20, 1)
	for _, kind := range []struct {
		name           string
		request, reply []byte
	}{{"request", body, nil}, {"reply", body[:64], body}} {
		for _, atOnce := range []int{1, 2} {
			lossless := 0.0
			for _, c := range []struct{ loss, part float64 }{{0, 1}, {0.001, 0.95}, {0.01, 0.8}, {0.1, 0}} {
				least := 1e9
				for seed := range seedsFor(c.loss > 0) {
					x := newFabric(t, seed, tenGigabits(c.loss), session.Config{}, ethernet)
					x.arrived = func(k *session.Call) { k.ReplyBytes(x.net.Now(), session.OK, session.Executed, kind.reply) }
					conn := x.session(x.client(session.Config{}))
					calls := x.transfer(conn, kind.request, 3*atOnce, atOnce, time.Minute)
					least = min(least, calls*float64(len(body))*8/1e9)
				}
				if c.loss == 0 {
					lossless = least
				}
				t.Logf("%d × 8 MiB %s at once, %4.1f %% loss: %.2f Gbit/s, %.3f of lossless", atOnce, kind.name, 100*c.loss, least, least/lossless)
				if least < c.part*lossless || c.loss == 0 && least < 8.9 {
					t.Errorf("%d %s at once, %.1f %% loss: %.2f Gbit/s, lossless %.2f, want %.2f of it", atOnce, kind.name, 100*c.loss, least, lossless, c.part)
				}
			}
		}
	}
}

// incast is senders that always have two messages of 1 MiB for one receiver behind a port of 10 Gbit/s and 256 KiB. They come one by one; after
// 100 ms, it returns what arrived of each in 100 ms, in Gbit/s with all headers of Ethernet, least first, and in all.
func incast(t *testing.T, seed uint64, senders int, loss float64, markBytes int, client, server session.Config) (each []float64, sum float64, x *fabric) {
	x = newFabric(t, seed, tenGigabits(loss), server, ethernet)
	x.net.SetIngress(serverAddr, sim.Bandwidth{BitsPerSecond: tenGigabit, QueueBytes: 256 << 10, MarkBytes: markBytes})
	got := map[netip.AddrPort]int{}
	x.net.Trace(func(r sim.TraceRecord) {
		if r.Fate == sim.Delivered && r.To == serverAddr {
			got[r.From] += len(r.Packet) + wireOverhead
		}
	})
	body := pattern(1<<20, 1)
	for range senders {
		x.pump(x.session(x.client(client)), body, 2)
	}
	x.run(100*time.Millisecond, nil)
	clear(got)
	const second = 100 * time.Millisecond
	x.run(second, nil)
	for _, n := range x.clients {
		rate := float64(got[n.link.(*sim.Link).Addr()]) * 8 / float64(second)
		each, sum = append(each, rate), sum+rate
	}
	slices.Sort(each)
	return each, sum, x
}

// wireOverhead is what sim counts beside a packet's bytes.
const wireOverhead = 66

// TestIncast: sixteen senders share a receiver's port, none more than 20 % off the fair share, and nothing of the port is lost. Whatever binds
// them: the delay, marks, losses or credit.
func TestIncast(t *testing.T) {
	for _, c := range []struct {
		name   string
		loss   float64
		mark   int
		credit int64
	}{
		{"delay", 0, 0, 0},
		{"marks above 64 KiB", 0, 64 << 10, 0},
		{"credit of 64 KiB", 0, 0, 64 << 10},
		{"credit of 128 KiB", 0, 0, 128 << 10},
		{"0.1 % loss", 0.001, 0, 0},
	} {
		if testing.Short() && c.name != "delay" {
			break
		}
		for seed := range seedsFor(c.loss > 0) {
			each, sum, x := incast(t, seed, 16, c.loss, c.mark, session.Config{}, session.Config{Credit: c.credit})
			fair := sum / 16
			summary := fmt.Sprintf("%s: %.2f Gbit/s in all, each %.2f to %.2f of the fair share, %d dropped by the port",
				c.name, sum, each[0]/fair, each[15]/fair, x.net.Counters().QueueDropped)
			t.Log(summary)
			if each[0] < 0.8*fair || each[15] > 1.2*fair || sum < 9 {
				t.Error(summary)
			}
			if marks := x.net.Counters().Marked; (marks > 0) != (c.mark > 0) {
				t.Errorf("%s: %d marks", c.name, marks)
			}
		}
	}
}

// TestIncastFixed: Fixed is for fabrics that lose nothing. On one that does, the port stays busy and everything arrives, but who gets how much is
// chance: that is why it is not the default.
func TestIncastFixed(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	each, sum, x := incast(t, 1, 16, 0, 0, session.Config{Congestion: session.Fixed}, session.Config{})
	drops := x.net.Counters().QueueDropped
	t.Logf("%.2f Gbit/s in all, each %.2f to %.2f of the fair share, %d dropped by the port", sum, each[0]/sum*16, each[15]/sum*16, drops)
	if sum < 8.5 || drops < 1000 {
		t.Errorf("%.2f Gbit/s, %d dropped", sum, drops)
	}
}

// sample makes small calls in a session, one after the other, and returns the time that 99 of 100 took at most.
func (x *fabric) sample(c *session.Conn, calls int) time.Duration {
	x.t.Helper()
	var times []time.Duration
	for range calls {
		before := len(times)
		x.call(c, pattern(64, 2), func(k *session.Call, took time.Duration) {
			if k.Err() != nil {
				x.t.Error(describe(k))
			}
			times = append(times, took)
		})
		if !x.run(time.Minute, func() bool { return len(times) > before }) {
			x.t.Fatal("a small call does not end")
		}
		x.run(time.Duration(before%17)*time.Microsecond, nil) // at any phase of what else happens
	}
	slices.Sort(times)
	return times[len(times)*99/100]
}

// TestSmallCallBesideLong: four transfers of 8 MiB slow a small call down by four times at most, in their session or in another one of
// the same two ends, whichever way they go.
func TestSmallCallBesideLong(t *testing.T) {
	body := pattern(8<<20, 1)
	for _, loss := range []float64{0, 0.001} {
		if testing.Short() && loss > 0 {
			break
		}
		for _, kind := range []struct {
			name           string
			request, reply []byte
		}{{"requests", body, nil}, {"replies", body[:65], body}} {
			x := newFabric(t, 1, tenGigabits(loss), session.Config{}, ethernet)
			n := x.client(session.Config{})
			one, other := x.session(n), x.session(n)
			alone := x.sample(one, 2000)
			x.arrived = func(k *session.Call) {
				var reply []byte
				if len(k.Body()) == len(kind.request) {
					reply = kind.reply
				}
				k.ReplyBytes(x.net.Now(), session.OK, session.Executed, reply)
			}
			done := x.pump(one, kind.request, 4)
			x.run(5*time.Millisecond, nil)
			for _, c := range []struct {
				name string
				conn *session.Conn
			}{{"their session", one}, {"another session", other}} {
				p99 := x.sample(c.conn, 2000)
				t.Logf("%.1f %% loss, beside four %s, in %s: p99 %v, %.2f times %v", 100*loss, kind.name, c.name, p99, float64(p99)/float64(alone), alone)
				if p99 > 4*alone {
					t.Errorf("%.1f %% loss, beside four %s, in %s: p99 %v, alone %v", 100*loss, kind.name, c.name, p99, alone)
				}
			}
			if *done == 0 {
				t.Error("no transfer has ended beside the small calls")
			}
		}
	}
}
