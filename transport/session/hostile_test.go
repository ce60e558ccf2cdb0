package session_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// malformed fails the test unless the rogue's packet was dropped as malformed, and the session goes on.
func (r *rogue) malformed(n *node, what string, send func()) {
	r.w.t.Helper()
	before, sessions, number := n.core.Stats().Malformed, n.core.Sessions(), r.number
	send()
	r.w.run(time.Millisecond, nil)
	if got := n.core.Stats().Malformed - before; got != 1 || n.core.Sessions() != sessions {
		r.w.t.Errorf("%s: %d malformed, %d of %d sessions", what, got, n.core.Sessions(), sessions)
	}
	if r.number == number+1 && r.acked >= number && number > 0 {
		r.w.t.Errorf("%s: it was acknowledged", what)
	}
}

// end lets a rogue client go, and everything of it.
func (r *rogue) end() {
	r.bury()
	r.w.settle()
}

// TestAckOfNothing: an acknowledgement of packets that were never sent makes the whole packet count for nothing.
func TestAckOfNothing(t *testing.T) {
	w, r := rogueClient(t, session.Config{})
	for _, largest := range []uint32{1 << 10, 1<<31 - 1, 1<<31 + 5, 1<<32 - 1} {
		r.malformed(w.server, "to the server", func() {
			r.packet(wire.DataHeader{Flags: wire.FlagAck, AckLargest: largest, AckBits: 1<<64 - 1}, wire.Frame{Type: wire.Request, Call: 1, A: 1, Payload: []byte("x")})
		})
	}
	if w.executions["x"] != 0 {
		t.Error("its request was run")
	}
	r.end()
	w, r = rogueServer(t, session.Config{})
	w.call("a", 1, []byte("x"), 0)
	w.run(time.Millisecond, nil)
	call := r.got[len(r.got)-1].Call
	for _, largest := range []uint32{1 << 10, 1<<31 - 1, 1<<31 + 5, 1<<32 - 1} {
		r.malformed(w.client, "to the client", func() {
			r.packet(wire.DataHeader{Flags: wire.FlagAck, AckLargest: largest, AckBits: 1<<64 - 1}, wire.Frame{Type: wire.Reply, Call: call})
		})
	}
	r.send(wire.Frame{Type: wire.Reply, Call: call})
	w.wait("a", time.Second).Release()
	r.end()
}

// TestFragmentsThatContradict: parts of a long request that overlap, contradict its length, or reach where they may not. What was taken first
// stays, the request arrives whole, and all that was wrong is counted.
func TestFragmentsThatContradict(t *testing.T) {
	w, r := rogueClient(t, session.Config{MaxMessage: 1 << 20})
	body, other := pattern(3000, 1), pattern(3000, 9)
	const call = 1 << 20
	for _, x := range []struct {
		what string
		fr   wire.Frame
	}{
		{"no room for the total", wire.Frame{Type: wire.Request, Flags: wire.FlagMore, Call: call, Payload: []byte{1, 2, 3}}},
		{"a total of 0", first(wire.Request, call, 1, 0, body[:1000])},
		{"a total that the first part has", first(wire.Request, call, 1, 1000, body[:1000])},
		{"a tiny first part", first(wire.Request, call, 1, 3000, body[:255])},
		{"an empty first part", first(wire.Request, call, 1, 3000, nil)},
		{"a slot that there is not", first(wire.Request, 4095<<20|1, 1, 3000, body[:1000])},
	} {
		r.malformed(w.server, x.what, func() { r.send(x.fr) })
	}
	if a := w.server.core.Audit(); a.Reassembly != 0 || a.Credit != 0 {
		t.Errorf("they are held: %+v", a)
	}
	grants := only(r.says(first(wire.Request, call|1, 1, 3000, body[:1000])), wire.Grant)
	if len(grants) != 1 || grants[0].A != 3000 || grants[0].Call != call|1 {
		t.Fatalf("grants %+v", grants)
	}
	for _, x := range []struct {
		what string
		fr   wire.Frame
	}{
		{"another total", later(call|1, 1000, 2999, body[1000:2000])},
		{"an empty part", later(call|1, 1000, 3000, nil)},
		{"beyond the end", later(call|1, 2500, 3000, body[:501])},
		{"begins at the end", later(call|1, 3000, 3000, body[:1])},
		{"wraps around", later(call|1, 1<<32-10, 3000, body[:20])},
	} {
		r.malformed(w.server, x.what, func() { r.send(x.fr) })
	}
	duplicates := w.server.core.Stats().Duplicates
	r.says(first(wire.Request, call|1, 1, 3000, other[:1000]))   // once more
	r.says(later(call|1, 500, 3000, other[500:1000]))            // within what is there
	r.says(later(call|1, 2000, 3000, body[2000:2200]))           // an island
	r.says(later(call|1, 2000, 3000, other[2000:2200]))          // again
	r.says(later(call|2, 0, 3000, other[:1000]))                 // of no call
	r.says(wire.Frame{Type: wire.Fragment, Call: 1 << 31, B: 1}) // of no slot
	if n := w.server.core.Stats().Duplicates - duplicates; n != 5 {
		t.Errorf("%d duplicates, want 5", n)
	}
	mixed := bytes.Clone(body)
	r.says(later(call|1, 900, 3000, append(bytes.Clone(other[900:1000]), body[1000:1500]...))) // overlaps to the left
	r.says(later(call|1, 1400, 3000, bytes.Join([][]byte{other[1400:1500], body[1500:2000], other[2000:2200], body[2200:3000]}, nil)))
	if n := w.executions[string(mixed)]; n != 1 || len(w.executions) != 1 {
		t.Errorf("the request was run %d times with its bytes, %d others", n, len(w.executions)-n)
	}
	r.says(later(call|1, 1000, 3000, other[1000:2000])) // after the end
	if a := w.server.core.Audit(); a.Reassembly != 0 || a.Credit != 0 {
		t.Errorf("something is left: %+v", a)
	}
	r.end()
}

