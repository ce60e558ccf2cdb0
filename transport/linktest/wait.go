package linktest

import (
	"bytes"
	"sync/atomic"

	"github.com/fastrpc/fastrpc/transport"
)

// parks bounds how often Wait may return early within one test: a Wait that does not park at all is a busy loop.
const parks = 1000

// Wait without a limit returns when a packet can be received, whether it came before or after.
func testWaitPacket(p *pair) {
	data := pattern(5, 32)
	p.a.deliver(p.b, data, func(f *transport.Frame) bool { return bytes.Equal(f.Data, data) })
	p.b.until(p.b.clock().Add(oneTry), func(*transport.Frame) bool { return false }) // what else is under way

	if p.Clock == nil { // first the Wait, then the packet
		got := make(chan struct{})
		go func() {
			defer close(got)
			for range parks {
				if err := p.B.Wait(0); err != nil {
					p.Errorf("Wait: %v", err)
					return
				}
				n, err := p.B.Recv(p.b.in)
				if err != nil {
					p.Errorf("Recv: %v", err)
					return
				}
				p.B.Free(p.b.in[:n])
				if n > 0 {
					return
				}
			}
			p.Errorf("Wait returned %d times without a packet", parks)
		}()
		for range tries {
			p.a.send([]transport.Frame{p.a.alloc(data)}, nil)
			p.a.wait(p.a.clock().Add(oneTry / 20)) // a pause: nothing comes here
			p.a.reap()
			select {
			case <-got:
			default:
				continue
			}
			break
		}
		p.await("Wait, with packets coming in,", got)
	}

	for range tries { // first the packet, then the Wait
		p.a.send([]transport.Frame{p.a.alloc(data)}, nil)
		if p.a.reap(); p.a.caps.Reliable {
			p.returns("Wait with a packet there", func() { p.b.wait(0) })
		} else {
			p.b.wait(p.b.clock().Add(oneTry))
		}
		if fs := p.b.receive(); len(fs) > 0 {
			p.b.Free(fs)
			return
		}
	}
	p.Error("no packet came")
}

// Wait returns at its time, and at once when that is over.
func testWaitUntil(p *pair) {
	until := p.b.clock().Add(oneTry / 5)
	n := 0
	p.returns("Wait with a limit", func() {
		for ; p.b.clock() < until && n < parks; n++ {
			p.b.wait(until)
		}
	})
	if n == parks {
		p.Errorf("Wait returned %d times before its time", n)
	}
	p.returns("Wait until a time that is over", func() {
		p.b.wait(p.b.clock() - 1)
		p.b.wait(1)
	})
}

// Wake ends a Wait in progress, or else the next one, from any goroutine.
func testWake(p *pair) {
	p.b.Wake()
	p.returns("Wait after Wake", func() { p.b.wait(0) })
	p.b.Wake()
	p.b.Wake()
	p.returns("Wait after two Wakes", func() { p.b.wait(0) })

	// Each round waits for a Wake that another goroutine gives at some moment before or during the Wait; each must be enough.
	const rounds = 2000
	var round atomic.Int64
	rung := make(chan int64, 1)
	go func() {
		for n := range rung {
			round.Store(n)
			p.B.Wake()
		}
	}()
	p.returns("Wait, being woken by another goroutine,", func() {
		defer close(rung)
		for n := int64(1); n <= rounds; n++ {
			rung <- n
			for early := 0; round.Load() < n; early++ {
				if p.Clock != nil {
					p.b.wait(p.b.clock() + 1) // virtual time does not wait for goroutines
				} else if p.b.wait(0); early > parks {
					p.Errorf("Wait returned %d times without a Wake", early)
					return
				}
			}
			if p.Clock == nil && n%2 == 0 {
				// The Wake for n may still be on its way and then end a later Wait early; it must not be needed there.
				p.b.wait(p.b.clock() - 1)
			}
		}
	})
}

// While one goroutine waits, another uses the Link. The race detector judges.
func testWaitShared(p *pair) {
	var over atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !over.Load() {
			if err := p.B.Wait(0); err != nil {
				p.Errorf("Wait: %v", err)
				return
			}
		}
	}()
	data := pattern(3, 100)
	for range 200 {
		p.a.deliver(p.b, data, func(f *transport.Frame) bool { return true })
		p.b.send([]transport.Frame{p.b.alloc(data)}, nil)
		p.b.reap()
		p.a.Free(p.a.receive())
	}
	over.Store(true)
	p.B.Wake()
	p.await("Wait, woken when the test was over,", done)
}

// Each end in a goroutine of its own: B echoes, A asks again until it has the answer.
func testTwoGoroutines(p *pair) {
	var over atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !over.Load() {
			p.b.reap()
			fs := p.b.receive()
			for i := range fs {
				f := p.b.alloc(fs[i].Data)
				f.Path = fs[i].Path
				p.b.send([]transport.Frame{f}, nil)
			}
			p.b.Free(fs)
			if len(fs) == 0 {
				p.b.wait(0)
			}
		}
	}()
	for key := range uint64(3000) {
		data := pattern(key, 8+int(key)%(int(min(p.a.path.MTU, p.b.path.MTU))-7))
		answered := false
		for try := 0; !answered && try < tries; try++ {
			p.a.send([]transport.Frame{p.a.alloc(data)}, nil)
			answered = p.a.until(p.a.clock().Add(oneTry), func(f *transport.Frame) bool { return p.a.keyOf(f.Data) == key })
			p.a.reap()
		}
		if !answered {
			p.Errorf("packet %d was not answered", key)
			break
		}
	}
	over.Store(true)
	p.B.Wake()
	p.await("the echo, woken when the test was over,", done)
}

// A closed Link says so, whatever is asked of it; the other one works on.
func testClose(p *pair) {
	f := p.a.alloc(pattern(1, 16))
	p.a.Free([]transport.Frame{f})
	if err := p.a.Close(); err != nil {
		p.Fatalf("Close: %v", err)
	}
	p.a.closed = true
	fs := make([]transport.Frame, 4)
	if n, err := p.A.Recv(fs); n != 0 || !closedErr(err) {
		p.Errorf("Recv after Close = %d, %v; want ErrClosed", n, err)
	}
	if n, err := p.A.Send([]transport.Frame{f}); n != 0 || !closedErr(err) {
		p.Errorf("Send after Close = %d, %v; want ErrClosed", n, err)
	}
	if p.A.Alloc(&f) {
		p.Errorf("Alloc after Close gave frame %d", f.ID)
	}
	p.A.Wake()
	p.A.Wake()
	p.b.send([]transport.Frame{p.b.alloc(pattern(2, 16))}, nil)
	p.b.reap()
	p.b.Free(p.b.receive())
	p.b.Wake()
	p.returns("Wait of the other end", func() { p.b.wait(p.b.clock().Add(oneTry)) })
}
