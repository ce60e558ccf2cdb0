package session_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// streams is a world in which calls are streams, each with a party at either end. Unary calls go on as in any other world.
type streams struct {
	*world
	opened  func(p *party) // what the server does with a new stream; default: it reads, and replies when the client has ended
	parties map[*session.Call]*party
}

// party is one end of a stream: it sends what it was given as soon as it may, and reads what comes.
type party struct {
	s       *streams
	n       *node
	call    *session.Call
	out     [][]byte // to send
	sent    int
	ending  bool // client: CloseSend follows the last of out
	ended   bool // and was taken
	replies bool // server: the reply follows when out is sent and the client has ended
	early   bool // the reply does not wait for the client's end
	code    session.Code
	answer  []byte // the reply's body
	done    bool   // server: it has replied
	gone    bool   // server: it was told that nobody waits

	in       [][]byte // received
	stopped  bool     // reads nothing
	keeps    bool     // reads, and gives nothing back
	kept     []*session.Incoming
	refused  int // times that there was no room
	onRead   func(b []byte)
	writable int // events
}

func newStreams(t testing.TB, seed uint64, f sim.Faults, client, server session.Config, o sim.LinkOptions) *streams {
	s := &streams{world: newWorldOn(t, seed, f, client, server, o), parties: map[*session.Call]*party{}}
	s.opened = func(p *party) { p.reply(session.OK, nil) }
	s.client.onEvent = s.clientEvent
	s.server.onEvent = s.serverEvent
	return s
}

func (s *streams) clientEvent(ev session.Event) {
	switch ev.Kind {
	case session.StreamReadable, session.StreamWritable:
		s.event(ev)
	case session.CallEnded:
		if p := s.parties[ev.Call]; p != nil {
			if !p.stopped {
				p.read()
			}
			delete(s.parties, ev.Call)
		}
		s.world.clientEvent(ev)
	default:
		s.world.clientEvent(ev)
	}
}

func (s *streams) serverEvent(ev session.Event) {
	switch {
	case ev.Kind == session.RequestArrived && ev.Call.Streams():
		s.executions[fmt.Sprint("stream ", ev.Call.Method())]++
		p := &party{s: s, n: s.server, call: ev.Call}
		s.parties[ev.Call] = p
		s.opened(p)
		p.turn()
	case ev.Kind == session.StreamReadable, ev.Kind == session.StreamWritable:
		s.event(ev)
	case ev.Kind == session.RequestGone && s.parties[ev.Call] != nil:
		s.gone++
		p := s.parties[ev.Call]
		p.gone = true
		p.finish(session.Canceled)
	default:
		s.world.serverEvent(ev)
	}
}

func (s *streams) event(ev session.Event) {
	p := s.parties[ev.Call]
	if p == nil {
		s.t.Errorf("an event of kind %d for a stream that is over", ev.Kind)
		return
	}
	if ev.Kind == session.StreamWritable {
		p.writable++
	}
	p.turn()
}

// open begins a stream that is known by tag.
func (s *streams) open(tag any, method uint32, timeout time.Duration) *party {
	s.t.Helper()
	k, err := s.conn.NewCall()
	if err != nil {
		s.t.Fatalf("NewCall: %v", err)
	}
	k.Tag = tag
	var deadline transport.Time
	if timeout != 0 {
		deadline = s.clock(s.client).Add(timeout)
	}
	p := &party{s: s, n: s.client, call: k}
	s.parties[k] = p
	k.StartStream(s.clock(s.client), method, deadline)
	return p
}

// send adds messages to those that go out.
func (p *party) send(messages ...[]byte) {
	p.out = append(p.out, messages...)
	p.turn()
}

// end makes the client send no more after that.
func (p *party) end() {
	p.ending = true
	p.turn()
}

// reply makes the server end the stream when the client has ended, and all of out is sent.
func (p *party) reply(code session.Code, answer []byte) {
	p.replies, p.code, p.answer = true, code, answer
	p.turn()
}

func (p *party) turn() {
	if !p.done && !p.stopped {
		p.read()
	}
	if !p.done {
		p.write()
	}
	if p.replies && !p.done && p.sent == len(p.out) && (p.early || p.call.Drained()) {
		p.finish(p.code)
	}
}

func (p *party) read() {
	for m := p.call.Receive(); m != nil; m = p.call.Receive() {
		b := bytes.Clone(m.Body())
		p.in = append(p.in, b)
		if p.keeps {
			p.kept = append(p.kept, m)
		} else {
			p.call.Free(m)
		}
		if p.onRead != nil {
			p.onRead(b)
		}
	}
}

func (p *party) write() {
	for p.sent < len(p.out) {
		if !p.took(p.call.Send(p.out[p.sent])) {
			return
		}
		p.sent++
	}
	if p.ending && !p.ended {
		p.ended = p.took(p.call.CloseSend())
	}
}

// took tells whether a message was taken. No room and a stream that is over are the only reasons why not.
func (p *party) took(err *session.Error) bool {
	switch {
	case err == session.ErrWindow:
		p.refused++
	case err != nil && err.Code != session.FailedPrecondition:
		p.s.t.Errorf("Send: %v", err)
	}
	return err == nil
}

// finish replies at once.
func (p *party) finish(code session.Code) {
	p.done = true
	p.giveBack()
	delete(p.s.parties, p.call)
	p.call.ReplyBytes(p.s.clock(p.n), code, session.Executed, p.answer)
}

// giveBack frees what was kept, and keeps no more.
func (p *party) giveBack() {
	for _, m := range p.kept {
		p.call.Free(m)
	}
	p.kept, p.keeps = nil, false
}

// wantMessages fails the test unless the party got exactly these messages, in order.
func (p *party) wantMessages(what string, want [][]byte) {
	p.s.t.Helper()
	if len(p.in) != len(want) {
		p.s.t.Errorf("%s: %d messages, want %d", what, len(p.in), len(want))
	}
	for i := range min(len(p.in), len(want)) {
		if !bytes.Equal(p.in[i], want[i]) {
			p.s.t.Errorf("%s: message %d has %d bytes, want %d others", what, i, len(p.in[i]), len(want[i]))
			return
		}
	}
}

// messages makes n messages of the given sizes in turn.
func messages(n int, sizes ...int) [][]byte {
	ms := make([][]byte, n)
	for i := range ms {
		ms[i] = pattern(sizes[i%len(sizes)], byte(i))
	}
	return ms
}