// TestReplays: every packet of a rogue's session comes again, at once, later, in another order, cut short. Nothing happens twice.
func TestReplays(t *testing.T) {
	w, r := rogueClient(t, session.Config{})
	body := pattern(3000, 1)
	var packets [][]byte
	record := func(frames ...wire.Frame) {
		number := r.number
		r.says(frames...)
		b := make([]byte, 4096) // as it was sent
		h := wire.DataHeader{Session: r.id, Number: number}
		h.Put(b)
		n := wire.DataHeaderBytes
		for _, fr := range frames {
			fr.Put(b[n:], len(fr.Payload))
			n += wire.FrameHeaderBytes + copy(b[n+wire.FrameHeaderBytes:], fr.Payload)
		}
		b = b[:n+wire.ChecksumBytes]
		wire.Sum(b)
		packets = append(packets, b)
	}
	record(first(wire.Request, 1, 1, 3000, body[:1000]))
	record(later(1, 1000, 3000, body[1000:2000]))
	record(later(1, 2000, 3000, body[2000:]))
	record(wire.Frame{Type: wire.Request, Call: 1<<20 | 1, A: 1, Payload: []byte("small")})
	record(wire.Frame{Type: wire.Request, Flags: wire.FlagMore, Call: 1<<20 | 2, A: 1, Payload: []byte("broken")})
	runs := len(w.executions)
	for round := range 3 {
		for i := range packets {
			b := packets[(i*3+round)%len(packets)]
			for _, cut := range []int{len(b), len(b) - 1, wire.DataHeaderBytes + wire.ChecksumBytes, wire.DataHeaderBytes, 1} {
				w.net.Inject(strangerAddr, serverAddr, b[:cut])
			}
		}
		for range 70 { // out of the window of those that are remembered
			r.says(wire.Frame{Type: wire.Ping})
		}
	}
	w.run(time.Millisecond, nil)
	for body, n := range w.executions {
		if n != 1 {
			t.Errorf("a request of %d bytes was run %d times", len(body), n)
		}
	}
	if s := w.server.core.Stats(); len(w.executions) != runs || runs != 2 || s.Duplicates < 10 || s.Corrupt == 0 || s.Malformed == 0 {
		t.Errorf("%d requests were run, %+v", len(w.executions), s)
	}
	r.end()
}

