//go:build rdma

package rdma

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
	"github.com/fastrpc/fastrpc/transport"
)

// noise is n bytes that are the same for the same seed.
func noise(n int, seed uint64) []byte {
	b := make([]byte, n+8)
	for i, r := 0, rand.NewPCG(seed, 1); i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b[:n]
}

// echo serves "echo" and dials it, with settings of the addresses; ended returns the counts of both Links, after their end.
func echo(t testing.TB, serve, dial string) (c *fastrpc.Client, ended func() (client, server RCStats)) {
	t.Helper()
	recorded.ports = nil
	srv := fastrpc.NewServer(fastrpc.WithInsecure())
	srv.HandleInline("echo", func(w *fastrpc.Response, r *fastrpc.Request) error {
		_, err := w.Write(r.Body())
		return err
	})
	addr, err := srv.Listen(t.Context(), "recorded://"+rxetest.Addr+":0"+serve)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = fastrpc.Dial(t.Context(), "recorded://"+addr.String()+dial, fastrpc.WithInsecure()); err != nil {
		t.Fatal(err)
	}
	links := [2]*RC{recorded.ports[1].link.(*RC), recorded.ports[0].link.(*RC)}
	end := sync.OnceFunc(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	return c, func() (client, server RCStats) {
		end()
		for _, l := range links {
			for id, p := 0, l.pool.Load(); p != nil && id < windows; id++ {
				if w := &p.windows[id]; w.state != windowFree && !w.given {
					t.Errorf("window %d is somebody's still", id)
				}
			}
		}
		return links[0].Stats(), links[1].Stats()
	}
}

// Long messages are read out of their sender's memory, both ways, and arrive as they were sent; short ones never are.
func TestRendezvous(t *testing.T) {
	const least = defaultFetch
	c, ended := echo(t, "?qp=rc", "?qp=rc")
	m := c.Method("echo")
	call := func(n int, seed uint64) {
		t.Helper()
		body := noise(n, seed)
		reply, err := m.Call(t.Context(), body, fastrpc.Timeout(time.Minute))
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if !bytes.Equal(reply.Body(), body) {
			t.Fatalf("%d bytes came back as %d others", n, len(reply.Body()))
		}
		reply.Release()
	}
	for i, n := range []int{0, 64, 8000, 9000, least - 1, least, least + 1, 2 * least, 1<<20 + 1, 5_000_001, 16 << 20} {
		call(n, uint64(2*i))
		if n < 1<<20 {
			call(n, uint64(2*i+1)) // the first long ones go before there is memory to read into
		}
	}
	var callers sync.WaitGroup
	for i := range 4 {
		callers.Go(func() {
			for j := range 4 {
				call(least<<j-j, uint64(1000+10*i+j))
			}
		})
	}
	callers.Wait()
	client, server := ended()
	if client.Reads == 0 || server.Reads == 0 || client.Ended+server.Ended > 1 || client.Unpooled != nil || server.Unpooled != nil {
		t.Errorf("the client: %+v\nthe server: %+v", client, server)
	}
}

// Nothing is read where that is switched off at either end.
func TestRendezvousOff(t *testing.T) {
	const on, off = "?qp=rc", "?qp=rc&rendezvous=0"
	for _, x := range [][2]string{{off, off}, {on, off}, {off, on}} {
		c, ended := echo(t, x[0], x[1])
		for range 5 {
			body := noise(300_000, 1)
			reply, err := c.Method("echo").Call(t.Context(), body, fastrpc.Timeout(time.Minute))
			if err != nil || !bytes.Equal(reply.Body(), body) {
				t.Fatal(err)
			}
			reply.Release()
		}
		if client, server := ended(); client.Reads+server.Reads != 0 {
			t.Errorf("%d and %d reads", client.Reads, server.Reads)
		}
	}
}

// Queue pairs that break while long messages are read, on either side, end no call and change no byte.
func TestRendezvousBroken(t *testing.T) {
	c, ended := echo(t, "?qp=rc", "?qp=rc")
	ports := [2]*port{recorded.ports[0], recorded.ports[1]}
	var callers sync.WaitGroup
	over, good := make(chan struct{}), make(chan int, 1000)
	for i := range 3 {
		callers.Go(func() {
			m := c.Method("echo")
			for j := 0; ; j++ {
				select {
				case <-over:
					return
				default:
				}
				body := noise(100_000+j%5*400_000, uint64(i<<20+j))
				reply, err := m.Call(t.Context(), body, fastrpc.Timeout(time.Minute))
				if err != nil {
					t.Errorf("%d bytes: %v", len(body), err)
					return
				}
				if !bytes.Equal(reply.Body(), body) {
					t.Errorf("%d bytes came back as others", len(body))
				}
				reply.Release()
				select {
				case good <- 1:
				default:
				}
			}
		})
	}
	for round := range 6 {
		for range 6 {
			<-good
		}
		time.Sleep(time.Duration(round) * time.Millisecond) // somewhere within a message
		if breakAll(t, ports[round%2]) == 0 {
			t.Error("no queue pair to break")
		}
	}
	for range 6 {
		<-good
	}
	close(over)
	callers.Wait()
	client, server := ended()
	if client.Reads+server.Reads == 0 || client.Ended == 0 {
		t.Errorf("the client: %+v\nthe server: %+v", client, server)
	}
}

// fetching is two Links, of which the first has dialled and the second exposes to it.
type fetching struct {
	t    *testing.T
	a, b *RC
	toA  transport.Path // as B received it from A
	ofB  transport.Path // as A received it from B
}

func newFetching(t *testing.T) *fetching {
	b := listen(t, "?qp=rc&frames=128")
	return (&fetching{t: t, b: b.link.(*RC)}).from(dial(t, b, "?qp=rc&frames=128"), b)
}

// from has another Link dial to the second.
func (f *fetching) from(a, b *port) *fetching {
	t := f.t
	g := &fetching{t: t, a: a.link.(*RC), b: f.b}
	to, err := g.a.Resolve(t.Context(), a.Local(), b.Local())
	if err != nil {
		t.Fatal(err)
	}
	g.toA = g.send(g.a, g.b, to)
	g.ofB = g.send(g.b, g.a, g.toA)
	for _, l := range []*RC{g.a, g.b} {
		for l.memory() == nil {
			if err := l.unpooled.Load(); err != nil {
				t.Fatal(*err)
			}
			time.Sleep(time.Millisecond) // its goroutine pins it
		}
	}
	return g
}

// send sends a packet and returns the path that it came by.
func (f *fetching) send(from, to *RC, by transport.Path) (path transport.Path) {
	f.t.Helper()
	var fr transport.Frame
	if !from.Alloc(&fr) {
		f.t.Fatal("no frame")
	}
	fr.Data, fr.Path = fr.Data[:16], by
	if n, err := from.Send([]transport.Frame{fr}); n != 1 || err != nil {
		f.t.Fatal(n, err)
	}
	var got [8]transport.Frame
	f.until("a packet", func() bool {
		_ = from.Flush()
		n, err := to.Recv(got[:])
		if err != nil {
			f.t.Fatal(err)
		}
		if n > 0 {
			path = got[0].Path
			to.Free(got[:n])
		}
		f.take(from)
		return n > 0
	})
	return path
}

// take takes back what a Link has sent.
func (f *fetching) take(l *RC) {
	var done [64]transport.Frame
	l.Free(done[:l.Completed(done[:])])
}

func (f *fetching) until(what string, done func() bool) {
	f.t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			f.t.Fatalf("%s has not come about", what)
		}
	}
}

