package session_test

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// FuzzReassembly sends parts of several long requests and stream messages to a server in a script's order: again, overlapping, with other bytes,
// other totals, beyond what was granted, in packets of one or of several. A slow and obvious model tells which bytes count. A message arrives
// with those bytes as soon as the model has all of them, and never otherwise, and in the end no memory is held.
func FuzzReassembly(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 1))
	for range 50 {
		f.Add(script(r))
	}
	f.Fuzz(func(t *testing.T, in []byte) { reassemble(t, in) })
}

// TestHostileParts is as many random scripts as fit into a test run.
func TestHostileParts(t *testing.T) {
	arrived, refused, n := 0, 0, uint64(600)
	if testing.Short() {
		n = 200
	}
	for seed := range n {
		a, r := reassemble(t, script(rand.New(rand.NewPCG(seed, 11))))
		if t.Failed() {
			t.Fatalf("the script of seed %d", seed)
		}
		arrived += a
		refused += r
	}
	if arrived < int(n) || refused < 10 {
		t.Errorf("%d messages have arrived, %d were refused: the scripts show little", arrived, refused)
	}
}

// puzzle is a message that is being sent in parts, as the model has it.
type puzzle struct {
	call    uint32
	stream  bool
	total   int
	granted int // 0: its beginning has not arrived
	body    []byte
	have    []bool
	over    bool // the server has answered before it was whole
	arrived bool
}

const (
	puzzles      = 4
	puzzleBudget = 60_000
)

func reassemble(t *testing.T, in []byte) (arrived, refused int) {
	w, r := rogueClient(t, session.Config{Reassembly: puzzleBudget, MaxMessage: 30_000, Credit: 12_000})
	h := &hostile{world: w, in: in}
	var ps [puzzles]*puzzle
	find := func(call uint32) *puzzle {
		for _, p := range ps {
			if p != nil && p.call == call {
				return p
			}
		}
		t.Fatalf("call %x was never made", call)
		return nil
	}
	arrives := func(call uint32, body []byte) {
		p := find(call)
		if p.arrived || p.over || !p.whole() || !bytes.Equal(body, p.body) {
			t.Errorf("call %x: %d bytes arrive (again %v, refused %v), and the model has %d of %d", call, len(body), p.arrived, p.over, p.held(), p.total)
		}
		p.arrived = true
		arrived++
	}
	w.server.onEvent = func(ev session.Event) {
		switch k := ev.Call; ev.Kind {
		case session.RequestArrived:
			if !k.Streams() {
				arrives(k.Method(), k.Body())
				w.echo(k)
			}
		case session.StreamReadable:
			for m := k.Receive(); m != nil; m = k.Receive() {
				arrives(k.Method(), m.Body())
				k.Free(m)
			}
		case session.RequestGone:
			k.ReplyBytes(w.net.Now(), session.Canceled, session.Executed, nil)
		}
	}
	r.on = func(fr wire.Frame) {
		switch fr.Type {
		case wire.Grant:
			if p := find(fr.Call); p.granted > 0 && fr.A != 1<<32-1 {
				if int(fr.A) < p.granted || int(fr.A) > p.total {
					t.Errorf("call %x: granted %d after %d of %d", fr.Call, fr.A, p.granted, p.total)
				}
				p.granted = int(fr.A)
			}
		case wire.Reply, wire.Cancel:
			find(fr.Call).over = true
		}
	}
	r.alive()
	for seq := uint32(1); len(h.in) > 0 && seq < 300; seq++ {
		slot := h.byte() % puzzles
		p := ps[slot]
		if p == nil || p.over || p.arrived && h.byte()%4 == 0 {
			p = &puzzle{call: wire.CallID(uint32(slot), seq), stream: h.byte()%2 == 0, total: 300 + h.pick(0, 300, 700, 1500, 4000, 9000, 29_000) + int(h.byte())}
			p.body, p.have = make([]byte, p.total), make([]bool, p.total)
			ps[slot] = p
			if p.stream {
				r.says(wire.Frame{Type: wire.Request, Flags: wire.FlagStream, Call: p.call, A: p.call})
			}
		}
		frames, free := []wire.Frame(nil), 1900
		for range 1 + h.byte()%3 {
			if free < 400 {
				break
			}
			fr, n := p.part(h, free)
			alone := p.granted == 0 || p.beyond(fr) // to see whether it is taken; for what part before it is granted cannot be seen
			if free -= n; alone && len(frames) > 0 {
				break
			}
			if frames = append(frames, fr); alone {
				break
			}
		}
		began, before, number := p.granted == 0, w.server.core.Audit().Reassembly, r.number
		for _, fr := range frames {
			p.note(fr)
		}
		r.says(frames...)
		if began && p.granted > 0 && !r.taken[number] {
			if before+int64(p.total) <= puzzleBudget {
				t.Fatalf("call %x: %d bytes are refused, with %d held", p.call, p.total, before)
			}
			refused++
			*p = puzzle{call: p.call, stream: p.stream, total: p.total, body: make([]byte, p.total), have: make([]bool, p.total)}
		}
		if a := w.server.core.Audit(); a.Reassembly > puzzleBudget || a.Credit > 12_000+int64(puzzles*2048) || a.Reassembly < 0 || a.Credit < 0 {
			t.Fatalf("%+v", a)
		}
		for _, p := range ps {
			if p != nil && p.whole() && !p.arrived && !p.over {
				t.Fatalf("call %x: the model has all %d bytes, and it has not arrived", p.call, p.total)
			}
		}
	}
	w.run(40*time.Second, nil) // those that are given up make room for others, which have a time of their own
	if a := w.server.core.Audit(); a.Reassembly != 0 || a.Credit != 0 {
		t.Errorf("held in the end: %+v", a)
	}
	if w.server.core.Sessions() != 2 {
		t.Error("a session is closed")
	}
	for k := range w.sessions {
		k.Close(w.net.Now(), session.OK, "")
	}
	w.server.core.Conns(func(c *session.Conn) { c.Close(w.net.Now(), session.OK, "") })
	w.run(time.Second, nil)
	r.end()
	return arrived, refused
}

