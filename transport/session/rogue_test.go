package session_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// rogue is a peer that has opened a session, as a client or as a server, and then says what a test tells it to say.
type rogue struct {
	w        *world
	link     *sim.Link
	to       netip.AddrPort
	accepts  wire.Handshake // what it offers as a server, but for the session's numbers
	id       uint64         // the session's number at the other end; 0: not open yet
	number   uint32         // of its next packet
	silent   bool           // it acknowledges nothing
	received uint64         // the largest packet number
	bits     uint64         // as in an acknowledgement
	any      bool
	got      []wire.Frame    // since the last look, with payloads of their own
	acked    uint32          // the largest of its own packets that was acknowledged
	taken    map[uint32]bool // and all of them
	on       func(fr wire.Frame)
}

const rogueID = 77

func newRogue(w *world, addr, to netip.AddrPort) *rogue {
	r := &rogue{w: w, link: w.net.Link(addr, sim.LinkOptions{Frames: 4096}), to: to, taken: map[uint32]bool{}}
	w.each = r.turn
	return r
}

// rogueClient opens a session to the server of a world.
func rogueClient(t testing.TB, server session.Config) (*world, *rogue) {
	w := newWorldOn(t, 1, lan, session.Config{}, server, sim.LinkOptions{})
	w.establish()
	r := newRogue(w, strangerAddr, serverAddr)
	h := wire.Handshake{Kind: wire.Hello, Calls: 1000, Source: rogueID, Incarnation: 5, Echo: 9, MaxMessage: 1 << 20, MaxPacket: 1500, StreamWindow: 4}
	b := make([]byte, wire.HelloBytes)
	w.net.Inject(strangerAddr, serverAddr, b[:h.Put(b)])
	if !w.run(time.Second, func() bool { return r.id != 0 }) {
		t.Fatal("the rogue has no session")
	}
	r.send(wire.Frame{Type: wire.Ping})
	w.run(time.Millisecond, nil)
	return w, r
}

// rogueServer takes the server's place in a world, and gets the client's session.
func rogueServer(t testing.TB, client session.Config) (*world, *rogue) {
	w := newWorldOn(t, 1, lan, client, session.Config{}, sim.LinkOptions{})
	w.crash(w.server)
	r := newRogue(w, serverAddr, clientAddr)
	r.accepts = wire.Handshake{Kind: wire.Accept, Calls: 1000, Source: rogueID, Incarnation: 5, MaxMessage: 1 << 20, MaxPacket: 1500, StreamWindow: 4}
	if !w.run(time.Second, w.conn.Established) {
		t.Fatal("the client has no session with the rogue")
	}
	w.run(time.Millisecond, nil)
	return w, r
}

// turn takes what has come, and acknowledges it.
func (r *rogue) turn() {
	var fs [64]transport.Frame
	n, err := r.link.Recv(fs[:])
	if err != nil {
		r.w.t.Fatal(err)
	}
	elicits := false
	for i := range n {
		b := fs[i].Data
		var h wire.Handshake
		switch wire.KindOf(b) {
		case wire.Data:
			elicits = r.take(b) || elicits
		case wire.Hello, wire.Accept:
			if !h.Parse(b) {
				r.w.t.Error("a handshake packet that is none")
			} else if r.id = h.Source; h.Kind == wire.Hello {
				p := r.accepts
				p.Session, p.Echo = h.Source, h.Echo
				answer := make([]byte, 256)
				r.w.net.Inject(r.link.Addr(), r.to, answer[:p.Put(answer)])
			}
		}
	}
	r.link.Free(fs[:n])
	if elicits && !r.silent {
		r.send()
	}
}

