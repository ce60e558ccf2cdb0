package bench

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
	"github.com/fastrpc/fastrpc/transport"
)

// numbered is a Link that receives frames with the next numbers, and takes back those that are freed.
type numbered struct {
	transport.Link
	next  uint32
	freed []uint32
}

func (l *numbered) Recv(fs []transport.Frame) (int, error) {
	for i := range fs {
		fs[i].ID = l.next
		l.next++
	}
	return len(fs), nil
}

func (l *numbered) Free(fs []transport.Frame) {
	for _, f := range fs {
		l.freed = append(l.freed, f.ID)
	}
}

// Of the packets the share is lost that shall be, the others come in order, and every frame is either handed out or given back.
func TestLossyLink(t *testing.T) {
	const packets, share = 64 * 1000, 0.1
	inner := &numbered{}
	l := &lossyLink{Link: inner, share: share, random: rand.New(rand.NewPCG(1, 2))}
	var fs [64]transport.Frame
	seen := map[uint32]bool{}
	last := -1
	for range packets / len(fs) {
		n, err := l.Recv(fs[:])
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range fs[:n] {
			if seen[f.ID] || int(f.ID) <= last {
				t.Fatalf("frame %d comes after %d, or twice", f.ID, last)
			}
			seen[f.ID], last = true, int(f.ID)
		}
	}
	for _, id := range inner.freed {
		if seen[id] {
			t.Fatalf("frame %d was handed out and given back", id)
		}
	}
	if len(seen)+len(inner.freed) != packets {
		t.Errorf("%d handed out and %d given back of %d", len(seen), len(inner.freed), packets)
	}
	// The number lost is binomial; 5 standard deviations off is one run in 3.5 million, and with this seed no run.
	if off := math.Abs(float64(len(inner.freed)) - packets*share); off > 5*math.Sqrt(packets*share*(1-share)) {
		t.Errorf("%d of %d lost, want about %v", len(inner.freed), packets, packets*share)
	}
}

// Whoever opens the same link twice gets the same lossy one, for engines are told apart by their links.
func TestLossyLinksAreShared(t *testing.T) {
	d := &lossyDriver{share: 0.5, links: map[transport.Link]*lossyLink{}}
	inner := &numbered{}
	a, _ := d.wrap(onePort{inner}, nil)
	b, _ := d.wrap(onePort{inner}, nil)
	if a.Links()[0] != b.Links()[0] {
		t.Error("one link became two")
	}
}

type onePort struct{ link transport.Link }

func (p onePort) Links() []transport.Link { return []transport.Link{p.link} }
func (p onePort) Local() netip.AddrPort   { return netip.AddrPort{} }
func (p onePort) Close() error            { return nil }

// The kernel drops the share of datagrams that it shall while the dropper is there, and none afterwards. ARP gets through even if all IP is dropped.
func TestDropArrivals(t *testing.T) {
	l := labtest.New(t, lab.Config{})
	const sent = 20000
	received := func(share float64) int {
		var fd int
		var dropping interface{ Close() error }
		if err := l.Server().Do(func() (err error) {
			if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
				return err
			}
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20); err != nil {
				return err
			}
			if err := unix.Bind(fd, &unix.SockaddrInet4{Port: 7777}); err != nil || share == 0 {
				return err
			}
			dropping, err = dropArrivals(l.Server().Interface, share)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if dropping != nil {
			defer dropping.Close()
		}
		n, buf := 0, make([]byte, 64)
		count := func() {
			for {
				if _, _, err := unix.Recvfrom(fd, buf, 0); err != nil {
					return
				}
				n++
			}
		}
		if err := l.Client().Do(func() error {
			out, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(out)
			to := &unix.SockaddrInet4{Port: 7777, Addr: l.Server().IPv4.As4()}
			for i := range sent {
				if err := unix.Sendto(out, buf[:8], 0, to); err != nil {
					return os.NewSyscallError("sendto", err)
				}
				if i%100 == 0 {
					count()
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(30 * time.Second); n < sent && time.Now().Before(end); { // over veth they are there at once, or soon
			was := n
			count()
			if share > 0 && n == was {
				time.Sleep(500 * time.Millisecond) // nothing tells that a packet will not come
				if count(); n == was {
					break
				}
			}
		}
		return n
	}
	if n := received(0); n != sent {
		t.Fatalf("%d of %d arrive where nothing is dropped", n, sent)
	}
	// As above: 5 standard deviations of a binomial number are 212 here, of the kernel's own drawing.
	if n := received(0.1); math.Abs(float64(n)-0.9*sent) > 220 {
		t.Errorf("%d of %d arrive where a tenth is dropped", n, sent)
	}
	if n := received(0); n != sent {
		t.Errorf("%d of %d arrive after the dropper is gone", n, sent)
	}
}

// Loss costs retransmissions, not calls: all of them come back, and the slowest have waited for one.
func TestLossInALab(t *testing.T) {
	if missingCapabilities() != "" {
		labtest.New(t, lab.Config{}) // says what is missing
	}
	c := Config{Systems: []string{"xdp", "udp", "net-tcp"}, Workload: Loss, Along: []float64{0, 0.05}, Requests: 150, Rounds: 1, Child: childCommand(t)}
	r, err := Compare(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range c.Systems {
		slowest := map[float64]*result.Latency{}
		for _, res := range r.Results {
			if res.System != name {
				continue
			}
			if res.Error != "" || len(res.Rounds) != 1 || res.Rounds[0].Ops != 150 {
				t.Fatalf("%s: %+v", name, res)
			}
			slowest[res.Point.Loss] = res.Rounds[0].Latency
		}
		// Of 150 calls, some 15 lose their request or their answer; the least time after which that is noticed is well above what a call takes.
		if slow, ok := slowest[0.05]; !ok || slow.P99 < 900 {
			t.Errorf("%s: p99 is %+v µs where packets are lost", name, slow)
		}
	}
	noLab(t)
}

// Where there is no lab, loss is refused rather than done to all of the machine.
func TestNoLossOnLoopback(t *testing.T) {
	if _, err := dropArrivals("lo", 0.1); err == nil {
		t.Error("loopback loses packets")
	}
}
