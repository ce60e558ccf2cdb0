package session_test

import (
	"bytes"
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
