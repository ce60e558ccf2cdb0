package bench

import (
	"errors"
	"fmt"
	"math/bits"
	"net"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bpf"
	"github.com/fastrpc/fastrpc/internal/netpath"
)

// ringSize says how many chunks a socket has, a power of two, and how many of them, the first, receive; the others send.
type ringSize struct{ chunks, fill int }

var (
	echoSize  = ringSize{chunks: 128, fill: 64}
	floodSize = ringSize{chunks: 2048, fill: 1024}
)

// ringSocket is one AF_XDP socket on queue 0 and the program that feeds it.
type ringSocket struct {
	payload int    // bytes of a packet's
	chunk   uint64 // bytes of a chunk
	parts   int    // chunks of a packet: 1, but for packets beyond a page
	span    int    // chunks from a packet's first to the next packet's
	size    ringSize

	link netlink.Link
	umem *afxdp.Umem
	sock *afxdp.Socket
	prog *bpf.Program

	descs [ringBurst]unix.XDPDesc
	addrs [ringBurst]uint64
}

// ringBurst is the most packets that one look at a ring takes, and that one kick of a flood sends.
const ringBurst = 64

func openRing(e *Endpoint, port uint16, size ringSize) (s *ringSocket, err error) {
	s = &ringSocket{size: size, chunk: 2048, parts: 1, span: 1}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.link, err = netlink.LinkByName(e.Interface); err != nil {
		return s, fmt.Errorf("interface %s: %w", e.Interface, err)
	}
	ifindex, mtu := s.link.Attrs().Index, s.link.Attrs().MTU
	s.payload = FloodBytes(e, mtu)
	multiBuffer := mtu > singlePage
	if multiBuffer {
		s.chunk = 4096
		s.parts = (floodHeader + s.payload + 4095) / 4096
		s.span = 1 << bits.Len(uint(s.parts-1))
	}
	if s.umem, err = afxdp.NewUmem(afxdp.UmemConfig{Chunks: size.chunks, ChunkBytes: int(s.chunk)}); err != nil {
		return s, err
	}
	fill := make([]uint64, size.fill)
	for i := range fill {
		fill[i] = uint64(i) * s.chunk
	}
	entries := uint32(size.chunks)
	s.sock, err = afxdp.Open(s.umem, afxdp.SocketConfig{Ifindex: ifindex, RxEntries: entries, TxEntries: entries, Fill: fill, MultiBuffer: multiBuffer})
	if err != nil {
		return s, err
	}
	if s.prog, err = bpf.Attach(ifindex, bpf.Options{MultiBuffer: multiBuffer}); err != nil {
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

// HeaderOf is that of the packets from a client's interface to its server, as bare rings send them.
func HeaderOf(e *Endpoint, own net.HardwareAddr) (netpath.Header, error) {
	f := netpath.Flow{
		SrcIP: e.Local.Addr().As16(), DstIP: e.Remote.Addr().As16(),
		SrcPort: RingClientPort, DstPort: e.Remote.Port(),
	}
	mac, err := net.ParseMAC(e.RemoteMAC)
	if err != nil {
		return netpath.Header{}, fmt.Errorf("the server's MAC address: %w", err)
	}
	copy(f.DstMAC[:], mac)
	copy(f.SrcMAC[:], own)
	return netpath.MakeHeader(f)
}

// singlePage is the MTU up to which a packet stands in one chunk, of 2 KiB.
const singlePage = 1500

// prepare writes the headers of packets into the chunks that send, and returns the first of each packet. Over IPv4 there is no UDP checksum: the
// payload may change.
func (s *ringSocket) prepare(header *netpath.Header) (free []uint64) {
	for i := s.size.fill; i < s.size.chunks; i += s.span {
		addr := uint64(i) * s.chunk
		header.Put(s.umem.Bytes()[addr:addr+uint64(header.Len()+s.payload)], 0)
		free = append(free, addr)
	}
	return free
}

// describe appends the descriptors of a packet that begins at addr, one a chunk.
func (s *ringSocket) describe(descs []unix.XDPDesc, addr uint64, bytes uint32) []unix.XDPDesc {
	for ; uint64(bytes) > s.chunk; addr, bytes = addr+s.chunk, bytes-uint32(s.chunk) {
		descs = append(descs, unix.XDPDesc{Addr: addr, Len: uint32(s.chunk), Options: unix.XDP_PKT_CONTD})
	}
	return append(descs, unix.XDPDesc{Addr: addr, Len: bytes})
}

// packetOf is the first chunk of the packet that a chunk belongs to.
func (s *ringSocket) packetOf(addr uint64) uint64 { return addr &^ (uint64(s.span)*s.chunk - 1) }

// isLast tells whether a chunk that was sent is the last of its packet.
func (s *ringSocket) isLast(addr uint64) bool {
	return addr-s.packetOf(addr) == uint64(s.parts-1)*s.chunk
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
	return s.kick(stop)
}

// kick makes the kernel send what is in the TX ring.
func (s *ringSocket) kick(stop *atomic.Bool) error {
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
