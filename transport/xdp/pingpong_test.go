package xdp_test

import (
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bpf"
	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
	"github.com/fastrpc/fastrpc/internal/netpath"
	"github.com/fastrpc/fastrpc/transport"
)

const (
	pingBytes  = 64 // of payload
	pingRounds = 9  // of each system, interleaved
)

// BenchmarkPingPong sends 64 bytes there and back between two bare AF_XDP sockets, the floor, and between two Links, in turns. It reports the
// median over the rounds of each round's median, and what the Link adds to one direction: headers, parsing, accounting, a clock reading.
func BenchmarkPingPong(b *testing.B) {
	for _, family := range []string{"IPv4", "IPv6"} {
		b.Run(family, func(b *testing.B) {
			cable := labtest.New(b, lab.Config{Queues: 1})
			ip := families(cable)[family]
			a, z := addrPort(ip.client, 9001), addrPort(ip.server, 9002)
			link := func() time.Duration {
				client, server := listen2(b, cable.Client(), "xdp://"+a.String()), listen2(b, cable.Server(), "xdp://"+z.String())
				defer closePort(b, client)
				defer closePort(b, server)
				path := resolve(b, client.Links()[0], a, z)
				return pingPong(b, &linkPlayer{Link: client.Links()[0], path: path}, &linkPlayer{Link: server.Links()[0]})
			}
			var ring, links []time.Duration
			for range pingRounds {
				ring = append(ring, pingPong(b,
					newRing(b, cable.Client(), cable.Server(), a.Port(), z.Port(), ip.client.As16(), ip.server.As16()),
					newRing(b, cable.Server(), cable.Client(), z.Port(), a.Port(), ip.server.As16(), ip.client.As16())))
				links = append(links, link())
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(median(differences(links, ring)))/2, "link-ns/way") // within a round: the machine's pace drifts
			b.ReportMetric(float64(median(ring)), "ring-p50-ns")
			b.ReportMetric(float64(median(links)), "link-p50-ns")
		})
	}
}

