package linktest

import (
	"bytes"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// Counts follows every step of a frame's life.
func testAccounting(p *pair) {
	s, r := p.a, p.b
	expect := func(step string, s *side, was transport.FrameCounts, free, borrowed, inFlight int) {
		p.Helper()
		c := s.counts()
		if c.Free-was.Free != free || c.Borrowed-was.Borrowed != borrowed || c.InFlight-was.InFlight != inFlight {
			p.Errorf("%s: Counts went from %+v to %+v; want Free %+d, Borrowed %+d, InFlight %+d", step, was, c, free, borrowed, inFlight)
		}
	}
	was := s.counts()
	fs := make([]transport.Frame, 0, 3)
	for range 3 {
		fs = append(fs, s.alloc(pattern(7, 20)))
	}
	expect("Alloc of 3", s, was, -3, 3, 0)
	s.Free(fs[2:])
	expect("Free of one never sent", s, was, -2, 2, 0)
	s.send(fs[:2], nil)
	expect("Send of 2", s, was, -2, 0, 2)
	landed := 0
	for range turns {
		if landed += s.Completed(s.out[landed:2:2]); landed == 2 {
			break
		}
		s.flush()
		s.wait(s.clock().Add(oneTry))
	}
	expect("Completed of 2", s, was, -2, 2, 0)
	s.Free(s.out[:2])
	expect("Free of 2", s, was, 0, 0, 0)

	r.until(r.clock().Add(oneTry), func(*transport.Frame) bool { return false }) // those two
	home := r.counts()
	if home.Borrowed != 0 || home.InFlight != 0 {
		p.Fatalf("after Recv and Free: %+v", home)
	}
	var held []transport.Frame
	s.deliver(r, pattern(8, 20), func(f *transport.Frame) bool {
		held = append(held, *f)
		f.Data = nil
		return true
	})
	if c := r.counts(); c.Borrowed != len(held) || c.InFlight != 0 {
		p.Errorf("holding %d received frames: %+v", len(held), c)
	}
	r.Free(held)
	if c := r.counts(); c.Borrowed != 0 {
		p.Errorf("after Free of %d received frames: %+v", len(held), c)
	}
}

// Alloc hands out different frames that do not overlap until none is left, and again after Free.
func testExhausted(p *pair) {
	s := p.a
	var before int
	for round := range 2 {
		var fs []transport.Frame
		seen := map[uint32]bool{}
		for len(fs) <= s.caps.Frames {
			var f transport.Frame
			ok := s.Alloc(&f)
			if !ok {
				break
			}
			if int(f.ID) >= s.caps.Frames || seen[f.ID] || len(f.Data) < s.caps.FrameBytes {
				p.Fatalf("Alloc number %d gave frame %d (seen: %v) of %d bytes", len(fs), f.ID, seen[f.ID], len(f.Data))
			}
			seen[f.ID] = true
			copy(f.Data, pattern(uint64(f.ID), len(f.Data)))
			fs = append(fs, f)
		}
		if ok := s.Alloc(new(transport.Frame)); ok || len(fs) == 0 || len(fs) > s.caps.Frames {
			p.Fatalf("Alloc gave %d frames of %d and then %v", len(fs), s.caps.Frames, ok)
		}
		for _, f := range fs {
			if !bytes.Equal(f.Data, pattern(uint64(f.ID), len(f.Data))) {
				p.Fatalf("frame %d shares memory with another", f.ID)
			}
		}
		s.counts()
		s.Free(fs)
		if round > 0 && len(fs) != before {
			p.Errorf("%d frames the first time, %d after Free", before, len(fs))
		}
		before = len(fs)
	}
}

// Each sent frame comes back from Completed once, as the same buffer with the same bytes.
func testCompletedOnce(p *pair) {
	s := p.a
	type flight struct {
		start *byte
		sent  []byte
	}
	aloft := map[uint32]flight{}
	collect := func() {
		n := s.Completed(s.out)
		for _, f := range s.out[:n] {
			fl, ok := aloft[f.ID]
			if !ok {
				p.Fatalf("Completed returned frame %d, which is not in flight", f.ID)
			}
			if len(f.Data) < len(fl.sent) || &f.Data[0] != fl.start || !bytes.Equal(f.Data[:len(fl.sent)], fl.sent) {
				p.Fatalf("Completed returned frame %d with another buffer or other bytes", f.ID)
			}
			delete(aloft, f.ID)
			s.Free([]transport.Frame{f})
		}
		p.b.Free(p.b.receive())
	}
	for key := range uint64(4 * s.caps.Frames) {
		data := pattern(key, 8+int(key%50))
		f := s.alloc1(collect)
		f.Data = f.Data[:copy(f.Data, data)]
		if _, ok := aloft[f.ID]; ok {
			p.Fatalf("Alloc gave frame %d, which is in flight", f.ID)
		}
		aloft[f.ID] = flight{&f.Data[0], data}
		s.send([]transport.Frame{f}, collect)
		if key%7 == 0 {
			collect()
		}
	}
	p.settleSends(collect)
	if len(aloft) != 0 {
		p.Errorf("%d sent frames never came back", len(aloft))
	}
}

// alloc1 returns a free frame; idle makes some.
func (s *side) alloc1(idle func()) transport.Frame {
	for range turns {
		var f transport.Frame
		if s.Alloc(&f) {
			f.Path = s.path
			return f
		}
		s.flush()
		if idle(); s.counts().Free == 0 {
			s.wait(s.clock().Add(oneTry / 100))
		}
	}
	s.t.Fatalf("%s: no free frame: %+v", s.caps.Name, s.Counts())
	panic("unreachable")
}

// A receiver that holds all its frames loses packets, nothing else: what it holds stays as it is, and after Free it receives again.
func testStarved(p *pair) {
	s, r := p.a, p.b
	var held []transport.Frame
	dry := 0
	for key := uint64(0); dry < 20 && len(held) <= r.caps.Frames; key++ {
		f := s.alloc(pattern(key, 40))
		if n, err := s.Send([]transport.Frame{f}); err != nil {
			p.Fatalf("Send: %v", err)
		} else if n == 0 { // a reliable Link waits for the receiver
			s.Free([]transport.Frame{f})
		}
		s.flush()
		s.reap()
		if fs := r.receive(); len(fs) > 0 {
			held, dry = append(held, fs...), 0
		} else if dry++; r.counts().Receive > 0 {
			r.wait(r.clock().Add(oneTry / 10))
		}
	}
	if len(held) == 0 || len(held) > r.caps.Frames {
		p.Fatalf("holding %d received frames of %d", len(held), r.caps.Frames)
	}
	for _, f := range held {
		r.keyOf(f.Data)
	}
	r.Free(held)
	data := pattern(1<<40, 40)
	s.deliver(r, data, func(f *transport.Frame) bool { return r.keyOf(f.Data) == 1<<40 })
}

// A frame that is not the caller's cannot be freed.
func testFreePanics(p *pair) {
	s := p.a
	panics := func(what string, f transport.Frame) {
		p.Helper()
		before := s.counts()
		defer func() {
			if recover() == nil {
				p.Errorf("Free of %s did not panic", what)
			}
			if after := s.counts(); after != before {
				p.Errorf("Free of %s changed Counts from %+v to %+v", what, before, after)
			}
		}()
		s.Free([]transport.Frame{f})
	}
	f := s.alloc(pattern(1, 16))
	s.Free([]transport.Frame{f})
	panics("a frame freed already", f)
	foreign := f
	foreign.ID = uint32(s.caps.Frames)
	panics("a frame with an ID that the Link does not have", foreign)
	foreign.ID = 1<<32 - 1
	panics("a frame with an absurd ID", foreign)
	g := s.alloc(pattern(2, 16))
	s.send([]transport.Frame{g}, nil)
	panics("a frame in flight", g)
}

// In the steady state nothing allocates.
func testNoAllocation(p *pair) {
	s, r := p.a, p.b
	fs, events := make([]transport.Frame, 1), make([]transport.Event, 4)
	data := pattern(1, 128)
	received := 0
	step := func() {
		if f := &fs[0]; s.Alloc(f) {
			f.Data, f.Path = f.Data[:copy(f.Data, data)], s.path
			if n, err := s.Send(fs); n != 1 || err != nil {
				s.Free(fs)
			}
			_ = s.Flush()
		}
		r.Wake()
		_ = r.Wait(r.clock().Add(oneTry)) // returns for the Wake or the packet
		_ = r.Wait(r.clock().Add(20 * time.Microsecond))
		n, _ := r.Recv(r.in)
		received += n
		r.Free(r.in[:n])
		s.Free(s.out[:s.Completed(s.out)])
		s.Events(events)
		r.Events(events)
		r.Counts()
		r.Caps()
	}
	for range 2 * s.caps.Frames { // warm up
		step()
	}
	if n := testing.AllocsPerRun(500, step); n != 0 {
		p.Errorf("%v allocations for each frame sent and received", n)
	}
	if received == 0 {
		p.Error("nothing arrived")
	}
}
