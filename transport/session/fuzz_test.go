package session_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// FuzzSession lets somebody hostile, who sees everything and forges addresses and checksums, loose on an established pair. The input is his
// script: see hostile.act. Nothing panics, what the ends hold stays within their limits, every call ends, the session goes on or is closed with
// a reason, and at the end everything comes home.
func FuzzSession(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		f.Add(script(r))
	}
	f.Fuzz(func(t *testing.T, in []byte) { attack(t, in) })
}

// TestHostile is as many random scripts as fit into a test run.
func TestHostile(t *testing.T) {
	n := uint64(3000)
	if testing.Short() {
		n = 300
	}
	for seed := range n {
		attack(t, script(rand.New(rand.NewPCG(seed, 9))))
		if t.Failed() {
			t.Fatalf("the script of seed %d", seed)
		}
	}
}

func script(r *rand.Rand) []byte {
	b := make([]byte, 20+r.IntN(600))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

var hostileConfig = session.Config{Sessions: 8, Calls: 32, CallsPerSession: 4, MaxMessage: 1 << 18, Reassembly: 1 << 19, HalfOpen: 4}

type hostile struct {
	*world
	in      []byte
	calls   int
	streams []*session.Call // of the client, that it has begun
	served  []*session.Call // of the server, not answered
	numbers [2]uint32       // the last packet number forged to the server, to the client
}

func attack(t *testing.T, in []byte) {
	w := newWorldOn(t, 1, lan, hostileConfig, hostileConfig, sim.LinkOptions{Frames: 64})
	w.establish()
	h := &hostile{world: w, in: in}
	unary := w.server.onEvent
	w.client.onEvent = h.clientEvent
	w.server.onEvent = func(ev session.Event) { h.serverEvent(ev, unary) }
	for range 200 {
		if len(h.in) == 0 {
			break
		}
		h.act()
		w.run(time.Duration(h.byte())*time.Microsecond, nil)
		h.check()
	}
	for _, k := range h.streams {
		k.Cancel(w.net.Now())
	}
	for len(h.served) > 0 {
		h.answer(h.served[0])
	}
	if !w.run(time.Minute, func() bool { return len(w.ended) == h.calls }) {
		t.Errorf("%d of %d calls have ended", len(w.ended), h.calls)
	}
	if w.conn.Established() == (w.closed != nil) {
		t.Errorf("established %v, closed with %v", w.conn.Established(), w.closed)
	}
	w.settle()
}

// clientEvent reads what comes on streams.
func (h *hostile) clientEvent(ev session.Event) {
	if ev.Kind == session.StreamReadable {
		drain(ev.Call)
		return
	}
	h.world.clientEvent(ev)
	if ev.Kind == session.CallEnded {
		h.streams = slices.DeleteFunc(h.streams, func(k *session.Call) bool { return k == ev.Call })
		if ev.Call.Streams() {
			drain(ev.Call)
		}
	}
}

// serverEvent takes up streams, which are answered when nobody waits, or when the script says so.
func (h *hostile) serverEvent(ev session.Event, unary func(session.Event)) {
	switch {
	case ev.Kind == session.RequestArrived && ev.Call.Streams():
		h.served = append(h.served, ev.Call)
	case ev.Kind == session.StreamReadable:
		drain(ev.Call)
	case ev.Kind == session.RequestGone && slices.Contains(h.served, ev.Call):
		h.answer(ev.Call)
	default:
		unary(ev)
	}
}

func (h *hostile) answer(k *session.Call) {
	h.served = slices.DeleteFunc(h.served, func(x *session.Call) bool { return x == k })
	k.ReplyBytes(h.net.Now(), session.OK, session.Executed, make([]byte, h.of(0, 1000, 5000)%10_000))
}

func drain(k *session.Call) {
	for m := k.Receive(); m != nil; m = k.Receive() {
		k.Free(m)
	}
}

// stream does something with the streams that the ends themselves have.
func (h *hostile) stream() {
	some := h.streams
	if h.byte()%2 == 0 {
		some = h.served
	}
	op := h.byte()
	if len(some) == 0 || op%8 == 0 {
		if k, err := h.conn.NewCall(); err == nil {
			k.Tag = h.calls
			h.calls++
			h.streams = append(h.streams, k)
			k.StartStream(h.net.Now(), 1, h.net.Now().Add(time.Duration(h.byte())*time.Millisecond))
		}
		return
	}
	switch k := some[int(op>>4)%len(some)]; {
	case op%8 < 5:
		k.Send(make([]byte, h.of(0, 1, 1000, 5000, 40_000)%50_000)) // refused or not: the script goes on
	case op%8 == 5 && k.Conn().Client():
		k.CloseSend()
	case op%8 == 6 && k.Conn().Client():
		k.Cancel(h.net.Now())
	case op%8 == 7 && !k.Conn().Client():
		h.answer(k)
	}
}

// check looks at what the ends hold.
func (h *hostile) check() {
	for name, n := range map[string]*node{"client": h.client, "server": h.server} {
		if a := n.core.Audit(); a.Records > 32 || a.Reassembly < 0 || a.Reassembly > 1<<19 || a.Peers > 8 || a.HalfOpen > 4 || n.core.Sessions() > 8 {
			h.t.Errorf("%s: %d sessions, %+v", name, n.core.Sessions(), a)
		}
	}
}

func (h *hostile) byte() byte {
	if len(h.in) == 0 {
		return 0
	}
	b := h.in[0]
	h.in = h.in[1:]
	return b
}

// of picks one of a few values that are likely to hurt, or, seldom, a number of the script's.
func (h *hostile) of(values ...uint32) uint32 {
	b := h.byte()
	if b < 224 {
		return values[int(b)%len(values)]
	}
	return uint32(b) | uint32(h.byte())<<8 | uint32(h.byte())<<16 | uint32(h.byte())<<24
}

func (h *hostile) act() {
	switch op := h.byte(); op % 10 {
	case 8, 9:
		h.stream()
	case 0: // any bytes
		n := min(int(h.byte())*4, len(h.in))
		b := bytes.Clone(h.in[:n])
		h.in = h.in[n:]
		h.inject(b)
	case 1, 2: // a packet of the ends' own, once more, changed or not
		recent := &h.client.link.(*watched).recent
		if op&8 != 0 {
			recent = &h.server.link.(*watched).recent
		}
		b := bytes.Clone(recent[int(op>>4)%len(recent)])
		for n := h.byte() % 4; n > 0 && len(b) > 0; n-- {
			b[(int(h.byte())|int(h.byte())<<8)%len(b)] = h.byte()
		}
		if h.byte()%4 != 0 && len(b) >= wire.ChecksumBytes {
			wire.Sum(b)
		}
		h.inject(b)
	case 3, 4, 5:
		h.inject(h.packet())
	case 6:
		h.inject(h.handshake())
	case 7:
		if k, err := h.conn.NewCall(); err == nil {
			k.Tag = h.calls
			h.calls++
			size := h.of(0, 1, 1000, 5000, 1<<18) % (1<<18 + 1)
			deadline := h.net.Now().Add(time.Duration(h.byte()) * time.Millisecond)
			if err := k.StartBytes(h.net.Now(), 1, make([]byte, size), deadline); err != nil {
				k.Discard()
				h.calls--
			}
		}
	}
}

// inject sends b to one end as if from the other, or now and then from a stranger.
func (h *hostile) inject(b []byte) {
	if len(b) > 2048 {
		b = b[:2048]
	}
	from, to := clientAddr, serverAddr
	role := h.byte()
	if role%2 == 1 {
		from, to = to, from
	}
	if role%16 < 2 {
		from = strangerAddr
	}
	h.net.Inject(from, to, b)
}

// packet is a data packet with a right checksum, for one of the ends.
func (h *hostile) packet() []byte {
	to := int(h.byte() % 2)
	hd := wire.DataHeader{
		Flags: h.byte(), AckDelay: uint16(h.byte()) << 8, AckLargest: h.of(0, 1, 2, 3, 5, 8, 1<<31, 1<<32-1),
		Stamp: uint32(h.net.Now() / 1000), AckBits: uint64(h.of(0, 1, 3, 1<<32-1)) * (1<<32 + 1),
	}
	h.numbers[to] += h.of(1, 1, 1, 1, 2, 65, 1<<31, 0)
	hd.Number = h.numbers[to]
	if to == 1 {
		hd.Session = h.conn.ID()
	} else {
		for c := range h.sessions {
			hd.Session = max(hd.Session, c.ID())
		}
	}
	b := make([]byte, 2048)
	hd.Put(b)
	n := wire.DataHeaderBytes
	for range 1 + h.byte()%4 {
		size := int(h.of(0, 4, 5, 260, 300, 1000, 1400) % 1500)
		if n+wire.FrameHeaderBytes+size+wire.ChecksumBytes > len(b) {
			break
		}
		fr := wire.Frame{
			Type: wire.FrameType(h.byte() % 15), Flags: h.byte() % 16,
			Call: wire.CallID(h.of(0, 0, 0, 1, 3, 4, 4095), h.of(1, 2, 3, 4, 0, 1<<20-1, 1<<19)),
			A:    h.of(0, 1, 2, 5, 31, 32, 256, 300, 600, 1000, 2000, 1<<32-1), B: h.of(0, 1, 300, 600, 900, 1000, 3000, 1<<18, 1<<18+1, 1<<32-1),
		}
		if fr.Type == wire.Close && h.byte()%8 != 0 { // that would be the end of most scripts
			fr.Type = wire.Ping
		}
		fr.Put(b[n:], size)
		n += wire.FrameHeaderBytes
		if size >= wire.TotalBytes {
			total := h.of(300, 600, 900, 1000, 3000, 1<<18, 1<<32-1)
			if fr.Type == wire.Fragment {
				total = h.of(0, 1, 2, 5, 31, 1<<32-1) // a message's number
			}
			b[n], b[n+1], b[n+2], b[n+3] = byte(total), byte(total>>8), byte(total>>16), byte(total>>24)
		}
		n += size
	}
	if fr := h.byte(); fr%16 == 0 && n < 2000 { // a tail that is no frame
		n += int(fr>>4) + 1
	}
	b = b[:n+wire.ChecksumBytes]
	wire.Sum(b)
	return b
}

// handshake is any handshake packet about the sessions that there are.
func (h *hostile) handshake() []byte {
	ids := []uint64{h.conn.ID(), 0, 1, 1 << 52, 1<<64 - 1}
	for c := range h.sessions {
		ids = append(ids, c.ID())
	}
	slices.Sort(ids)
	id := func() uint64 { return ids[int(h.byte())%len(ids)] }
	p := wire.Handshake{
		Kind: wire.Kind(2 + h.byte()%5), Security: wire.Security(h.byte() % 2), Calls: h.of(0, 1, 10), Session: id(), Source: id(),
		Incarnation: uint64(h.of(2, 3, 4)), Echo: uint64(h.byte()), MaxMessage: h.of(0, 1000, 1<<20), MaxPacket: uint16(h.of(0, 579, 580, 1500, 65535)),
		IdleSeconds: uint16(h.byte()), Code: h.of(0, 14), AckDelay: h.of(0, 200, 1<<32-1), Payload: make([]byte, h.of(0, 20)%1025),
	}
	b := make([]byte, 2048)
	return b[:p.Put(b)]
}
