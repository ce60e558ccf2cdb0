package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/netpath"
)

func init() { Register(ring{}) }

// ring is the floor: the payload in a raw UDP packet over bare AF_XDP rings, without any protocol. Both sides spin on the RX ring of queue
// 0; the server swaps the addresses of a packet and sends it back from where it lies; each packet is one kick. The other workloads
// are a flood, see flood.go.
type ring struct{}

func (ring) Name() string { return "ring" }
func (ring) Bypass() bool { return true }
func (ring) Has(workload string) bool {
	return workload == Latency || workload == Rate || workload == Bulk || workload == Flood
}

// The ports of bare rings. Each side has its namespace to itself, so that any do.
const (
	RingServerPort = 7007
	RingClientPort = 7008
)

func (ring) Serve(ctx context.Context, e Endpoint, ready func(Ready)) error {
	if e.Workload != Latency {
		return serveFlood(ctx, e, nil, ready)
	}
	s, err := openRing(&e, RingServerPort, echoSize)
	if err != nil {
		return err
	}
	return s.serve(ctx, e, ready, s.echo)
}

// serve turns until ctx ends.
func (s *ringSocket) serve(ctx context.Context, e Endpoint, ready func(Ready), turn func(*atomic.Bool) error) (err error) {
	r := s.ready()
	r.Addr = netip.AddrPortFrom(e.Local.Addr(), RingServerPort)
	ready(r)
	var stop atomic.Bool
	defer context.AfterFunc(ctx, func() { stop.Store(true) })()
	for err == nil {
		err = turn(&stop)
	}
	if errors.Is(err, errStopped) {
		err = nil
	}
	return errors.Join(err, s.Close())
}

func (ring) Connect(_ context.Context, e Endpoint) (Caller, error) {
	if e.Workload != Latency {
		return connectFlood(e)
	}
	s, err := openRing(&e, RingClientPort, echoSize)
	if err != nil {
		return nil, err
	}
	header, err := HeaderOf(&e, s.link.Attrs().HardwareAddr)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	c := &ringCaller{ringSocket: s, header: header.Len(), size: e.Size}
	c.free = s.prepare(&header)
	return c, nil
}

// echo answers what is there next, and then gives the chunks of answers that have left back to the kernel.
func (s *ringSocket) echo(stop *atomic.Bool) error {
	n, err := s.receive(stop, 0)
	if err != nil {
		return err
	}
	for _, d := range s.descs[:n] {
		TurnAround(s.umem.Data(d))
	}
	if err := s.send(n, stop); err != nil {
		return err
	}
	done := s.sock.Complete(s.addrs[:])
	s.sock.Fill(s.addrs[:done])
	return s.sock.WakeFill()
}

// TurnAround sends a UDP packet over IPv4 without options back: it swaps MAC addresses, IP addresses and ports; no checksum changes by that.
// What is too short for one is left as it is.
func TurnAround(p []byte) {
	if len(p) < netpath.EthernetBytes+netpath.IPv4Bytes+netpath.UDPBytes {
		return
	}
	dst, src := (*[6]byte)(p), (*[6]byte)(p[6:])
	*dst, *src = *src, *dst
	srcIP, dstIP := (*[4]byte)(p[26:]), (*[4]byte)(p[30:])
	*srcIP, *dstIP = *dstIP, *srcIP
	from, to := (*[2]byte)(p[34:]), (*[2]byte)(p[36:])
	*from, *to = *to, *from
}

type ringCaller struct {
	*ringSocket
	free   []uint64 // chunks to send from, their headers in place
	header int
	size   int
	stop   atomic.Bool // never set: the time limit ends a call
}

func (c *ringCaller) Call(payload []byte) error {
	if len(c.free) == 0 {
		return errors.New("no chunk to send from: the kernel does not give them back")
	}
	addr := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	copy(c.umem.Chunk(addr)[c.header:], payload)
	c.descs[0] = unix.XDPDesc{Addr: addr, Len: uint32(c.header + c.size)}
	if err := c.send(1, &c.stop); err != nil {
		return err
	}
	done := c.sock.Complete(c.addrs[:]) // while the packet is under way
	c.free = append(c.free, c.addrs[:done]...)

	n, err := c.receive(&c.stop, callLimit)
	if err != nil {
		return err
	}
	if n != 1 {
		return fmt.Errorf("%d packets for one call", n)
	}
	if err := verify(c.payload(c.descs[0]), payload); err != nil {
		return err
	}
	c.addrs[0] = c.descs[0].Addr
	c.sock.Fill(c.addrs[:1])
	return c.sock.WakeFill()
}

// payload cuts the headers off, and what a device may have put behind a short frame (IEEE 802.3: 60 bytes at least).
func (c *ringCaller) payload(d unix.XDPDesc) []byte {
	p := c.umem.Data(d)
	return p[min(c.header, len(p)):min(c.header+c.size, len(p))]
}