// TestBeyondTheGrant: a client that sends more of its request than it was granted. Nothing of that is taken, and the memory that it holds is what
// the budget allows.
func TestBeyondTheGrant(t *testing.T) {
	w, r := rogueClient(t, session.Config{Credit: 20_000, MaxMessage: 1 << 20})
	const total = 1 << 20
	body := pattern(total, 1)
	grants := only(r.says(first(wire.Request, 1, 1, total, body[:1000])), wire.Grant)
	if len(grants) == 0 || grants[len(grants)-1].A > 21_000 {
		t.Fatalf("grants %+v", grants)
	}
	granted := int(grants[len(grants)-1].A)
	for _, at := range []int{granted - 999, granted, granted + 100_000, total - 1000} {
		r.malformed(w.server, "beyond", func() { r.send(later(1, at, total, body[at:at+1000])) })
	}
	if a := w.server.core.Audit(); a.Credit != int64(granted-1000) {
		t.Errorf("%+v", a)
	}
	for at := 1000; at < total; { // as it should be
		if end := min(at+1000, granted, total); end > at {
			r.send(later(1, at, total, body[at:end]))
			at = end
		}
		w.run(30*time.Microsecond, nil)
		for _, fr := range only(r.got, wire.Grant) {
			granted = max(granted, int(fr.A))
		}
		if a := w.server.core.Audit(); a.Credit > 20_000 {
			t.Fatalf("%+v", a)
		}
		if w.net.Now() > 10e9 {
			t.Fatalf("it stands still at %d of %d", at, granted)
		}
	}
	w.run(time.Millisecond, nil)
	if w.executions[string(body)] != 1 {
		t.Error("the request was not run")
	}
	r.end()
}

// TestGrantsThatMoveBack: the client sends what it was granted, once; what was granted later and is less, or is for nothing, changes nothing.
func TestGrantsThatMoveBack(t *testing.T) {
	w, r := rogueServer(t, session.Config{})
	body := pattern(200_000, 1)
	w.call("a", 1, body, 0)
	w.run(time.Millisecond, nil)
	call := only(r.got, wire.Request)[0].Call
	reached := func() (n int) {
		for _, fr := range only(r.got, wire.Fragment) {
			n = max(n, int(fr.A)+len(fr.Payload))
		}
		return n
	}
	r.send(wire.Frame{Type: wire.Grant, Call: call, A: 50_000}, wire.Frame{Type: wire.Grant, Call: call, A: 20_000})
	for _, x := range []struct {
		fr   wire.Frame
		want int
	}{
		{wire.Frame{Type: wire.Grant, Call: call, A: 20_000}, 50_000},
		{wire.Frame{Type: wire.Grant, Call: call}, 50_000},
		{wire.Frame{Type: wire.Grant, Flags: wire.FlagStream, Call: call, A: 90_000}, 50_000},
		{wire.Frame{Type: wire.Grant, Flags: wire.FlagStream, Call: call, A: 90_000, B: 1<<32 - 1}, 50_000},
		{wire.Frame{Type: wire.Grant, Call: call + 1, A: 90_000}, 50_000},
		{wire.Frame{Type: wire.Grant, Call: 1<<32 - 1, A: 90_000}, 50_000},
		{wire.Frame{Type: wire.Window, Call: 1<<32 - 1, A: 90_000}, 50_000},
		{wire.Frame{Type: wire.Grant, Call: call, A: 1<<32 - 1}, 200_000},
		{wire.Frame{Type: wire.Grant, Call: call, A: 60_000}, 200_000},
	} {
		r.send(x.fr)
		w.run(20*time.Millisecond, nil)
		if n := reached(); n != x.want {
			t.Errorf("after a grant of %d for call %d: %d bytes have come, want %d", x.fr.A, x.fr.Call, n, x.want)
		}
	}
	r.send(wire.Frame{Type: wire.Reply, Call: call})
	w.wait("a", time.Second).Release()
	r.end()
}

