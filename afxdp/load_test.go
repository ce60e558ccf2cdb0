//go:build linux

package afxdp_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

// load floods a packet a turn in each direction, as long as the frames last, and takes what comes.
type load struct {
	p        *port
	received atomic.Uint64
	refused  atomic.Uint64 // kicks and wake-ups that were told to try again
	number   uint64
	sent     int
}

// turn does one round; it returns an error only for what is none of ErrRetry.
func (l *load) turn() error {
	var ds [16]unix.XDPDesc
	var addrs [16]uint64
	n := l.p.Complete(addrs[:])
	l.p.frames.FreeBurst(addrs[:n])
	l.sent -= n
	for range 8 {
		addr, ok := l.p.frames.Alloc()
		if !ok {
			break
		}
		d := unix.XDPDesc{Addr: addr, Len: minPacket}
		writePacket(l.p.umem.Data(d), l.number)
		if l.p.Transmit([]unix.XDPDesc{d}) == 0 {
			l.p.frames.Free(addr)
			break
		}
		l.number++
		l.sent++
	}
	got := l.p.Receive(ds[:])
	for i, d := range ds[:got] {
		if _, err := checkPacket(l.p.umem.Data(d)); err != nil {
			return err
		}
		addrs[i] = l.p.umem.Base(d.Addr)
	}
	if l.p.Fill(addrs[:got]) != got {
		return errors.New("the fill ring has no room for the chunks that came out of it")
	}
	l.received.Add(uint64(got))
	for _, err := range []error{l.p.Kick(), l.p.WakeFill()} {
		if errors.Is(err, afxdp.ErrRetry) {
			l.refused.Add(1)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// run turns until stop is set or something final happens, which it returns.
func (l *load) run(stop *atomic.Bool) error {
	for !stop.Load() {
		if err := l.turn(); err != nil {
			return err
		}
		runtime.Gosched()
	}
	return nil
}

// startLoad floods between two ports until stop is set, or the test is over.
func startLoad(t *testing.T, pa, pb *port) (loads [2]*load, stop *atomic.Bool, ended chan error) {
	stop, ended = new(atomic.Bool), make(chan error, 2)
	var running sync.WaitGroup
	for i, p := range []*port{pa, pb} {
		loads[i] = &load{p: p}
		running.Go(func() { ended <- loads[i].run(stop) })
	}
	t.Cleanup(func() { // before the ports close
		stop.Store(true)
		running.Wait()
	})
	return loads, stop, ended
}

// awaitMore waits until both sides have received n packets more.
func awaitMore(t *testing.T, loads [2]*load, n uint64, ended <-chan error) {
	t.Helper()
	for i, l := range loads {
		from := l.received.Load()
		for deadline := time.Now().Add(patience); l.received.Load() < from+n; {
			select {
			case err := <-ended:
				t.Fatalf("a side no longer floods: %v", err)
			case <-time.After(time.Millisecond):
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d packets came to side %d, want %d more", l.received.Load()-from, i, n)
			}
		}
	}
}

// TestDownAndUpUnderLoad takes one end's interface down and up again while both flood: nothing fails but for the time being, packets flow again
// each time, and at the end every chunk is accounted for.
func TestDownAndUpUnderLoad(t *testing.T) {
	a, b := newPair(t, 1)
	pa, pb := a.newPort(t, nil), b.newPort(t, nil)
	loads, stop, ended := startLoad(t, pa, pb)
	awaitMore(t, loads, 100, ended)
	for round := range 6 {
		h := []*host{a, b}[round%2]
		l, err := h.links.LinkByIndex(h.ifindex)
		must(t, err)
		must(t, h.links.LinkSetDown(l))
		refused := loads[round%2].refused.Load()
		for deadline := time.Now().Add(patience); loads[round%2].refused.Load() == refused; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("no Kick was refused while the interface is down")
			}
		}
		must(t, h.links.LinkSetUp(l))
		awaitMore(t, loads, 100, ended)
	}
	stop.Store(true)
	must(t, errors.Join(<-ended, <-ended))
	for _, l := range loads {
		l.p.kickAll(t)
		l.p.awaitComplete(t, l.sent)
		if free, want := l.p.frames.Available(), l.p.frames.Size()/2; free != want { // the other half is in the fill ring, or received
			t.Errorf("%d chunks are free at the end, want %d", free, want)
		}
	}
}

// TestDeletedUnderLoad deletes the interface while both ends flood: each gets ErrDeviceGone, nothing hangs, and the sockets close.
func TestDeletedUnderLoad(t *testing.T) {
	a, b := newPair(t, 1)
	pa, pb := a.newPort(t, nil), b.newPort(t, nil)
	loads, _, ended := startLoad(t, pa, pb)
	awaitMore(t, loads, 100, ended)
	l, err := a.links.LinkByIndex(a.ifindex)
	must(t, err)
	must(t, a.links.LinkDel(l))
	for range loads {
		select {
		case err := <-ended:
			if !errors.Is(err, afxdp.ErrDeviceGone) {
				t.Errorf("got %v, want ErrDeviceGone", err)
			}
		case <-time.After(patience):
			t.Fatal("a side still runs on a deleted interface")
		}
	}
	for _, p := range []*port{pa, pb} {
		must(t, p.Close())
		must(t, p.umem.Close())
	}
}

const childVariable = "AFXDP_TEST_CHILD"

// runChild opens a socket on queue 0 of the interface whose index it is told, in the namespace it was started in, and floods until it is killed.
func runChild(ifindex string) int {
	err := func() error {
		index, err := strconv.Atoi(ifindex)
		if err != nil {
			return err
		}
		u, err := afxdp.NewUmem(afxdp.UmemConfig{Chunks: 1024, ChunkBytes: chunkBytes})
		if err != nil {
			return err
		}
		f, err := afxdp.NewFrameStack(u, 0, 1024)
		if err != nil {
			return err
		}
		s, err := afxdp.Open(u, (&host{ifindex: index}).config(0, f))
		if err != nil {
			return err
		}
		fmt.Println("open")
		return (&load{p: &port{Socket: s, umem: u, frames: f}}).run(new(atomic.Bool))
	}()
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// TestKill kills a process that floods, with a signal that it cannot handle, and takes its queue over at once.
func TestKill(t *testing.T) {
	a, b := newPair(t, 1)
	pb := b.newPort(t, nil)
	for round := range 3 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childVariable+"="+strconv.Itoa(a.ifindex))
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		must(t, err)
		a.do(t, func() { must(t, child.Start()) })
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil || line != "open\n" {
			t.Fatalf("the child says %q, %v", line, err)
		}
		for _, d := range pb.collect(t, 50) {
			pb.refill(t, d.Addr)
		}
		must(t, child.Process.Kill())
		_ = child.Wait() // "signal: killed"

		pa := a.newPort(t, nil)
		const ours = 1 << 40 // a number that the child did not reach
		pa.put(t, ours+uint64(round), minPacket)
		pa.kickAll(t)
		for deadline := time.Now().Add(patience); ; {
			d := pb.collect(t, 1)[0]
			number, err := checkPacket(pb.umem.Data(d))
			must(t, err)
			pb.refill(t, d.Addr)
			if number == ours+uint64(round) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the new owner's packet did not come")
			}
		}
		must(t, pa.Close())
	}
}
