//go:build linux

package afxdp_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

func TestQueueTaken(t *testing.T) {
	a, _ := newPair(t, 1)
	a.newPort(t, nil)
	u := newUmem(t, 64)
	c := a.config(0, newFrames(t, u, 0, 64))
	_, err := a.open(t, u, c)
	if !errors.Is(err, afxdp.ErrQueueBusy) || !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "queue 0 of xa is bound by another socket") {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsNotThere(t *testing.T) {
	a, _ := newPair(t, 2)
	u := newUmem(t, 64)
	for _, c := range []struct {
		edit func(*afxdp.SocketConfig)
		want error
		text string
	}{
		{func(c *afxdp.SocketConfig) { c.Queue = 2 }, afxdp.ErrNoQueue, "queue 2 of xa is out of range"},
		{func(c *afxdp.SocketConfig) { c.Queue = 70000 }, afxdp.ErrNoQueue, "queue 70000 of xa"},
		{func(c *afxdp.SocketConfig) { c.Ifindex = 99999 }, afxdp.ErrNoDevice, "interface 99999"},
	} {
		config := a.config(0, newFrames(t, u, 0, 64))
		c.edit(&config)
		if _, err := a.open(t, u, config); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("got %v, want one that is %v and says %q", err, c.want, c.text)
		}
	}
	first, err := a.open(t, u, a.config(0, newFrames(t, u, 0, 32)))
	must(t, err)
	defer first.Close()
	c := a.config(2, newFrames(t, u, 32, 32))
	c.Shared = first
	if _, err := a.open(t, u, c); !errors.Is(err, afxdp.ErrNoQueue) {
		t.Errorf("shared UMEM, queue 2 of 2: got %v, want ErrNoQueue", err)
	}
}

func TestInterfaceDownAndUp(t *testing.T) {
	a, b := newPair(t, 1)
	pa, pb := a.newPort(t, nil), b.newPort(t, nil)
	l, err := a.links.LinkByIndex(a.ifindex)
	must(t, err)
	must(t, a.links.LinkSetDown(l))
	pa.put(t, 1, minPacket)
	for range 3 {
		if err := pa.Kick(); !errors.Is(err, afxdp.ErrRetry) || !errors.Is(err, unix.ENETDOWN) {
			t.Fatalf("Kick while the interface is down: got %v, want ErrRetry and ENETDOWN", err)
		}
	}
	must(t, a.links.LinkSetUp(l))
	pa.kickAll(t)
	if got := pb.receive(t, 1); got[0] != 1 {
		t.Errorf("got packet %d, want the one that waited", got[0])
	}
}

// TestPeerDown: without a carrier the kernel consumes and drops (EBUSY); the packet completes, nothing hangs or panics.
func TestPeerDown(t *testing.T) {
	a, b := newPair(t, 1)
	pa, pb := a.newPort(t, nil), b.newPort(t, nil)
	l, err := b.links.LinkByIndex(b.ifindex)
	must(t, err)
	must(t, b.links.LinkSetDown(l))
	for i := range 3 {
		pa.put(t, uint64(i), minPacket)
	}
	for range 4 {
		if err := pa.Kick(); err != nil && !errors.Is(err, afxdp.ErrRetry) {
			t.Fatalf("Kick without a carrier: %v", err)
		}
	}
	pa.awaitComplete(t, 3)
	must(t, b.links.LinkSetUp(l))
	pa.put(t, 9, minPacket)
	pa.kickAll(t)
	if got := pb.receive(t, 1); got[0] != 9 {
		t.Errorf("got packet %d, want 9", got[0])
	}
}

func TestInterfaceDeleted(t *testing.T) {
	a, b := newPair(t, 1)
	pa, pb := a.newPort(t, nil), b.newPort(t, nil)
	pa.put(t, 1, minPacket)
	pa.kickAll(t)
	l, err := a.links.LinkByIndex(a.ifindex)
	must(t, err)
	must(t, a.links.LinkDel(l))
	for _, p := range []*port{pa, pb} { // the peer's end goes with it
		p.put(t, 2, minPacket)
		if err := p.Kick(); !errors.Is(err, afxdp.ErrDeviceGone) || !errors.Is(err, unix.ENXIO) {
			t.Errorf("Kick on a deleted interface: got %v, want ErrDeviceGone", err)
		}
		p.complete()
		p.Receive(make([]unix.XDPDesc, 4))
		must(t, p.Close())
	}
}