// take notes a data packet; it returns whether that wants to be acknowledged.
func (r *rogue) take(b []byte) (elicits bool) {
	var h wire.DataHeader
	body, ok := wire.Verify(b)
	if !ok || !h.Parse(b) || h.Session != rogueID {
		r.w.t.Errorf("a packet of session %d", h.Session)
		return false
	}
	if h.Flags&wire.FlagAck != 0 {
		r.acked = max(r.acked, h.AckLargest)
		for back := range uint32(65) {
			if back == 0 || h.AckBits&(1<<(back-1)) != 0 {
				r.taken[h.AckLargest-back] = true
			}
		}
	}
	switch n := uint64(h.Number); {
	case !r.any:
		r.any, r.received = true, n
	case n > r.received:
		r.bits = r.bits<<(n-r.received) | 1<<(n-r.received-1)
		r.received = n
	case n < r.received && r.received-n <= 64:
		r.bits |= 1 << (r.received - n - 1)
	}
	for b := body[wire.DataHeaderBytes:]; len(b) > 0; {
		var fr wire.Frame
		if b, ok = fr.Next(b); !ok {
			r.w.t.Error("a frame that is none")
			return elicits
		}
		elicits = true
		fr.Payload = append([]byte(nil), fr.Payload...)
		r.got = append(r.got, fr)
		if r.on != nil {
			r.on(fr)
		}
	}
	return elicits
}

// send says something in a packet of its own, acknowledging what has come.
func (r *rogue) send(frames ...wire.Frame) {
	var h wire.DataHeader
	if r.any && !r.silent {
		h.Flags, h.AckLargest, h.AckBits = wire.FlagAck, uint32(r.received), r.bits
	}
	r.packet(h, frames...)
}

func (r *rogue) packet(h wire.DataHeader, frames ...wire.Frame) {
	b := make([]byte, 4096)
	h.Session, h.Number, h.Stamp = r.id, r.number, uint32(r.w.net.Now()/1000)
	r.number++
	h.Put(b)
	n := wire.DataHeaderBytes
	for _, fr := range frames {
		fr.Put(b[n:], len(fr.Payload))
		n += wire.FrameHeaderBytes + copy(b[n+wire.FrameHeaderBytes:], fr.Payload)
	}
	b = b[:n+wire.ChecksumBytes]
	wire.Sum(b)
	r.w.net.Inject(r.link.Addr(), r.to, b)
}

// says sends a packet and returns the frames that come back within a millisecond.
func (r *rogue) says(frames ...wire.Frame) []wire.Frame {
	r.got = nil
	r.send(frames...)
	r.w.run(time.Millisecond, nil)
	return r.got
}

// first is the first part of a message of total bytes.
func first(kind wire.FrameType, call, a uint32, total int, part []byte) wire.Frame {
	return wire.Frame{Type: kind, Flags: wire.FlagMore, Call: call, A: a, Payload: append(binary.LittleEndian.AppendUint32(nil, uint32(total)), part...)}
}

// later is another part of it.
func later(call uint32, offset, total int, part []byte) wire.Frame {
	return wire.Frame{Type: wire.Fragment, Call: call, A: uint32(offset), B: uint32(total), Payload: part}
}

// laterOf is another part of a stream's message.
func laterOf(call, number uint32, offset, total int, part []byte) wire.Frame {
	fr := later(call, offset, total, append(binary.LittleEndian.AppendUint32(nil, number), part...))
	fr.Flags = wire.FlagStream
	return fr
}

// only returns the frames of a type.
func only(frames []wire.Frame, kind wire.FrameType) (some []wire.Frame) {
	for _, fr := range frames {
		if fr.Type == kind {
			some = append(some, fr)
		}
	}
	return some
}

// alive keeps the session from being given up for silence, for as long as the rogue lives.
func (r *rogue) alive() {
	r.send(wire.Frame{Type: wire.Ping})
	r.w.in(20*time.Millisecond, func() {
		if r.link != nil {
			r.alive()
		}
	})
}

// bury ends the rogue.
func (r *rogue) bury() {
	if err := r.link.Close(); err != nil {
		r.w.t.Fatal(err)
	}
	r.link, r.w.each = nil, nil
}
