package linktest

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/fastrpc/fastrpc/transport"
)

func testCaps(p *pair) {
	for _, s := range []*side{p.a, p.b} {
		c := s.caps
		if c.Scheme == "" || c.Name == "" || c.Frames < 2 || c.FrameBytes < 1 || c.Burst < 1 {
			p.Errorf("Caps %+v", c)
		}
		if s.Caps() != c {
			p.Errorf("Caps changed: %+v, then %+v", c, s.Caps())
		}
		if c := s.counts(); c.Borrowed != 0 || c.InFlight != 0 {
			p.Errorf("a new Link has frames outside: %+v", c)
		}
	}
}

// shortSizes is how many sizes are tested at either end with -short, and the distance of those between.
const shortSizes = 64

// Every size from 1 to the MTU arrives as it was sent, in both directions. With -short most of those in the middle are left out.
func testEverySize(p *pair) {
	for _, way := range [][2]*side{{p.a, p.b}, {p.b, p.a}} {
		from, to := way[0], way[1]
		mtu := int(from.path.MTU)
		for size := 1; size <= mtu; size++ {
			if testing.Short() && size > shortSizes && size < mtu-shortSizes && size%shortSizes != 0 {
				continue
			}
			from.deliver(to, pattern(uint64(size), size), func(f *transport.Frame) bool {
				if n := len(f.Data); n > size || !bytes.Equal(f.Data, pattern(uint64(n), n)) { // below size: a late copy
					p.Fatalf("sent %d bytes, received %d that differ", size, n)
				}
				if f.Stamp == 0 || f.Stamp > to.clock() {
					p.Fatalf("received at %d, now %d", f.Stamp, to.clock())
				}
				return len(f.Data) == size
			})
		}
	}
}

// A full burst arrives; in order where the Link says so.
func testBurst(p *pair) {
	s, r := p.a, p.b
	missing := map[uint64]bool{}
	for key := range uint64(min(s.caps.Burst, s.counts().Free, r.counts().Receive)) {
		missing[key] = true
	}
	all := len(missing)
	for range tries {
		var fs []transport.Frame
		for key := range uint64(all) {
			if missing[key] {
				fs = append(fs, s.alloc(pattern(key, min(64, int(s.path.MTU)))))
			}
		}
		s.send(fs, nil)
		next := uint64(0)
		r.until(r.clock().Add(oneTry), func(f *transport.Frame) bool {
			key := r.keyOf(f.Data)
			if s.caps.Ordered && key != next {
				p.Fatalf("packet %d came where %d should", key, next)
			}
			next++
			delete(missing, key)
			return len(missing) == 0
		})
		s.reap()
		if len(missing) == 0 {
			return
		}
		if s.caps.Reliable {
			break
		}
	}
	p.Fatalf("%d of a burst of %d never arrived", len(missing), all)
}

// Every frame of the Link at once: Send takes what it can, and the rest later. A reliable Link delivers them all.
func testOverload(p *pair) {
	s, r := p.a, p.b
	sent := uint64(0)
	next := uint64(0)
	drain := func() {
		s.reap()
		for _, f := range r.receive() {
			if key := r.keyOf(f.Data); s.caps.Reliable && s.caps.Ordered && key != next {
				p.Fatalf("packet %d came where %d should", key, next)
			}
			next++
			r.Free([]transport.Frame{f})
		}
	}
	for range 3 {
		var fs []transport.Frame
		for {
			var f transport.Frame
			ok := s.Alloc(&f)
			if !ok {
				break
			}
			f.Data = f.Data[:copy(f.Data, pattern(sent, 32))]
			f.Path = s.path
			fs = append(fs, f)
			sent++
		}
		s.send(fs, drain)
		p.settleSends(drain)
	}
	for range tries {
		if drain(); next >= sent || next > 0 && !s.caps.Reliable {
			break
		}
		r.wait(r.clock().Add(oneTry))
	}
	if next == 0 || s.caps.Reliable && next != sent {
		p.Fatalf("%d of %d packets arrived", next, sent)
	}
}

// settleSends runs idle until nothing of A's is in flight.
func (p *pair) settleSends(idle func()) {
	for range turns {
		idle()
		if p.a.counts().InFlight == 0 {
			return
		}
		p.a.flush()
		p.a.wait(p.a.clock().Add(oneTry / 100))
	}
	p.Fatalf("flights do not end: %+v", p.a.counts())
}

func testECN(p *pair) {
	if !p.a.caps.ECN || !p.b.caps.ECN {
		p.Skip("the Link's Caps say that it does not carry ECN")
	}
	for _, way := range [][2]*side{{p.a, p.b}, {p.b, p.a}} {
		from, to := way[0], way[1]
		for _, ecn := range []uint8{0, 1, 2, 3, 0} {
			data := pattern(uint64(ecn), 16)
			f := from.alloc(data)
			f.ECN = ecn
			for try := 0; ; try++ {
				from.send([]transport.Frame{f}, nil)
				if to.until(to.clock().Add(oneTry), func(f *transport.Frame) bool {
					if f.ECN != uint8(to.keyOf(f.Data)) {
						p.Fatalf("sent ECN %d, received %d", to.keyOf(f.Data), f.ECN)
					}
					return f.ECN == ecn
				}) {
					break
				}
				if try == tries {
					p.Fatalf("no packet with ECN %d arrived", ecn)
				}
				from.reap()
				f = from.alloc(data)
				f.ECN = ecn
			}
			from.reap()
		}
	}
}

// Any bytes at all do no harm, and what comes after them arrives.
func testGarbage(p *pair) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 500 {
		size := 1 + rng.IntN(p.b.caps.FrameBytes*2)
		junk := make([]byte, size)
		for i := range junk {
			junk[i] = byte(rng.Uint32())
		}
		if p.Inject != nil {
			p.Inject(junk)
		}
		p.a.send([]transport.Frame{p.a.alloc(junk[:min(size, 1+size%int(p.a.path.MTU))])}, func() { p.b.Free(p.b.receive()) })
		p.a.reap()
		if i%8 == 0 {
			p.b.Free(p.b.receive())
		}
	}
	events := make([]transport.Event, 8)
	for range turns {
		if p.b.Events(events) == 0 {
			break
		}
	}
	good := pattern(42, 48)
	p.a.deliver(p.b, good, func(f *transport.Frame) bool { return bytes.Equal(f.Data, good) })
}
