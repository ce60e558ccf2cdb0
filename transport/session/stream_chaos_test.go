package session_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// TestStreamChaos runs many small worlds of several streams, with messages of random sizes both ways, sent at random times and read by readers
// that stop now and then; their clients end, give up, or have deadlines, their servers reply when they have heard all or before, and accidents
// happen to the ends and the network. In each of them every message comes at most once, in order and as it was sent; a stream that succeeds has
// brought all of them; every stream ends, once, with an outcome that is true; and at the end nothing is left.
func TestStreamChaos(t *testing.T) {
	first, last := int64(1), int64(*seeds)/2
	if *oneSeed >= 0 {
		first, last = *oneSeed, *oneSeed
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			newRiver(t, uint64(seed), 0).play()
		})
	}
}

// river is a world of streams.
type river struct {
	*streams
	*rand.Rand
	t     testing.TB
	talks []*talk
	open  int // talks that have not ended
	over  bool
}

// talk is what happens to one stream.
type talk struct {
	client, server []([]byte)
	early          bool // the server does not wait for the client's end
	code           session.Code
	timeout        time.Duration
	cancelled      bool

	p, answers *party // the ends, once they are there
	opened     int    // times, at the server
	ended      bool
	err        *session.Error
}

// newRiver draws one; messages of fetchLeast bytes or more are fetched, unless that is 0.
func newRiver(t testing.TB, seed uint64, fetchLeast int) *river {
	r := &river{Rand: rand.New(rand.NewPCG(seed, 0x51ea)), t: t}
	cfg := func() session.Config {
		return session.Config{
			StreamWindow: pick(r.Rand, 0, 1, 3, 8), Reassembly: pick(r.Rand, int64(0), 150_000), MaxMessage: pick(r.Rand, uint32(0), 60_000),
			CallsPerSession: pick(r.Rand, 0, 2), Calls: pick(r.Rand, 0, 24), MinPTO: pick(r.Rand, 0, 200*time.Microsecond),
		}
	}
	f := sim.Faults{Delay: r.upTo(100 * time.Microsecond), Jitter: r.upTo(100 * time.Microsecond)}
	if r.IntN(4) > 0 {
		f.Loss, f.Duplicate, f.Reorder, f.Corrupt = 0.2*r.Float64(), 0.1*r.Float64(), 0.3*r.Float64(), 0.05*r.Float64()
		f.ReorderDelay = r.upTo(3 * time.Millisecond)
	}
	o := sim.LinkOptions{Frames: pick(r.Rand, 64, 512), MTU: pick(r.Rand, 600, 1500, 2048), CompleteAfter: pick(r.Rand, 0, 30*time.Microsecond)}
	if o.FetchLeast = fetchLeast; fetchLeast > 0 {
		o.FetchFails = pick(r.Rand, 0, 0.1)
	}
	r.streams = newStreams(t, seed, f, cfg(), cfg(), o)
	r.watchInvariants()
	r.client.onEvent = r.clientEvent
	r.streams.opened = r.answer
	for i := range 1 + r.IntN(8) {
		r.talk(i)
	}
	r.open = len(r.talks)
	r.accidents(f)
	return r
}

func (r *river) upTo(most time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(most))) + 1
}

// do does something at a node after d, or when its pause is over.
func (r *river) do(d time.Duration, n *node, f func()) {
	r.in(d, func() {
		switch until := n.pausedUntil; {
		case n.dead:
		case until > r.net.Now():
			r.do(until.Sub(r.net.Now()), n, f)
		default:
			f()
		}
	})
}

// messages draws what one end has to say.
func (r *river) messages(salt int) [][]byte {
	ms := make([][]byte, pick(r.Rand, 0, 1, 5, 50)*r.IntN(3))
	for i := range ms {
		n := r.IntN(200)
		if r.IntN(6) == 0 {
			n = r.IntN(30_000)
		}
		ms[i] = pattern(n, byte(salt+i))
	}
	return ms
}

func (r *river) talk(id int) {
	s := &talk{client: r.messages(2 * id), server: r.messages(2*id + 1), early: r.IntN(5) == 0, code: session.Code(r.IntN(2) * 3)}
	if r.IntN(4) == 0 {
		s.timeout = r.upTo(100 * time.Millisecond)
	}
	cancel := time.Duration(0)
	if r.IntN(5) == 0 {
		cancel = r.upTo(30 * time.Millisecond)
	}
	r.talks = append(r.talks, s)
	r.do(r.upTo(50*time.Millisecond), r.client, func() {
		k, err := r.conn.NewCall()
		if err != nil {
			r.finish(s, err)
			return
		}
		k.Tag = s
		s.p = &party{s: r.streams, n: r.client, call: k}
		r.parties[k] = s.p
		var deadline transport.Time
		if s.timeout != 0 {
			deadline = r.net.Now().Add(s.timeout)
		}
		k.StartStream(r.net.Now(), uint32(id), deadline)
		r.perform(s.p, s.client, s.server, s.p.end)
		if cancel != 0 {
			r.do(cancel, r.client, func() {
				if !s.ended {
					s.cancelled = true
					k.Cancel(r.net.Now())
				}
			})
		}
	})
}

