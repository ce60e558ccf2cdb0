package session_test

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// TestShortestFirst: of transfers that begin at once, the shorter ends first, in whatever order they began; requests as well as replies.
func TestShortestFirst(t *testing.T) {
	sizes := []int{8 << 20, 1 << 20, 4 << 20, 500_000, 2 << 20}
	for _, replies := range []bool{false, true} {
		x := newFabric(t, 1, tenGigabits(0), session.Config{}, ethernet)
		if replies {
			x.arrived = func(k *session.Call) {
				k.ReplyBytes(x.net.Now(), session.OK, session.Executed, pattern(sizes[k.Body()[0]], 1))
			}
		}
		c := x.session(x.client(session.Config{}))
		var ended []int
		for i, size := range sizes {
			body := pattern(size, byte(i))
			if replies {
				body = []byte{byte(i)}
			}
			x.call(c, body, func(*session.Call, time.Duration) { ended = append(ended, size) })
		}
		if !x.run(time.Second, func() bool { return len(ended) == len(sizes) }) || !slices.IsSorted(ended) {
			t.Errorf("replies %v: they ended in the order of %v bytes", replies, ended)
		}
	}
}

// TestLongKeepsMoving: beside shorter messages without end, a long one goes on with its share of the turns, an eighth, and with what they leave.
func TestLongKeepsMoving(t *testing.T) {
	for _, credit := range []int64{0, 128 << 10} {
		x := newFabric(t, 1, tenGigabits(0), session.Config{Credit: credit}, ethernet)
		c := x.session(x.client(session.Config{}))
		short := x.pump(c, pattern(256<<10, 1), 2)
		const size = 8 << 20
		took := time.Duration(0)
		x.call(c, pattern(size, 2), func(_ *session.Call, d time.Duration) { took = d })
		before := *short
		if !x.run(time.Second, func() bool { return took > 0 }) {
			t.Fatalf("credit %d: the long message does not end", credit)
		}
		share := size / float64(*short-before+size)
		t.Logf("credit %d: the long message took %v, and got %.1f %% of what was sent meanwhile", credit, took, 100*share)
		if share < 0.08 || share > 0.4 {
			t.Errorf("credit %d: the long message got %.1f %% of what was sent meanwhile", credit, 100*share)
		}
	}
}

// TestCreditLimit: what a receiver has granted and not received stays within its limit at every step, whatever becomes of the senders; and in
// the end all of it is free again.
func TestCreditLimit(t *testing.T) {
	for _, credit := range []int64{2_000, 50_000, 1 << 20, 0} {
		faults := tenGigabits(0.02)
		faults.Reorder, faults.Duplicate = 0.05, 0.02
		x := newFabric(t, 1, faults, session.Config{Credit: credit}, ethernet)
		most, limit := int64(0), int64(0)
		x.each = func() {
			var granted int64
			granted, limit = x.server.core.Granted()
			most = max(most, granted)
			if granted > limit || granted != x.server.core.Audit().Credit {
				t.Fatalf("%d bytes granted, %d in the books, the limit is %d", granted, x.server.core.Audit().Credit, limit)
			}
		}
		ended, size := 0, 300_000
		for range 5 {
			c := x.session(x.client(session.Config{}))
			for i := range 4 {
				k := x.call(c, pattern(size, byte(i)), func(*session.Call, time.Duration) { ended++ })
				if i == 1 {
					x.in(time.Duration(len(x.clients))*100*time.Microsecond, func() {
						if x.began[k] != 0 {
							k.Cancel(x.net.Now())
						}
					})
				}
			}
		}
		crashed := x.clients[4]
		x.in(700*time.Microsecond, func() { x.kill(crashed) }) // with grants in its hands
		if !x.run(30*time.Second, func() bool { return ended >= 16 }) {
			t.Fatalf("credit %d: %d calls have ended", credit, ended)
		}
		x.run(2*time.Minute, func() bool { return x.server.core.Sessions() == 4 })
		if granted, _ := x.server.core.Granted(); granted != 0 || most < limit/2 && most < 1<<20 {
			t.Errorf("credit %d: %d bytes at most, %d in the end", credit, most, granted)
		}
	}
}

// TestCreditFair: sessions get equal shares of scarce credit, however many messages each of them has.
func TestCreditFair(t *testing.T) {
	for _, credit := range []int64{48 << 10, 96 << 10} {
		x := newFabric(t, 1, tenGigabits(0), session.Config{Credit: credit}, ethernet)
		x.net.SetIngress(serverAddr, sim.Bandwidth{BitsPerSecond: tenGigabit, QueueBytes: 256 << 10})
		few := x.pump(x.session(x.client(session.Config{})), pattern(128<<10, 1), 3)
		many := x.pump(x.session(x.client(session.Config{})), pattern(128<<10, 1), 12)
		x.run(20*time.Millisecond, nil)
		a, b := *few, *many
		x.run(100*time.Millisecond, nil)
		a, b = *few-a, *many-b
		t.Logf("credit %d: with 3 messages %.2f Gbit/s, with 12 %.2f", credit, float64(a)*8e-8, float64(b)*8e-8)
		if part := float64(a) / float64(a+b); part < 0.4 || part > 0.6 {
			t.Errorf("credit %d: the session with 3 messages gets %.2f of all", credit, part)
		}
	}
}

