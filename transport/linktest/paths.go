package linktest

import (
	"bytes"
	"context"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// What is sent to a received frame's Path reaches the sender.
func testReply(p *pair) {
	ask, answer := pattern(1, 40), pattern(2, 40)
	var back transport.Path
	p.a.deliver(p.b, ask, func(f *transport.Frame) bool {
		back = f.Path
		return bytes.Equal(f.Data, ask)
	})
	p.checkPath("B", &back, p.b.caps)
	if back.Remote() != p.AddrA || back.Local() != p.AddrB {
		p.Errorf("received from %v at %v, want from %v at %v", back.Remote(), back.Local(), p.AddrA, p.AddrB)
	}
	own := p.b.path
	p.b.path = back
	defer func() { p.b.path = own }()
	p.b.deliver(p.a, answer, func(f *transport.Frame) bool {
		p.checkPath("A", &f.Path, p.a.caps)
		if f.Path.Remote() != p.AddrB || f.Path.Local() != p.AddrA {
			p.Errorf("the answer came from %v at %v, want from %v at %v", f.Path.Remote(), f.Path.Local(), p.AddrB, p.AddrA)
		}
		return bytes.Equal(f.Data, answer)
	})
}

func (p *pair) checkPath(at string, path *transport.Path, c transport.Caps) {
	if path.MTU == 0 || int(path.MTU) > c.FrameBytes {
		p.Errorf("a packet at %s has Path.MTU %d, frames hold %d", at, path.MTU, c.FrameBytes)
	}
}

// The packets of one peer have one Path.
func testStablePath(p *pair) {
	seen := map[transport.Path]int{}
	for key := range uint64(20) {
		p.a.deliver(p.b, pattern(key, 8+int(key)), func(f *transport.Frame) bool {
			seen[f.Path]++
			return p.b.keyOf(f.Data) == key
		})
	}
	if len(seen) != 1 {
		p.Errorf("the packets of one peer came with %d different Paths: %v", len(seen), seen)
	}
}

func testResolve(p *pair) {
	for _, s := range []*side{p.a, p.b} {
		p.checkPath(s.caps.Name, &s.path, s.caps)
	}
	if p.a.path.Remote() != p.AddrB || p.a.path.Local() != p.AddrA {
		p.Errorf("Resolve(%v, %v) leads from %v to %v", p.AddrA, p.AddrB, p.a.path.Local(), p.a.path.Remote())
	}
	again, err := p.A.Resolve(p.Context(), p.AddrA, p.AddrB)
	if err != nil || again != p.a.path {
		p.Errorf("Resolve gave %+v, then %+v, %v", p.a.path, again, err)
	}
	if !p.Unreachable.IsValid() {
		return
	}
	ctx, cancel := context.WithTimeout(p.Context(), 300*time.Millisecond)
	defer cancel()
	p.returns("Resolve of an unreachable address", func() {
		if path, err := p.A.Resolve(ctx, p.AddrA, p.Unreachable); err == nil {
			p.Errorf("Resolve(%v) = %+v, want an error", p.Unreachable, path)
		}
	})
}

// A frame beyond its Path's MTU is refused and stays the caller's; those before it are sent, those behind it not looked at.
func testOversize(p *pair) {
	s := p.a
	narrow := s.path
	narrow.MTU = 64
	paths := []transport.Path{narrow}
	if int(s.path.MTU) < s.caps.FrameBytes {
		paths = append(paths, s.path)
	}
	for _, path := range paths {
		fs := []transport.Frame{s.alloc(pattern(1, 16)), s.alloc(nil), s.alloc(pattern(3, 16))}
		fs[1].Data, fs[1].Path = fs[1].Data[:int(path.MTU)+1], path
		before := s.counts()
		n, err := s.Send(fs)
		if n != 1 || err == nil {
			p.Fatalf("Send of a good frame, one of %d bytes on a path of %d, and a good one = %d, %v; want 1 and an error",
				len(fs[1].Data), path.MTU, n, err)
		}
		if after := s.counts(); after.InFlight != before.InFlight+1 || after.Borrowed != before.Borrowed-1 {
			p.Errorf("Counts %+v before and %+v after a refused frame", before, after)
		}
		s.flush()
		fs[1].Data = fs[1].Data[:path.MTU]
		s.send(fs[1:], nil)
		p.settle()
	}
}