// TestNeverAcknowledges: a peer that is alive, and acknowledges nothing, loses the session within seconds: a server that gets requests, and a
// client that gets a stream's messages.
func TestNeverAcknowledges(t *testing.T) {
	w, r := rogueServer(t, session.Config{})
	r.silent = true
	r.alive()
	start := w.net.Now()
	w.call("a", 1, []byte("x"), 0)
	k := w.wait("a", 10*time.Second)
	if err := k.Err(); err == nil || err.Code != session.Unavailable || err.Outcome != session.MaybeExecuted || !strings.Contains(err.Reason, "acknowledges nothing") {
		t.Error(describe(k))
	}
	if d := w.net.Now().Sub(start); d < 5*time.Second || d > 6*time.Second {
		t.Errorf("after %v", d)
	}
	k.Release()
	r.end()

	w, r = rogueClient(t, session.Config{})
	gone := 0
	var stream *session.Call
	w.server.onEvent = func(ev session.Event) {
		switch {
		case ev.Kind == session.RequestArrived:
			stream = ev.Call
			if err := stream.Send([]byte("a message")); err != nil {
				t.Error(err)
			}
		case ev.Kind == session.RequestGone:
			gone++
			ev.Call.ReplyBytes(w.net.Now(), session.Canceled, session.Executed, nil)
		case ev.Kind == session.SessionClosed && ev.Conn == stream.Conn() && !strings.Contains(ev.Err.Error(), "acknowledges nothing"):
			t.Error(ev.Err)
		}
	}
	r.silent = true
	r.alive()
	r.send(wire.Frame{Type: wire.Request, Flags: wire.FlagStream, Call: 1, A: 1})
	w.run(6*time.Second, nil)
	if gone != 1 || w.server.core.Sessions() != 1 {
		t.Errorf("the handler heard it %d times; %d sessions are open", gone, w.server.core.Sessions())
	}
	r.end()
}

// TestNeverAcknowledgesReplies: what a server keeps of replies for such a client is bounded, and others are served; when the client is gone, so
// are they.
func TestNeverAcknowledgesReplies(t *testing.T) {
	w, r := rogueClient(t, session.Config{CallsPerSession: 8, IdleTimeout: 5 * time.Second})
	r.silent = true
	for seq := range uint32(20) {
		for slot := range uint32(20) {
			r.send(wire.Frame{Type: wire.Request, Call: wire.CallID(slot, seq+1), A: 1, Payload: []byte{byte(slot), byte(seq)}})
			w.run(20*time.Microsecond, nil)
			if a := w.server.core.Audit(); a.Records > 8 || a.OutHeld > 8 {
				t.Fatalf("%+v", a)
			}
		}
	}
	w.call("a", 1, []byte("honest"), 0)
	if k := w.wait("a", time.Second); k.Err() != nil {
		t.Error(describe(k))
	} else {
		k.Release()
	}
	w.run(time.Second, nil)
	if a := w.server.core.Audit(); a.Records > 8 {
		t.Errorf("%+v", a)
	}
	r.end()
}

// TestNeverGrants: a long message whose receiver acknowledges its beginning and grants nothing is given up within seconds; the session goes on.
func TestNeverGrants(t *testing.T) {
	w, r := rogueServer(t, session.Config{})
	r.alive()
	w.call("a", 1, pattern(100_000, 1), 0)
	k := w.wait("a", 6*time.Second)
	if err := k.Err(); err == nil || err.Code != session.ResourceExhausted || err.Outcome != session.NotExecuted || !w.conn.Established() {
		t.Errorf("%s; %v", describe(k), w.closed)
	}
	k.Release()
	if s := w.client.core.Stats(); s.Stalled != 1 {
		t.Errorf("%d stalled", s.Stalled)
	}
	r.end()

	w, r = rogueClient(t, session.Config{})
	w.serve = func(k *session.Call) { k.ReplyBytes(w.net.Now(), session.OK, session.Executed, pattern(100_000, 1)) }
	r.alive()
	r.send(wire.Frame{Type: wire.Request, Call: 1, A: 1, Payload: []byte("x")})
	w.run(6*time.Second, nil)
	if a, s := w.server.core.Audit(), w.server.core.Stats(); a.Records != 0 || s.Stalled != 1 || w.server.core.Sessions() != 2 {
		t.Errorf("%+v, %d stalled, %d sessions", a, s.Stalled, w.server.core.Sessions())
	}
	r.end()
}

