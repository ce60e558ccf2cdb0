package session_test

import (
	"strings"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/wire"
)

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
			w.run(20*time.Second, nil) // what is granted late has its own time
			if a := w.server.core.Audit(); a.Reassembly != 0 || a.Credit != 0 || w.server.core.Stats().Stalled == 0 {
				t.Errorf("20 s later: %+v", a)
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