func differences(a, b []time.Duration) []time.Duration {
	d := make([]time.Duration, len(a))
	for i := range d {
		d[i] = a[i] - b[i]
	}
	return d
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// player is one side of a ping-pong.
type player interface {
	serve() error          // begins
	answer() (bool, error) // answers what has come, if something has
	take() (bool, error)   // takes an answer, if it has come
	close() error
}

// pingPong plays b.N rounds, with a thread and, if there are two, a CPU for each side, and returns the median.
func pingPong(b *testing.B, client, server player) time.Duration {
	var stop atomic.Bool
	done := make(chan error)
	go func() {
		pin(1)
		for !stop.Load() {
			if _, err := server.answer(); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	samples := make([]time.Duration, 0, b.N)
	go func() {
		pin(0)
		done <- func() error {
			last := time.Now()
			for range b.N {
				if err := client.serve(); err != nil {
					return err
				}
				for tries := 0; ; tries++ {
					if ok, err := client.take(); err != nil || tries > 1e9 {
						return errors.Join(err, errors.New("no answer"))
					} else if ok {
						break
					}
				}
				now := time.Now()
				samples = append(samples, now.Sub(last))
				last = now
			}
			return nil
		}()
	}()
	err := <-done
	stop.Store(true)
	must(b, errors.Join(err, <-done))
	must(b, errors.Join(client.close(), server.close()))
	return median(samples)
}

// pin gives the goroutine a thread of its own on a CPU. The thread ends with the goroutine.
func pin(cpu int) {
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(cpu % runtime.NumCPU())
	_ = unix.SchedSetaffinity(0, &set)
}

// linkPlayer plays over a Link.
type linkPlayer struct {
	transport.Link
	path transport.Path
	in   [16]transport.Frame
	out  [16]transport.Frame
	_    [128]byte
}

func (p *linkPlayer) close() error { return nil }

func (p *linkPlayer) send(path *transport.Path, data byte) error {
	if n := p.Completed(p.out[:]); n > 0 {
		p.Free(p.out[:n])
	}
	var f transport.Frame
	ok := p.Alloc(&f)
	if !ok {
		return errors.New("no frame")
	}
	f.Data, f.Path = f.Data[:pingBytes], *path
	f.Data[0] = data
	p.out[0] = f
	if n, err := p.Send(p.out[:1]); n != 1 {
		return errors.Join(err, errors.New("not sent"))
	}
	return p.Flush()
}

func (p *linkPlayer) serve() error { return p.send(&p.path, 1) }

func (p *linkPlayer) answer() (bool, error) {
	n, err := p.Recv(p.in[:])
	for i := range p.in[:n] {
		if err := p.send(&p.in[i].Path, p.in[i].Data[0]); err != nil {
			return false, err
		}
	}
	p.Free(p.in[:n])
	return n > 0, err
}

func (p *linkPlayer) take() (bool, error) {
	n, err := p.Recv(p.in[:])
	p.Free(p.in[:n])
	return n > 0, err
}

// ringPlayer plays over a bare socket: the packet, headers included, was made beforehand.
type ringPlayer struct {
	*afxdp.Socket
	prog   *bpf.Program
	umem   *afxdp.Umem
	memory []byte
	got    byte // what the last packet began with
	packet []unix.XDPDesc
	free   []uint64
	descs  [16]unix.XDPDesc
	addrs  [16]uint64
	_      [128]byte
}

func newRing(b *testing.B, h, peer lab.Host, port, peerPort uint16, ip, peerIP [16]byte) *ringPlayer {
	const frames = 64
	p := &ringPlayer{}
	var err error
	p.umem, err = afxdp.NewUmem(afxdp.UmemConfig{Chunks: 2 * frames, ChunkBytes: 2048})
	must(b, err)
	header, err := netpath.MakeHeader(netpath.Flow{
		SrcMAC: [6]byte(h.MAC), DstMAC: [6]byte(peer.MAC), SrcIP: ip, DstIP: peerIP, SrcPort: port, DstPort: peerPort,
	})
	must(b, err)
	p.memory = p.umem.Bytes()
	var fill []uint64
	for i := range uint64(frames) {
		fill = append(fill, i*2048)
		p.free = append(p.free, (frames+i)*2048)
		header.Put(p.umem.Bytes()[(frames+i)*2048:][:header.Len()+pingBytes], 0)
	}
	p.packet = []unix.XDPDesc{{Len: uint32(header.Len() + pingBytes)}}
	must(b, h.Do(func() (err error) {
		if p.prog, err = bpf.Attach(h.Ifindex, bpf.Options{}); err != nil {
			return err
		}
		p.Socket, err = afxdp.Open(p.umem, afxdp.SocketConfig{Ifindex: h.Ifindex, RxEntries: frames, TxEntries: frames, Fill: fill})
		return err
	}))
	must(b, p.prog.SetSocket(0, p.FD()))
	must(b, p.prog.AllowPort(port))
	return p
}

func (p *ringPlayer) serve() error { return p.send(1) }

// send writes to the payload, as the Link's player does.
func (p *ringPlayer) send(data byte) error {
	p.free = append(p.free, p.addrs[:p.Complete(p.addrs[:])]...)
	last := len(p.free) - 1
	p.packet[0].Addr = p.free[last]
	p.free = p.free[:last]
	p.memory[p.packet[0].Addr+uint64(p.packet[0].Len)-pingBytes] = data
	if p.Transmit(p.packet) != 1 {
		return errors.New("TX ring is full")
	}
	return p.Kick()
}

func (p *ringPlayer) answer() (bool, error) {
	n := p.Receive(p.descs[:])
	for i := range p.descs[:n] {
		d := &p.descs[i]
		if err := p.send(p.memory[d.Addr+uint64(d.Len)-pingBytes]); err != nil {
			return false, err
		}
		p.addrs[i] = d.Addr
	}
	p.refill(n)
	return n > 0, nil
}

func (p *ringPlayer) take() (bool, error) {
	n := p.Receive(p.descs[:])
	for i := range p.descs[:n] {
		d := &p.descs[i]
		p.got = p.memory[d.Addr+uint64(d.Len)-pingBytes]
		p.addrs[i] = d.Addr
	}
	p.refill(n)
	return n > 0, nil
}

func (p *ringPlayer) refill(n int) {
	if n > 0 {
		p.Fill(p.addrs[:n])
		_ = p.WakeFill()
	}
}

func (p *ringPlayer) close() error {
	return errors.Join(p.prog.Close(), p.Socket.Close(), p.umem.Close())
}
