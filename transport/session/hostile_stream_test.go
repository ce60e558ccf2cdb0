package session_test

import (
	"strings"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/wire"
)

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
		{"a header of the client's", wire.Frame{Type: wire.Message, Flags: wire.FlagMetadata, Call: call, A: 1}},
		{"a part without a number", wire.Frame{Type: wire.Fragment, Flags: wire.FlagStream, Call: call, Payload: []byte{1}}},
		{"a challenge to a server", wire.Frame{Type: wire.Challenge}},
		{"a reply to a server", wire.Frame{Type: wire.Reply, Call: call}},
		{"of no type", wire.Frame{Type: 15, Call: call}},
		{"a part to be fetched over a link that cannot", wire.Frame{Type: wire.Fragment, Flags: wire.FlagRemote | wire.FlagStream, Call: call, B: 20_000, Payload: make([]byte, wire.NumberBytes+wire.RemoteBytes)}},
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
