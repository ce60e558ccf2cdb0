package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bpf"
	"github.com/fastrpc/fastrpc/internal/netpath"
)

func init() { Register(ring{}) }

// ring is the floor: the payload in a raw UDP packet over bare AF_XDP rings, without any protocol. Both sides spin on the RX ring of queue
// 0; the server swaps the addresses of a packet and sends it back from where it lies; each packet is one kick.
type ring struct{}

func (ring) Name() string { return "ring" }
func (ring) Bypass() bool { return true }

// Each side has its namespace to itself, so that any ports do.
const (
	ringServerPort = 7007
	ringClientPort = 7008
)

func (ring) Serve(ctx context.Context, e Endpoint, ready func(Ready)) error {
	s, err := openRing(e.Interface, ringServerPort)
	if err != nil {
		return err
	}
	r := s.ready()
	r.Addr = netip.AddrPortFrom(e.Local.Addr(), ringServerPort)
	ready(r)
	var stop atomic.Bool
	defer context.AfterFunc(ctx, func() { stop.Store(true) })()
	for err == nil {
		err = s.echo(&stop)
	}
	if errors.Is(err, errStopped) {
		err = nil
	}
	return errors.Join(err, s.Close())
}

func (ring) Connect(_ context.Context, e Endpoint) (Caller, error) {
	s, err := openRing(e.Interface, ringClientPort)
	if err != nil {
		return nil, err
	}
	header, err := s.header(e)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	c := &ringCaller{ringSocket: s, header: header.Len(), size: e.Size}
	for addr := uint64(ringFill * ringChunk); addr < ringChunks*ringChunk; addr += ringChunk {
		header.Put(s.umem.Chunk(addr)[:c.header+e.Size], 0) // over IPv4 without a UDP checksum: the payload may change
		c.free = append(c.free, addr)
	}
	return c, nil
}

const (
	ringChunk  = 2048
	ringChunks = 128
	ringFill   = 64 // the first chunks receive, the others send
)

// ringSocket is one AF_XDP socket on queue 0 and the program that feeds it.
type ringSocket struct {
	link netlink.Link
	umem *afxdp.Umem
	sock *afxdp.Socket
	prog *bpf.Program

	descs [16]unix.XDPDesc
	addrs [16]uint64
}

func openRing(ifname string, port uint16) (s *ringSocket, err error) {
	s = &ringSocket{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.link, err = netlink.LinkByName(ifname); err != nil {
		return s, fmt.Errorf("interface %s: %w", ifname, err)
	}
	ifindex := s.link.Attrs().Index
	if s.umem, err = afxdp.NewUmem(afxdp.UmemConfig{Chunks: ringChunks, ChunkBytes: ringChunk}); err != nil {
		return s, err
	}
	fill := make([]uint64, ringFill)
	for i := range fill {
		fill[i] = uint64(i) * ringChunk
	}
	s.sock, err = afxdp.Open(s.umem, afxdp.SocketConfig{Ifindex: ifindex, RxEntries: ringChunks, TxEntries: ringChunks, Fill: fill})
	if err != nil {
		return s, err
	}
	if s.prog, err = bpf.Attach(ifindex, bpf.Options{}); err != nil {
		return s, err
	}
	if err = s.prog.SetSocket(0, s.sock.FD()); err != nil {
		return s, err
	}
	return s, s.prog.AllowPort(port)
}

// Close detaches before it closes what packets are steered to.
func (s *ringSocket) Close() error {
	var errs []error
	if s.prog != nil {
		errs = append(errs, s.prog.Close())
	}
	if s.sock != nil {
		errs = append(errs, s.sock.Close())
	}
	if s.umem != nil {
		errs = append(errs, s.umem.Close())
	}
	return errors.Join(errs...)
}

func (s *ringSocket) ready() Ready {
	r := Ready{XDPMode: s.prog.Mode().String(), ZeroCopy: "no", BusyPoll: "no"}
	if s.sock.ZeroCopy() {
		r.ZeroCopy = "yes"
	}
	return r
}

func (s *ringSocket) header(e Endpoint) (netpath.Header, error) {
	f := netpath.Flow{
		SrcIP: e.Local.Addr().As16(), DstIP: e.Remote.Addr().As16(),
		SrcPort: ringClientPort, DstPort: e.Remote.Port(),
	}
	mac, err := net.ParseMAC(e.RemoteMAC)
	if err != nil {
		return netpath.Header{}, fmt.Errorf("the server's MAC address: %w", err)
	}
	copy(f.DstMAC[:], mac)
	copy(f.SrcMAC[:], s.link.Attrs().HardwareAddr)
	return netpath.MakeHeader(f)
}

// receive spins until packets are there.
func (s *ringSocket) receive(stop *atomic.Bool, limit idleLimit) (int, error) {
	idle := idler{stop: stop, limit: limit, every: 1 << 14}
	for {
		if n := s.sock.Receive(s.descs[:]); n > 0 {
			return n, nil
		}
		if err := idle.turn(); err != nil {
			return 0, err
		}
	}
}

// send transmits the first n descriptors. The rings hold every chunk, so that there is always room.
func (s *ringSocket) send(n int, stop *atomic.Bool) error {
	if sent := s.sock.Transmit(s.descs[:n]); sent != n {
		return fmt.Errorf("the TX ring took %d of %d packets", sent, n)
	}
	err := s.sock.Kick()
	for idle := (idler{stop: stop, limit: callLimit, every: 1}); err != nil; err = s.sock.Kick() {
		if !errors.Is(err, afxdp.ErrRetry) {
			return err
		}
		if err := idle.turn(); err != nil {
			return err
		}
	}
	return nil
}

// echo answers what is there next, and then gives the chunks of answers that have left back to the kernel.
func (s *ringSocket) echo(stop *atomic.Bool) error {
	n, err := s.receive(stop, 0)
	if err != nil {
		return err
	}
	for _, d := range s.descs[:n] {
		turnAround(s.umem.Data(d))
	}
	if err := s.send(n, stop); err != nil {
		return err
	}
	done := s.sock.Complete(s.addrs[:])
	s.sock.Fill(s.addrs[:done])
	return s.sock.WakeFill()
}

// turnAround swaps MAC addresses, IPv4 addresses and UDP ports; no checksum changes by that. What is not an IPv4 packet without options is
// none of ours and goes back as it is.
func turnAround(p []byte) {
	if len(p) < netpath.EthernetBytes+netpath.IPv4Bytes+netpath.UDPBytes {
		return
	}
	swap(p[0:6], p[6:12])
	swap(p[26:30], p[30:34])
	swap(p[34:36], p[36:38])
}

func swap(a, b []byte) {
	for i := range a {
		a[i], b[i] = b[i], a[i]
	}
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