// part makes up a part: mostly one that may be taken. n is what it takes of a packet.
func (p *puzzle) part(h *hostile, free int) (fr wire.Frame, n int) {
	size := min(h.pick(300, 1000, 1400, 1400, 1, 257)+h.pick(0, 0, int(h.byte())), free-40)
	total := p.total
	if h.byte()%16 == 0 {
		total += int(h.byte()) - 128
	}
	salt := h.byte()
	if p.granted == 0 || h.byte()%8 == 0 {
		size = max(min(size, p.total-1), 0)
		if p.stream {
			fr = first(wire.Message, p.call, 0, total, pattern(size, salt))
		} else {
			fr = first(wire.Request, p.call, p.call, total, pattern(size, salt))
		}
		return fr, size + 20
	}
	at := 0
	switch h.byte() % 4 {
	case 0: // anywhere
		at = int(h.byte())*p.total/256 + int(h.byte())
	case 1: // at the end of what is granted
		at = p.granted - size + int(h.byte()%4) - 1
	default: // the first gap
		for at < p.total && p.have[at] {
			at++
		}
		size = min(size, max(p.granted-at, 0))
	}
	at = max(at, 0)
	if p.stream {
		return laterOf(p.call, 0, at, total, pattern(size, salt)), size + 20
	}
	return later(p.call, at, total, pattern(size, salt)), size + 16
}

// beyond tells whether a part reaches beyond what was granted.
func (p *puzzle) beyond(fr wire.Frame) bool {
	return fr.Type == wire.Fragment && int(fr.A)+len(fr.Payload) > p.granted
}

// note is the model: it takes the bytes of a part that are allowed and new.
func (p *puzzle) note(fr wire.Frame) {
	if p.over || p.arrived {
		return
	}
	at, total, b := int(fr.A), int(fr.B), fr.Payload
	switch {
	case fr.Type != wire.Fragment:
		at, total = 0, int(fr.Payload[0])|int(fr.Payload[1])<<8|int(fr.Payload[2])<<16
		b = b[4:]
		if p.granted > 0 || len(b) < 256 || len(b) >= total || total > 30_000 {
			return // it has come before, or is none; of one that is too long the server will say so
		}
		if total != p.total { // that is what it is, then
			p.total, p.body, p.have = total, make([]byte, total), make([]bool, total)
		}
		p.granted = len(b)
	case p.stream:
		b = b[4:]
	}
	if p.granted == 0 || total != p.total || len(b) == 0 || at+len(b) > p.granted {
		return
	}
	for i := range b {
		if !p.have[at+i] {
			p.have[at+i], p.body[at+i] = true, b[i]
		}
	}
}

// pick takes one of a few values.
func (h *hostile) pick(values ...int) int { return values[int(h.byte())%len(values)] }

func (p *puzzle) held() (n int) {
	for _, have := range p.have {
		if have {
			n++
		}
	}
	return n
}

func (p *puzzle) whole() bool { return p.granted > 0 && p.held() == p.total }