// TestCompletionRingFull: packets wait in the TX ring until completions are taken, and Kick says so without looping.
func TestCompletionRingFull(t *testing.T) {
	a, b := newPair(t, 1)
	pa := a.newPort(t, func(c *afxdp.SocketConfig) { c.CompletionEntries = 16 })
	pb := b.newPort(t, nil)
	const packets = 50
	for i := range packets {
		pa.put(t, uint64(i), minPacket)
	}
	if err := pa.Kick(); !errors.Is(err, afxdp.ErrRetry) {
		t.Fatalf("Kick with a full completion ring: got %v, want ErrRetry", err)
	}
	pa.kickAll(t)
	for i, number := range pb.receive(t, packets) {
		if number != uint64(i) {
			t.Errorf("packet %d has number %d", i, number)
		}
	}
}

func TestAfterClose(t *testing.T) {
	a, _ := newPair(t, 1)
	u := newUmem(t, 64)
	s, err := a.open(t, u, a.config(0, newFrames(t, u, 0, 64)))
	must(t, err)
	if u.Close() == nil {
		t.Error("the UMEM was closed under an open socket")
	}
	must(t, s.Close())
	must(t, s.Close())
	var d [1]unix.XDPDesc
	var addrs [1]uint64
	if n := s.Fill(addrs[:]) + s.Receive(d[:]) + s.Transmit(d[:]) + s.Complete(addrs[:]); n != 0 {
		t.Errorf("a closed socket moved %d entries", n)
	}
	_, statsErr := s.Stats()
	for _, err := range []error{s.Kick(), s.WakeFill(), statsErr} {
		if !errors.Is(err, afxdp.ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	}
	c := a.config(0, newFrames(t, u, 0, 64))
	c.Shared = s
	if _, err := a.open(t, u, c); !errors.Is(err, afxdp.ErrClosed) {
		t.Errorf("sharing with a closed socket: got %v, want ErrClosed", err)
	}
	if s.FD() != -1 {
		t.Errorf("FD is %d after Close", s.FD())
	}
}

// TestNothingLeaks opens and closes, and fails to open, many times, and counts descriptors and mappings.
func TestNothingLeaks(t *testing.T) {
	a, _ := newPair(t, 2)
	cycle := func() {
		u, err := afxdp.NewUmem(afxdp.UmemConfig{Chunks: 64, ChunkBytes: chunkBytes})
		must(t, err)
		first, err := a.open(t, u, a.config(0, newFrames(t, u, 0, 32)))
		must(t, err)
		c := a.config(1, newFrames(t, u, 32, 32))
		c.Shared = first
		second, err := a.open(t, u, c)
		must(t, err)
		for _, edit := range []func(*afxdp.SocketConfig){
			func(c *afxdp.SocketConfig) { c.Queue = 9 },
			func(c *afxdp.SocketConfig) { c.Ifindex = 99999 },
			func(c *afxdp.SocketConfig) { c.TxEntries = 1 << 31 }, // more than the kernel can map
		} {
			c := a.config(0, newFrames(t, u, 0, 32))
			edit(&c)
			if s, err := a.open(t, u, c); err == nil {
				s.Close()
				t.Fatal("a socket that must fail was opened")
			}
		}
		must(t, first.Close())
		must(t, second.Close())
		must(t, u.Close())
	}
	cycle() // what the first use of anything leaves is not a leak
	before := takeInventory(t)
	for range 10 {
		cycle()
	}
	if diff := before.compare(takeInventory(t)); diff != "" {
		t.Error(diff)
	}
}

// TestMissingPrivilege opens sockets in a thread that has given up a capability.
func TestMissingPrivilege(t *testing.T) {
	needRoot(t)
	u := newUmem(t, 1024)
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit))
	for _, c := range []struct {
		capability uint
		want       error
		text       string
	}{
		{unix.CAP_NET_RAW, afxdp.ErrPermission, "CAP_NET_RAW"},
		{unix.CAP_IPC_LOCK, afxdp.ErrMemoryLock, "RLIMIT_MEMLOCK"},
	} {
		t.Run(c.text, func(t *testing.T) {
			must(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 64 << 10, Max: limit.Max}))
			defer unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit)
			result := make(chan error)
			go func() {
				runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
				if err := dropCapability(c.capability); err != nil {
					result <- fmt.Errorf("dropping the capability: %w", err)
					return
				}
				s, err := afxdp.Open(u, afxdp.SocketConfig{Ifindex: 1, RxEntries: 64, TxEntries: 64})
				if err == nil {
					s.Close()
				}
				result <- err
			}()
			if err := <-result; !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want one that is %v and names %s", err, c.want, c.text)
			}
		})
	}
}

// dropCapability takes an effective capability from the calling thread.
func dropCapability(capability uint) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return err
	}
	data[capability/32].Effective &^= 1 << (capability % 32)
	return unix.Capset(&hdr, &data[0])
}