// TestCreditHoldsUpNoSmallCall: all credit is in the hands of clients that have vanished; small calls go as ever, and long ones once
// the credit comes back.
func TestCreditHoldsUpNoSmallCall(t *testing.T) {
	x := newFabric(t, 1, tenGigabits(0), session.Config{Credit: 64 << 10}, ethernet)
	for range 8 {
		n := x.client(session.Config{})
		x.call(x.session(n), pattern(1<<20, 1), nil)
	}
	x.run(500*time.Microsecond, nil)
	for _, n := range x.clients {
		x.kill(n)
	}
	c := x.session(x.client(session.Config{}))
	var long, small time.Duration
	x.call(c, pattern(200_000, 1), func(k *session.Call, took time.Duration) {
		if long = took; k.Err() != nil {
			t.Error(describe(k))
		}
	})
	x.call(c, pattern(64, 1), func(k *session.Call, took time.Duration) { small = took })
	if !x.run(10*time.Second, func() bool { return long > 0 }) || small == 0 || small > 200*time.Microsecond {
		t.Errorf("the small call took %v, the long one %v", small, long)
	}
	if long < time.Second {
		t.Errorf("the long call took %v: the credit was not used up", long)
	}
	if s := x.server.core.Stats().Stalled; s == 0 {
		t.Error("no stalled message is counted")
	}
}

// TestFirstPacketWithoutRoom: a server that has no record for a call drops its first packet, counts that, and takes it when it comes again.
func TestFirstPacketWithoutRoom(t *testing.T) {
	x := newFabric(t, 1, tenGigabits(0), session.Config{Calls: 4}, ethernet)
	runs := 0
	x.arrived = func(k *session.Call) {
		runs++
		x.in(300*time.Microsecond, func() { k.Reply(x.net.Now(), session.OK, session.Executed, 0) })
	}
	c := x.session(x.client(session.Config{MinPTO: 200 * time.Microsecond}))
	ended := 0
	for i := range 40 {
		x.call(c, pattern([]int{64, 5000}[i%2], byte(i)), func(k *session.Call, _ time.Duration) {
			if ended++; k.Err() != nil {
				t.Error(describe(k))
			}
		})
	}
	if !x.run(10*time.Second, func() bool { return ended == 40 }) || runs != 40 {
		t.Errorf("%d calls have ended, %d were run", ended, runs)
	}
	if dropped := x.server.core.Stats().CallsRefused; dropped == 0 {
		t.Error("nothing was dropped")
	}
}

// TestReassemblySpent: what does not fit into the budget is refused by the name of the option that sets it, before it is sent, and what does
// goes through.
func TestReassemblySpent(t *testing.T) {
	x := newFabric(t, 1, tenGigabits(0), session.Config{Reassembly: 1 << 20}, ethernet)
	x.arrived = func(k *session.Call) {
		k.ReplyBytes(x.net.Now(), session.OK, session.Executed, pattern(600_000, 1))
	}
	n := x.client(session.Config{Reassembly: 1 << 20})
	c := x.session(n)
	type result struct {
		code    session.Code
		refused bool
		text    string
	}
	outcome := func(request []byte) *[]result {
		var rs []result
		for range 2 {
			x.call(c, request, func(k *session.Call, _ time.Duration) {
				r := result{code: k.Code(), refused: k.Refused()}
				if err := k.Err(); err != nil {
					r.text = err.Reason
				} else if r.code != session.OK {
					r.text = string(k.Body())
				}
				rs = append(rs, r)
			})
		}
		x.run(time.Second, func() bool { return len(rs) == 2 })
		return &rs
	}
	for _, c := range []struct {
		name    string
		request []byte
		refused bool
	}{{"requests", pattern(600_000, 2), true}, {"replies", pattern(10, 2), false}} {
		rs := *outcome(c.request)
		bad := 0
		for _, r := range rs {
			if r.code == session.OK {
				continue
			}
			bad++
			if r.code != session.ResourceExhausted || !strings.Contains(r.text, "WithReassembly") || r.refused != c.refused {
				t.Errorf("%s: %+v", c.name, r)
			}
		}
		if len(rs) != 2 || bad != 1 {
			t.Errorf("%s: of two of 600 kB into 1 MiB: %+v", c.name, rs)
		}
	}
	if s, r := x.server.core.Stats().ReassemblyRefused, n.core.Stats().ReassemblyRefused; s != 1 || r != 1 {
		t.Errorf("the server counts %d refusals, the client %d", s, r)
	}
	x.run(time.Second, nil)
	if a, b := x.server.core.Audit().Reassembly, n.core.Audit().Reassembly; a != 0 || b != 0 {
		t.Errorf("%d and %d bytes of the budgets are left taken", a, b)
	}
}

// TestGibibyte: a message of 1 GiB, where the limits are set so.
func TestGibibyte(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds and 2 GiB of memory")
	}
	const size = 1 << 30
	cfg := session.Config{MaxMessage: size, Reassembly: size}
	x := newFabric(t, 1, tenGigabits(0.0001), cfg, sim.LinkOptions{Frames: 4096, FrameBytes: 9000})
	body := bytes.Repeat(pattern(1<<20+1, 1), 1025)[:size]
	want := sha256.Sum256(body)
	x.arrived = func(k *session.Call) {
		got := sha256.Sum256(k.Body())
		k.ReplyBytes(x.net.Now(), session.OK, session.Executed, got[:])
	}
	c := x.session(x.client(cfg))
	took := time.Duration(0)
	x.call(c, body, func(k *session.Call, d time.Duration) {
		if took = d; k.Err() != nil || !bytes.Equal(k.Body(), want[:]) {
			t.Error(describe(k))
		}
	})
	if !x.run(10*time.Second, func() bool { return took > 0 }) {
		t.Fatal("it does not arrive")
	}
	t.Logf("%.2f Gbit/s", float64(size)*8/float64(took))
}
