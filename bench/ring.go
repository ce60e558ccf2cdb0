package bench

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bpf"
	"github.com/fastrpc/fastrpc/internal/netpath"
)

const ringChunk = 2048

// ringSize says how many chunks a socket has, a power of two, and how many of them, the first, receive; the others send.
type ringSize struct{ chunks, fill int }

var (
	echoSize  = ringSize{chunks: 128, fill: 64}
	floodSize = ringSize{chunks: 2048, fill: 1024}
)

// ringSocket is one AF_XDP socket on queue 0 and the program that feeds it.
type ringSocket struct {
	link netlink.Link
	umem *afxdp.Umem
	sock *afxdp.Socket
	prog *bpf.Program

	descs [ringBurst]unix.XDPDesc
	addrs [ringBurst]uint64
}

// ringBurst is the most packets that one look at a ring takes, and that one kick of a flood sends.
const ringBurst = 64

func openRing(ifname string, port uint16, size ringSize) (s *ringSocket, err error) {
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
	if s.umem, err = afxdp.NewUmem(afxdp.UmemConfig{Chunks: size.chunks, ChunkBytes: ringChunk}); err != nil {
		return s, err
	}
	fill := make([]uint64, size.fill)
	for i := range fill {
		fill[i] = uint64(i) * ringChunk
	}
	entries := uint32(size.chunks)
	s.sock, err = afxdp.Open(s.umem, afxdp.SocketConfig{Ifindex: ifindex, RxEntries: entries, TxEntries: entries, Fill: fill})
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

// prepare writes the headers of packets of size bytes into the chunks that send, and returns those. Over IPv4 there is no UDP checksum: the
// payload may change.
func (s *ringSocket) prepare(of ringSize, header *netpath.Header, size int) (free []uint64) {
	for i := of.fill; i < of.chunks; i++ {
		addr := uint64(i) * ringChunk
		header.Put(s.umem.Chunk(addr)[:header.Len()+size], 0)
		free = append(free, addr)
	}
	return free
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