// TestNeverFinishes: a client that begins many long messages and finishes none takes the budget for a few seconds, and then it is given back.
func TestNeverFinishes(t *testing.T) {
	part := pattern(1000, 1)
	for _, x := range []struct {
		name  string
		begin func(r *rogue, i uint32)
	}{
		{"requests", func(r *rogue, i uint32) { r.send(first(wire.Request, wire.CallID(i, 1), 1, 100_000, part)) }},
		{"messages of streams", func(r *rogue, i uint32) {
			r.send(wire.Frame{Type: wire.Request, Flags: wire.FlagStream, Call: wire.CallID(i, 1), A: 1}, first(wire.Message, wire.CallID(i, 1), 0, 100_000, part))
		}},
		{"later messages of a stream", func(r *rogue, i uint32) {
			if i == 0 {
				r.send(wire.Frame{Type: wire.Request, Flags: wire.FlagStream, Call: 1, A: 1})
			}
			r.send(first(wire.Message, 1, i, 100_000, part))
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			w, r := rogueClient(t, session.Config{Reassembly: 1_000_000, MaxMessage: 200_000})
			w.serve = func(k *session.Call) {
				if k.Streams() {
					return
				}
				w.echo(k)
			}
			honest := w.server.onEvent
			w.server.onEvent = func(ev session.Event) {
				if ev.Kind == session.RequestGone {
					ev.Call.ReplyBytes(w.net.Now(), session.Canceled, session.Executed, nil)
				} else if ev.Kind != session.StreamReadable {
					honest(ev)
				}
			}
			r.alive()
			for i := range uint32(30) {
				x.begin(r, i)
				w.run(50*time.Microsecond, nil)
			}
			a := w.server.core.Audit()
			if a.Reassembly < 700_000 || a.Reassembly > 1_000_000 || w.server.core.Stats().ReassemblyRefused == 0 {
				t.Errorf("%+v", a)
			}
			w.run(8*time.Second, nil)
			if a := w.server.core.Audit(); a.Reassembly != 0 || a.Credit != 0 || w.server.core.Stats().Stalled == 0 {
				t.Errorf("8 s later: %+v", a)
			}
			w.call("a", 1, pattern(150_000, 2), 0)
			if k := w.wait("a", time.Second); k.Err() != nil || len(k.Body()) != 150_000 {
				t.Error(describe(k))
			} else {
				k.Release()
			}
			r.end()
		})
	}
}

// TestReplyNeverFinished: a reply of which the rest does not come.
func TestReplyNeverFinished(t *testing.T) {
	w, r := rogueServer(t, session.Config{})
	r.alive()
	w.call("a", 1, []byte("x"), 0)
	w.run(time.Millisecond, nil)
	call := only(r.got, wire.Request)[0].Call
	body := pattern(100_000, 1)
	grants := only(r.says(first(wire.Reply, call, 0, len(body), body[:1000])), wire.Grant)
	if len(grants) != 1 {
		t.Fatalf("%+v", grants)
	}
	r.malformed(w.client, "beyond the grant", func() { r.send(later(call, int(grants[0].A), len(body), body[:1000])) })
	r.malformed(w.client, "another total", func() { r.send(later(call, 1000, len(body)-1, body[1000:2000])) })
	k := w.wait("a", 7*time.Second)
	if err := k.Err(); err == nil || err.Code != session.DeadlineExceeded || err.Outcome != session.Executed {
		t.Error(describe(k))
	}
	if a := w.client.core.Audit(); a.Reassembly != 0 || a.Credit != 0 {
		t.Errorf("%+v", a)
	}
	w.run(time.Millisecond, nil)
	if cancels := only(r.got, wire.Cancel); len(cancels) != 1 || cancels[0].Call != call {
		t.Errorf("the server was told: %+v", cancels)
	}
	k.Release()
	r.end()
}