// perform lets an end send and read, at random times, until it has sent all; then it does what comes last.
func (r *river) perform(p *party, out, in [][]byte, last func()) {
	p.onRead = func(b []byte) {
		if i := len(p.in) - 1; i >= len(in) || !bytes.Equal(b, in[i]) {
			r.t.Errorf("message %d, of %d bytes, was not sent so", i, len(b))
		}
	}
	act := func(d time.Duration, f func()) {
		r.do(d, p.n, func() {
			if r.parties[p.call] == p {
				f()
			}
		})
	}
	at := time.Duration(0)
	for len(out) > 0 {
		n := 1 + r.IntN(len(out))
		some := out[:n]
		act(at, func() { p.send(some...) })
		out = out[n:]
		at += r.upTo(5 * time.Millisecond)
	}
	act(at, last)
	if r.IntN(4) == 0 {
		from, to := r.upTo(10*time.Millisecond), r.upTo(60*time.Millisecond)
		act(from, func() { p.stopped = true })
		act(from+to, func() {
			p.stopped = false
			p.turn()
		})
	}
}

// answer is the server's handler.
func (r *river) answer(p *party) {
	s := r.talks[p.call.Method()]
	if s.opened++; s.opened > 1 {
		r.t.Errorf("stream %d was opened %d times", p.call.Method(), s.opened)
	}
	s.answers, p.early = p, s.early
	r.perform(p, s.server, s.client, func() { p.reply(s.code, nil) })
	r.judge(s)
}

func (r *river) clientEvent(ev session.Event) {
	switch ev.Kind {
	case session.CallEnded:
		s := ev.Call.Tag.(*talk)
		s.p.read()
		delete(r.parties, ev.Call)
		err := ev.Call.Err()
		if err == nil && ev.Call.Refused() {
			err = &session.Error{Code: ev.Call.Code(), Outcome: session.NotExecuted, Reason: string(ev.Call.Body())}
		} else if err == nil {
			r.succeeded(s, ev.Call)
		}
		if err != nil && ev.Conn.Established() && !(err.Code == session.DeadlineExceeded && s.timeout != 0) && !(err.Code == session.Canceled && s.cancelled) {
			r.t.Errorf("a stream ended for no reason: %v", err)
		}
		r.finish(s, err)
		ev.Call.Release()
	case session.SessionClosed:
		r.do(time.Millisecond, r.client, func() {
			if !r.over {
				r.dial()
			}
		})
	default:
		r.streams.clientEvent(ev)
	}
}

// succeeded looks at a stream with a reply.
func (r *river) succeeded(s *talk, k *session.Call) {
	if k.Code() != s.code || s.opened != 1 {
		r.t.Errorf("stream %d: code %d, opened %d times", k.Method(), k.Code(), s.opened)
		return
	}
	if len(s.p.in) != len(s.server) {
		r.t.Errorf("stream %d: the client has %d of %d messages", k.Method(), len(s.p.in), len(s.server))
	}
	if !s.early && len(s.answers.in) != len(s.client) {
		r.t.Errorf("stream %d: the server has %d of %d messages", k.Method(), len(s.answers.in), len(s.client))
	}
}

func (r *river) finish(s *talk, err *session.Error) {
	if s.ended {
		r.t.Error("a stream ended twice")
	}
	s.ended, s.err = true, err
	r.open--
	r.judge(s)
}

func (r *river) judge(s *talk) {
	if s.err != nil && (s.err.Outcome == session.NotExecuted && s.opened != 0 || s.err.Outcome == session.Executed && s.opened == 0) {
		r.t.Errorf("a stream that was opened %d times: outcome %v: %v", s.opened, s.err.Outcome, s.err)
	}
}

func (r *river) accidents(f sim.Faults) {
	sometimes := func(oneIn int, do func()) {
		if r.IntN(oneIn) == 0 {
			r.in(r.upTo(60*time.Millisecond), do)
		}
	}
	long := r.upTo(300 * time.Millisecond)
	sometimes(3, func() {
		worse := f
		worse.Loss = 0.9
		r.net.SetAllFaults(worse)
		r.in(long/10, func() { r.net.SetAllFaults(f) })
	})
	for i := range addrs {
		sometimes(5, func() {
			r.net.Partition(addrs[i], addrs[1-i], true)
			r.in(long, func() { r.net.Partition(addrs[i], addrs[1-i], false) })
		})
		sometimes(5, func() { r.nodes[i].pausedUntil = r.net.Now().Add(long) })
	}
	sometimes(5, func() { r.net.Rebind(clientAddr, movedAddr) })
	sometimes(5, func() {
		for k, p := range r.parties {
			if p.n == r.server {
				delete(r.parties, k)
			}
		}
		r.crash(r.server)
		r.in(long, func() {
			r.startServer(uint64(long) | 1<<32)
			r.server.onEvent = r.serverEvent
		})
	})
}

func (r *river) play() {
	if !r.run(2*time.Minute, func() bool { return r.open == 0 }) {
		for i, s := range r.talks {
			if !s.ended {
				r.t.Errorf("stream %d never ended: opened %d times, the session established %v", i, s.opened, r.conn.Established())
			}
		}
		return
	}
	r.over = true
	r.settle()
}
