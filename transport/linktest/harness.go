package linktest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

const (
	tries  = 50                     // how often a packet is sent before the link counts as dead
	oneTry = 100 * time.Millisecond // how long to wait for its arrival, by the link's clock
	turns  = 100_000                // bound of every loop that polls
	hang   = 20 * time.Second       // when a call that should have returned counts as stuck
)

// pair is the Pair under test.
type pair struct {
	*testing.T
	Pair
	a, b *side
}

// side is one of its ends, with the path to the other.
type side struct {
	transport.Link
	t      *testing.T
	caps   transport.Caps
	path   transport.Path
	clock  func() transport.Time
	in     []transport.Frame // scratch of Recv
	out    []transport.Frame // scratch of Completed
	closed bool
}

func newPair(t *testing.T, p Pair) *pair {
	clock := p.Clock
	if clock == nil {
		clock = transport.Now
	}
	open := func(l transport.Link, local, remote netip.AddrPort) *side {
		s := &side{Link: l, t: t, caps: l.Caps(), clock: clock}
		path, err := l.Resolve(t.Context(), local, remote)
		if err != nil {
			t.Fatalf("Resolve(%v, %v): %v", local, remote, err)
		}
		s.path = path
		s.in, s.out = make([]transport.Frame, s.caps.Burst), make([]transport.Frame, s.caps.Burst)
		return s
	}
	return &pair{T: t, Pair: p, a: open(p.A, p.AddrA, p.AddrB), b: open(p.B, p.AddrB, p.AddrA)}
}

func (p *pair) close() {
	for _, s := range []*side{p.a, p.b} {
		if !s.closed {
			if err := s.Close(); err != nil {
				p.Errorf("Close: %v", err)
			}
		}
	}
}

// settle brings all frames home and checks that this is where they are.
func (p *pair) settle() {
	if p.Failed() {
		return
	}
	for range turns {
		busy := false
		for _, s := range []*side{p.a, p.b} {
			if s.closed {
				continue
			}
			s.Free(s.receive())
			s.reap()
			if s.counts().InFlight > 0 {
				busy = true
				s.flush()
				s.wait(s.clock().Add(time.Millisecond))
			}
		}
		if !busy {
			break
		}
	}
	for _, s := range []*side{p.a, p.b} {
		if c := s.counts(); c.Borrowed != 0 || c.InFlight != 0 {
			p.Errorf("%s: frames did not come home: %+v", s.caps.Name, c)
		}
	}
}

// counts returns Counts and checks the sum.
func (s *side) counts() transport.FrameCounts {
	c := s.Counts()
	if sum := c.Free + c.Receive + c.Borrowed + c.InFlight; sum != s.caps.Frames || min(c.Free, c.Receive, c.Borrowed, c.InFlight) < 0 {
		s.t.Fatalf("%s: Counts %+v sum up to %d of %d frames", s.caps.Name, c, sum, s.caps.Frames)
	}
	return c
}

// alloc returns a frame to the other side that holds data. Reaping makes frames free.
func (s *side) alloc(data []byte) transport.Frame {
	for range turns {
		var f transport.Frame
		if s.Alloc(&f) {
			f.Data = f.Data[:copy(f.Data, data)]
			f.Path = s.path
			return f
		}
		s.flush()
		if !s.reap() {
			s.wait(s.clock().Add(time.Millisecond))
		}
	}
	s.t.Fatalf("%s: no free frame: %+v", s.caps.Name, s.Counts())
	panic("unreachable")
}

// send sends all of fs; idle runs when the device takes no more.
func (s *side) send(fs []transport.Frame, idle func()) {
	for range turns {
		n, err := s.Send(fs)
		if err != nil || n < 0 || n > len(fs) || n > s.caps.Burst {
			s.t.Fatalf("%s: Send of %d frames = %d, %v", s.caps.Name, len(fs), n, err)
		}
		fs = fs[n:]
		s.flush()
		if len(fs) == 0 {
			return
		}
		if n == 0 && idle != nil {
			idle()
		}
	}
	s.t.Fatalf("%s: the device takes no frame any more: %+v", s.caps.Name, s.Counts())
}

func (s *side) flush() {
	if err := s.Flush(); err != nil {
		s.t.Fatalf("%s: Flush: %v", s.caps.Name, err)
	}
}

// reap frees frames whose flight ended; false: there were none.
func (s *side) reap() (any bool) {
	for range turns {
		n := s.Completed(s.out)
		if n == 0 {
			return any
		}
		s.Free(s.out[:n])
		any = true
	}
	s.t.Fatalf("%s: Completed does not end", s.caps.Name)
	return any
}

// receive returns what is there now; it is valid until the next call.
func (s *side) receive() []transport.Frame {
	n, err := s.Recv(s.in)
	if err != nil || n < 0 || n > len(s.in) {
		s.t.Fatalf("%s: Recv = %d, %v", s.caps.Name, n, err)
	}
	return s.in[:n]
}

func (s *side) wait(until transport.Time) {
	if err := s.Wait(until); err != nil {
		s.t.Fatalf("%s: Wait: %v", s.caps.Name, err)
	}
}

// until receives until accept returns true or the time is over. The frames that accept saw are freed, unless it sets their Data to nil.
func (s *side) until(end transport.Time, accept func(f *transport.Frame) bool) (done bool) {
	for range turns {
		fs := s.receive()
		for i := range fs {
			done = accept(&fs[i]) || done
			if fs[i].Data != nil {
				s.Free(fs[i : i+1])
			}
		}
		if done || len(fs) == 0 && s.clock() >= end {
			return done
		}
		if len(fs) == 0 {
			s.wait(end)
		}
	}
	return false
}

// deliver sends data from s to r, again if need be, until accept takes a packet there.
func (s *side) deliver(r *side, data []byte, accept func(f *transport.Frame) bool) {
	s.t.Helper()
	for range tries {
		s.send([]transport.Frame{s.alloc(data)}, nil)
		ok := r.until(r.clock().Add(oneTry), accept)
		s.reap()
		if ok {
			return
		}
	}
	s.t.Fatalf("%s: %d bytes to %v did not arrive in %d tries", s.caps.Name, len(data), s.path.Remote(), tries)
}

// pattern is n bytes that follow from key; from 8 bytes on they begin with it.
func pattern(key uint64, n int) []byte {
	p := make([]byte, n+8)
	binary.LittleEndian.PutUint64(p, key)
	r := rand.NewPCG(key, uint64(n))
	for i := 8; i+8 <= len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], r.Uint64())
	}
	for i := len(p) &^ 7; i < len(p); i++ {
		p[i] = byte(r.Uint64())
	}
	return p[:n]
}

// keyOf returns the key of a pattern of at least 8 bytes, having checked every byte.
func (s *side) keyOf(data []byte) uint64 {
	if len(data) < 8 {
		s.t.Fatalf("%s: received %d bytes that were never sent", s.caps.Name, len(data))
	}
	key := binary.LittleEndian.Uint64(data)
	if !bytes.Equal(data, pattern(key, len(data))) {
		s.t.Fatalf("%s: %d received bytes are not those sent", s.caps.Name, len(data))
	}
	return key
}

// returns fails the test unless f returns within hang.
func (p *pair) returns(what string, f func()) {
	p.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	p.await(what, done)
}

func (p *pair) await(what string, done <-chan struct{}) {
	p.Helper()
	select {
	case <-done:
	case <-time.After(hang):
		p.Fatalf("%s did not return", what)
	}
}

func closedErr(err error) bool { return errors.Is(err, transport.ErrClosed) }