// TestStreamRules: messages beyond the window, before the beginning, behind the end; ends that contradict what came; windows that move back.
func TestStreamRules(t *testing.T) {
	w, r := rogueClient(t, session.Config{StreamWindow: 4, MaxMessage: 10_000})
	var got []string
	var stream *session.Call
	w.server.onEvent = func(ev session.Event) {
		switch ev.Kind {
		case session.RequestArrived:
			stream = ev.Call
		case session.StreamReadable:
			for m := stream.Receive(); m != nil; m = stream.Receive() {
				got = append(got, string(m.Body()))
				stream.Free(m)
			}
		case session.RequestGone:
			stream.ReplyBytes(w.net.Now(), session.Canceled, session.Executed, nil)
		}
	}
	const call = 1
	message := func(number uint32, body string) wire.Frame {
		return wire.Frame{Type: wire.Message, Call: call, A: number, Payload: []byte(body)}
	}
	end := func(n uint32) wire.Frame { return wire.Frame{Type: wire.End, Call: call, A: n} }
	if r.says(message(0, "of no stream yet")); r.acked >= r.number-1 {
		t.Error("a message before its stream was acknowledged")
	}
	r.says(wire.Frame{Type: wire.Request, Flags: wire.FlagStream, Call: call, A: 1})
	r.says(message(0, "0"), message(2, "2"))
	long := pattern(3000, 1)
	for _, x := range []struct {
		what string
		fr   wire.Frame
	}{
		{"beyond the window", message(5, "5")},
		{"far beyond", message(1<<32-1, "")},
		{"an end before what came", end(2)},
		{"an end before what was read", end(0)},
		{"an end beyond the window", end(6)},
		{"a far end", end(1<<32 - 1)},
		{"a long message without its length", wire.Frame{Type: wire.Message, Flags: wire.FlagMore, Call: call, A: 1, Payload: []byte{1}}},
		{"a long message that is short", first(wire.Message, call, 1, 500, long[:500])},
		{"a part without a number", wire.Frame{Type: wire.Fragment, Flags: wire.FlagStream, Call: call, Payload: []byte{1}}},
		{"a challenge to a server", wire.Frame{Type: wire.Challenge}},
		{"a reply to a server", wire.Frame{Type: wire.Reply, Call: call}},
		{"of no type", wire.Frame{Type: 14, Call: call}},
	} {
		r.malformed(w.server, x.what, func() { r.send(x.fr) })
	}
	if r.says(first(wire.Message, call, 1, 20_000, long[:1000])); r.acked >= r.number-1 {
		t.Error("a message over the largest was acknowledged")
	}
	r.says(message(0, "again"), message(2, "again"), laterOf(call, 7, 1000, 3000, long[1000:2000]), laterOf(call, 0, 1000, 3000, long[1000:2000]))
	grants := only(r.says(first(wire.Message, call, 1, 3000, long[:1000])), wire.Grant)
	if len(grants) != 1 || grants[0].B != 1 || grants[0].Flags != wire.FlagStream || grants[0].A != 3000 {
		t.Fatalf("%+v", grants)
	}
	r.malformed(w.server, "another total", func() { r.send(laterOf(call, 1, 1000, 3001, long[1000:2000])) })
	r.says(laterOf(call, 1, 1000, 3000, long[1000:2000]))
	r.says(laterOf(call, 1, 2000, 3000, long[2000:]))
	r.says(end(3))
	r.malformed(w.server, "another end", func() { r.send(end(4)) })
	r.malformed(w.server, "a message behind the end", func() { r.send(message(3, "3")) })
	r.says(end(3))
	if strings.Join(got, "|") != "0|"+string(long)+"|2" || !stream.Drained() {
		t.Errorf("%d messages, drained %v", len(got), stream.Drained())
	}

	sent := 0
	send := func() {
		for stream.Send([]byte{byte(sent)}) == nil && sent < 1000 {
			sent++
		}
	}
	for _, x := range []struct {
		window uint32
		want   int
	}{{0, 4}, {3, 4}, {6, 6}, {5, 6}, {0, 6}, {1<<32 - 1, 10}, {2, 14}} { // the last two: what is not acknowledged is bounded all the same
		r.silent = x.window == 1<<32-1
		r.says(wire.Frame{Type: wire.Window, Call: call, A: x.window})
		send()
		if sent != x.want {
			t.Errorf("after a window of %d: %d messages, want %d", x.window, sent, x.want)
		}
		r.silent = false
		w.run(60*time.Millisecond, nil)
		r.says(wire.Frame{Type: wire.Ping})
	}
	stream.ReplyBytes(w.net.Now(), session.OK, session.Executed, nil)
	w.run(time.Millisecond, nil)
	r.end()
}

// TestTrailerRules: the reply of a stream that contradicts the messages before it.
func TestTrailerRules(t *testing.T) {
	w, r := rogueServer(t, session.Config{StreamWindow: 4})
	k, err := w.conn.NewCall()
	if err != nil {
		t.Fatal(err)
	}
	k.Tag = "a"
	k.StartStream(w.net.Now(), 1, 0)
	w.run(time.Millisecond, nil)
	call := only(r.got, wire.Request)[0].Call
	r.says(wire.Frame{Type: wire.Message, Call: call, A: 2, Payload: []byte("2")})
	trailer := func(n uint32) wire.Frame {
		return wire.Frame{Type: wire.Reply, Flags: wire.FlagStream, Call: call, B: n}
	}
	for _, n := range []uint32{0, 2, 5, 1<<32 - 1} {
		r.malformed(w.client, "a trailer", func() { r.send(trailer(n)) })
	}
	r.malformed(w.client, "an end from a server", func() { r.send(wire.Frame{Type: wire.End, Call: call}) })
	r.malformed(w.client, "a request from a server", func() { r.send(wire.Frame{Type: wire.Request, Call: call}) })
	r.malformed(w.client, "a response from a server", func() { r.send(wire.Frame{Type: wire.Response}) })
	r.says(trailer(3))
	r.says(trailer(4), wire.Frame{Type: wire.Message, Call: call, A: 3})
	if len(w.ended) != 0 {
		t.Error("the stream has ended before its messages")
	}
	r.says(wire.Frame{Type: wire.Message, Call: call, A: 0}, wire.Frame{Type: wire.Message, Call: call, A: 1})
	w.wait("a", time.Second)
	n := 0
	for m := k.Receive(); m != nil; m = k.Receive() {
		n++
		k.Free(m)
	}
	if k.Err() != nil || n != 3 || !k.Drained() {
		t.Errorf("%s; %d messages, drained %v", describe(k), n, k.Drained())
	}
	k.Release()
	r.end()
}