// read has A read n bytes of what B exposed; it returns them, and why not.
func (f *fetching) read(e transport.Exposed, n int) ([]byte, error) {
	f.t.Helper()
	into := f.a.Memory(n)
	if into == nil {
		f.t.Fatal("no memory")
	}
	defer f.a.FreeMemory(into)
	clear(into)
	f.a.Fetch([]transport.Fetch{{Path: f.ofB, Into: into, Addr: e.Addr, Key: e.Key, Tag: 7}})
	var got [2]transport.Fetch
	f.until("the end of a read", func() bool {
		var fs [8]transport.Frame
		for _, l := range []*RC{f.a, f.b} {
			n, err := l.Recv(fs[:])
			if err != nil {
				f.t.Fatal(err)
			}
			l.Free(fs[:n])
		}
		return f.a.Fetched(got[:]) == 1
	})
	if got[0].Tag != 7 {
		f.t.Errorf("read %d ended", got[0].Tag)
	}
	return bytes.Clone(into), got[0].Err
}

// What is exposed to a peer is read by it alone, as long as it is exposed: by a stale key, or another connection's, nothing is, and the
// connection of whoever tries ends. Nothing is lost of the windows.
func TestExposedToOne(t *testing.T) {
	f := newFetching(t)
	expose := func(f *fetching, seed uint64) transport.Exposed {
		t.Helper()
		e, ok := f.b.Expose(&f.toA, noise(windowBytes, seed))
		if !ok {
			t.Fatal("nothing can be exposed")
		}
		f.send(f.b, f.a, f.toA) // a peer hears of it by a packet, which leaves after the window is bound
		return e
	}
	e := expose(f, 1)
	if got, err := f.read(e, windowBytes); err != nil || !bytes.Equal(got, noise(windowBytes, 1)) {
		t.Fatalf("what was exposed is not what was read: %v", err)
	}
	for i := range 3 * windows { // each window is used again
		f.b.Withdraw(e.ID)
		f.until("a free window", func() bool { return f.b.Exposable(&f.toA) > 0 })
		e = expose(f, uint64(i))
		if got, err := f.read(e, 4096); err != nil || !bytes.Equal(got, noise(windowBytes, uint64(i))[:4096]) {
			t.Fatalf("round %d: what was exposed is not what was read: %v", i, err)
		}
	}

	other := f.from(dial(t, &port{link: f.b}, "?qp=rc&frames=128"), &port{link: f.b})
	if got, err := other.read(e, 4096); !errors.Is(err, unix.ECONNRESET) || !bytes.Equal(got, make([]byte, 4096)) {
		t.Errorf("another connection reads %x..., %v", got[:8], err)
	}
	if got, err := f.read(e, 4096); err != nil || !bytes.Equal(got[:8], noise(8, 3*windows-1)) {
		t.Errorf("the other connection's end is this one's: %v", err)
	}
	f.b.Withdraw(e.ID)
	if got, err := f.read(e, 4096); !errors.Is(err, unix.ECONNRESET) || !bytes.Equal(got, make([]byte, 4096)) {
		t.Errorf("what was withdrawn is read as %x..., %v", got[:8], err)
	}
	if _, err := f.read(e, 4096); !errors.Is(err, unix.ECONNRESET) { // of a connection that is over: nothing is asked of the next
		t.Errorf("after the end of its connection: %v", err)
	}
	f.until("the end of both connections at B", func() bool {
		var fs [8]transport.Frame
		_, _ = f.b.Recv(fs[:])
		return f.b.conns.n == 0 && f.b.pool.Load().free == windows
	})
}

// BenchmarkRendezvous calls with messages of one length both ways, with and without reads; see defaultFetch for a wider range.
func BenchmarkRendezvous(b *testing.B) {
	for _, n := range []int{64 << 10, 256 << 10} {
		body := noise(n, 1)
		for _, settings := range []string{"?qp=rc&rendezvous=0", "?qp=rc&rendezvous=1"} {
			c, ended := echo(b, settings, settings)
			m := c.Method("echo")
			call := func() {
				reply, err := m.Call(b.Context(), body, fastrpc.Timeout(time.Minute))
				if err != nil {
					b.Fatal(err)
				}
				reply.Release()
			}
			for range 10 {
				call()
			}
			b.Run(fmt.Sprintf("bytes=%d/%s", n, settings[7:]), func(b *testing.B) {
				b.SetBytes(int64(2 * n))
				for range b.N {
					call()
				}
			})
			ended()
		}
	}
}
