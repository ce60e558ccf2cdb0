//go:build linux

package afxdp_test

import (
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

// looper is one side of a ping-pong; its buffers are made once, as in a real data path.
type looper struct {
	_ [128]byte // both sides are written all the time, by two CPUs
	*port
	descs [16]unix.XDPDesc
	addrs [16]uint64
	_     [128]byte
}

// echo sends back what has come, in the same chunks, and returns how many packets that were.
func (l *looper) echo() (int, error) {
	l.reap()
	n := l.Receive(l.descs[:])
	if n == 0 {
		return 0, nil
	}
	if l.Transmit(l.descs[:n]) != n {
		return n, errors.New("TX ring is full")
	}
	return n, l.Kick()
}

// reap puts chunks whose transmission is over back into the fill ring.
func (l *looper) reap() {
	if n := l.Complete(l.addrs[:]); n > 0 {
		l.Fill(l.addrs[:n]) // any address within a chunk names it
	}
}

// ping sends one packet from the chunk at addr.
func (l *looper) ping(addr uint64) error {
	l.descs[0] = unix.XDPDesc{Addr: addr, Len: 64}
	if l.Transmit(l.descs[:1]) != 1 {
		return errors.New("TX ring is full")
	}
	return l.Kick()
}

// pong takes an answer, if one is there, and gives its chunk back to the fill ring.
func (l *looper) pong() bool {
	if l.Receive(l.descs[:1]) == 0 {
		return false
	}
	l.addrs[0] = l.descs[0].Addr
	l.Fill(l.addrs[:1])
	return true
}

func newLoopers(t testing.TB) (client, server *looper, ping uint64) {
	a, b := newPair(t, 1)
	client, server = &looper{port: a.newPort(t, nil)}, &looper{port: b.newPort(t, nil)}
	ping, _ = client.frames.Alloc()
	writePacket(client.umem.Chunk(ping)[:64], 1)
	return client, server, ping
}

func TestPacketPathDoesNotAllocate(t *testing.T) {
	client, server, ping := newLoopers(t)
	round := func() {
		for tries := 0; client.Complete(client.addrs[:1]) == 0; tries++ { // the chunk is sent over and over
			if tries > 1e8 {
				t.Fatal("the packet is not completed")
			}
		}
		must(t, client.ping(ping))
		for tries := 0; !client.pong(); tries++ {
			if _, err := server.echo(); err != nil || tries > 1e8 {
				t.Fatalf("echo: %v after %d tries", err, tries)
			}
		}
		must(t, client.WakeFill())
	}
	must(t, client.ping(ping))
	for !client.pong() {
		_, err := server.echo()
		must(t, err)
	}
	if n := testing.AllocsPerRun(2000, round); n != 0 {
		t.Errorf("%v allocations a round trip", n)
	}
}

// TestRetryDoesNotAllocate: also what goes wrong on the packet's way must leave the heap alone.
func TestRetryDoesNotAllocate(t *testing.T) {
	a, _ := newPair(t, 1)
	p := a.newPort(t, nil)
	l, err := a.links.LinkByIndex(a.ifindex)
	must(t, err)
	must(t, a.links.LinkSetDown(l))
	p.put(t, 1, minPacket)
	n := testing.AllocsPerRun(100, func() {
		if !errors.Is(p.Kick(), afxdp.ErrRetry) {
			t.Fatal("Kick succeeded on an interface that is down")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations a refused Kick", n)
	}
}

// BenchmarkPingPong is the floor that everything above this package stands on: 64 bytes there and back between two namespaces, with a
// thread and, if there are two, a CPU for each side.
func BenchmarkPingPong(b *testing.B) {
	client, server, ping := newLoopers(b)
	var stop atomic.Bool
	done := make(chan error)
	go func() {
		pin(1)
		for !stop.Load() {
			if _, err := server.echo(); err != nil && !errors.Is(err, afxdp.ErrRetry) {
				done <- err
				return
			}
		}
		done <- nil
	}()
	times := make(chan []time.Duration)
	go func() {
		pin(0)
		samples := make([]time.Duration, 0, b.N)
		b.ResetTimer()
		last := time.Now()
		for range b.N {
			if err := client.ping(ping); err != nil {
				b.Error(err)
				break
			}
			if !spin(client.pong) || !spin(func() bool { return client.Complete(client.addrs[:1]) == 1 }) {
				b.Error("a packet was lost")
				break
			}
			now := time.Now()
			samples = append(samples, now.Sub(last))
			last = now
		}
		b.StopTimer()
		times <- samples
	}()
	samples := <-times
	stop.Store(true)
	must(b, <-done)
	if b.Failed() {
		return
	}
	slices.Sort(samples)
	for _, q := range []struct {
		name string
		part float64
	}{{"p50-ns", 0.5}, {"p99-ns", 0.99}} {
		b.ReportMetric(float64(samples[int(float64(len(samples)-1)*q.part)]), q.name)
	}
}

// spin calls f until it is true; false if that takes longer than anything that works.
func spin(f func() bool) bool {
	for range int(1e10) {
		if f() {
			return true
		}
	}
	return false
}

// pin ties the goroutine to a thread and that to a CPU, if there is such a CPU. The thread ends with the goroutine.
func pin(cpu int) {
	runtime.LockOSThread()
	if cpu < runtime.NumCPU() {
		var set unix.CPUSet
		set.Set(cpu)
		_ = unix.SchedSetaffinity(0, &set)
	}
}