// TestComesAgainInParts: the sender of a message that has arrived in one packet cannot know that, when the path has become narrower since, and
// sends it again in parts. The receiver, which has it in whole, lets all of it come.
func TestComesAgainInParts(t *testing.T) {
	w, r := rogueClient(t, session.Config{})
	w.serve = func(*session.Call) {} // takes its time
	body := pattern(1400, 1)
	const request, stream = 1, 1<<20 | 1
	r.says(wire.Frame{Type: wire.Request, Call: request, A: 1, Payload: body})
	r.says(wire.Frame{Type: wire.Request, Flags: wire.FlagStream, Call: stream, A: 1}, wire.Frame{Type: wire.Message, Call: stream, Payload: body[:1000]})
	for _, x := range []wire.Frame{first(wire.Request, request, 1, 1400, body[:900]), first(wire.Message, stream, 0, 1000, body[:900])} {
		grants := only(r.says(x), wire.Grant)
		if len(grants) != 1 || grants[0].A != 1<<32-1 || grants[0].Call != x.Call || r.acked != r.number-2 { // the last is an acknowledgement
			t.Errorf("%v %d: grants %+v, acknowledged %d of %d", x.Type, x.Call, grants, r.acked, r.number)
		}
		r.says(later(x.Call, 900, 1400, body[900:]))
	}
	if len(w.executions) != 2 || w.executions[string(body)] != 1 {
		t.Errorf("%d requests were run", len(w.executions))
	}
	if a := w.server.core.Audit(); a.Reassembly != 0 || a.Credit != 0 {
		t.Errorf("%+v", a)
	}
	for c := range w.sessions {
		c.Close(w.net.Now(), session.OK, "")
	}
	r.bury()

	w, r = rogueServer(t, session.Config{}) // a reply whose call has ended is not needed at all
	w.call("a", 1, []byte("x"), 0)
	w.run(time.Millisecond, nil)
	call := only(r.got, wire.Request)[0].Call
	r.says(wire.Frame{Type: wire.Reply, Call: call, Payload: body})
	w.wait("a", time.Second).Release()
	if cancels := only(r.says(first(wire.Reply, call, 0, 1400, body[:900])), wire.Cancel); len(cancels) != 1 || cancels[0].Call != call {
		t.Errorf("the server hears %+v", cancels)
	}
	r.end()
}

// TestAcceptThatCannotWork: a server that offers too little is not taken up, and counted; whoever dialled goes on asking.
func TestAcceptThatCannotWork(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.crash(w.server)
	r := newRogue(w, serverAddr, clientAddr)
	good := wire.Handshake{Kind: wire.Accept, Calls: 10, Source: rogueID, Incarnation: 5, MaxMessage: 1 << 20, MaxPacket: 1500}
	for _, spoil := range []func(h *wire.Handshake){
		func(h *wire.Handshake) { h.MaxPacket = 579 },
		func(h *wire.Handshake) { h.MaxPacket = 0 },
		func(h *wire.Handshake) { h.Calls = 0 },
		func(h *wire.Handshake) { h.Source = 0 },
	} {
		r.accepts = good
		spoil(&r.accepts)
		before := w.client.core.Stats().Malformed
		w.run(time.Second, func() bool { return w.client.core.Stats().Malformed > before })
		if w.client.core.Stats().Malformed == before || w.conn.Established() {
			t.Errorf("%+v: established %v", r.accepts, w.conn.Established())
		}
	}
	r.accepts = good
	if !w.run(time.Second, w.conn.Established) {
		t.Error("a good one is not taken up after that")
	}
	r.end()
}
