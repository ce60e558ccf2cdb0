//go:build linux

package afxdp

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/ringbuf"
)

// Socket is an AF_XDP socket bound to one queue of a device. See the package documentation for who may call what.
type Socket struct {
	umem *Umem

	fill       *ringbuf.Producer[uint64]
	completion *ringbuf.Consumer[uint64]
	rx         *ringbuf.Consumer[unix.XDPDesc]
	tx         *ringbuf.Producer[unix.XDPDesc]
	fillFlags  *atomic.Uint32
	txFlags    *atomic.Uint32

	fd         int
	zeroCopy   bool
	segments   int // see MaxSegments
	txMetadata TxMetadata
	kickAlways bool // busy polling: the system call is what moves packets, also when no wake-up is asked for
	wakeAlways bool

	preferBusyPoll bool
	pollFD         unix.PollFd // of wakeByPoll; here, so that it does not allocate

	ifindex, queue int
	maps           [4][]byte // what is mapped of the rings, for Close
}

// Open makes a socket, its rings and, unless c.Shared is set, registers the UMEM, puts c.Fill into the fill ring, and binds. If the
// queue is busy it waits: up to a second for another socket to give it up, up to five for the kernel to free it after that socket's Close.
// On an error nothing is left.
//
// Only packets that an XDP program redirects to the socket (XSKMAP) are received; attach it after Open, detach it before Close.
func Open(u *Umem, c SocketConfig) (*Socket, error) {
	if err := c.check(u); err != nil {
		return nil, err
	}
	if err := u.retain(); err != nil {
		return nil, err
	}
	if err := c.checkDevice(); err != nil {
		u.release()
		return nil, err
	}
	s := &Socket{umem: u, fd: -1, ifindex: c.Ifindex, queue: c.Queue}
	s.unplugRings()
	if step, err := s.setUp(&c); err != nil {
		s.Close()
		return nil, setupError(&c, u.size, step, err)
	}
	return s, nil
}

// setUp does all the kernel's steps; on an error it names the step.
func (s *Socket) setUp(c *SocketConfig) (step string, err error) {
	if s.fd, err = unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return "socket", err
	}
	if c.Shared == nil {
		if err := registerUmem(s.fd, s.umem); err != nil {
			return "XDP_UMEM_REG", err
		}
	}
	if err := s.mapRings(c); err != nil {
		return "rings", err
	}
	if err := s.tune(c); err != nil {
		return "busy polling", err
	}
	s.fill.Push(c.Fill)
	if err := s.bind(c); err != nil {
		return "bind", err
	}
	flags, err := unix.GetsockoptInt(s.fd, unix.SOL_XDP, unix.XDP_OPTIONS) // struct xdp_options is one __u32
	if err != nil {
		return "XDP_OPTIONS", err
	}
	s.zeroCopy = flags&unix.XDP_OPTIONS_ZEROCOPY != 0
	if s.zeroCopy && s.umem.cfg.Unaligned && !s.umem.cfg.HugePages && os.Getpagesize()%s.umem.cfg.ChunkBytes != 0 {
		return "unaligned chunks", errors.New("the driver takes chunks that cross pages from huge pages only: set UmemConfig.HugePages and " +
			"reserve some ('sysctl vm.nr_hugepages=N'), or use Copy")
	}
	if err := s.readLimits(c); err != nil {
		return "features", err
	}
	return "", nil
}

// readLimits finds out what holds in the mode that was granted.
func (s *Socket) readLimits(c *SocketConfig) error {
	s.segments = 1
	if !s.zeroCopy { // net/xdp/xsk.c, xsk_build_skb and xsk_skb_metadata, serve any device
		if c.MultiBuffer {
			s.segments = maxSkbFrags() + 1
		}
		if s.umem.cfg.TxMetadata {
			s.txMetadata = TxTimestamp | TxChecksum
		}
		return nil
	}
	if !c.MultiBuffer && !s.umem.cfg.TxMetadata {
		return nil
	}
	f, err := Features(c.Ifindex)
	if err != nil {
		return err
	}
	if c.MultiBuffer {
		s.segments = f.ZeroCopyMaxSegs
	}
	if s.umem.cfg.TxMetadata {
		s.txMetadata = f.TxMetadata
	}
	return nil
}

func (s *Socket) bind(c *SocketConfig) error {
	sa := &unix.SockaddrXDP{Ifindex: uint32(c.Ifindex), QueueID: uint32(c.Queue)}
	switch {
	case c.Shared != nil:
		sa.Flags, sa.SharedUmemFD = unix.XDP_SHARED_UMEM, uint32(c.Shared.fd) // with no other flag (xsk_bind): they are inherited
	case c.Mode == ZeroCopy:
		sa.Flags = unix.XDP_USE_NEED_WAKEUP | unix.XDP_ZEROCOPY
	case c.Mode == Copy:
		sa.Flags = unix.XDP_USE_NEED_WAKEUP | unix.XDP_COPY
	default:
		sa.Flags = unix.XDP_USE_NEED_WAKEUP // neither forced: the kernel tries zero-copy, then copy (xp_assign_dev)
	}
	if c.MultiBuffer && c.Shared == nil {
		sa.Flags |= unix.XDP_USE_SG
	}
	for begun := time.Now(); ; {
		if err := unix.Bind(s.fd, sa); !errors.Is(err, unix.EBUSY) || !retryBind(time.Since(begun)) {
			return err
		}
	}
}

// tune sets what makes the socket faster. Only busy polling was asked for aloud, so only it can fail.
func (s *Socket) tune(c *SocketConfig) error {
	if c.TxEntries > 0 {
		// Copy mode: one system call takes the whole ring instead of 32 descriptors (Linux 6.17; refused below 32), and the socket buffer,
		// which each packet is charged to until the device has freed it, holds a ring of full packets, so that the ring alone is the limit.
		_ = unix.SetsockoptInt(s.fd, unix.SOL_XDP, unix.XDP_MAX_TX_SKB_BUDGET, int(c.TxEntries))
		buffer := int(min(uint64(c.TxEntries)*uint64(s.umem.cfg.ChunkBytes), 1<<30))
		if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, buffer) != nil { // without CAP_NET_ADMIN
			_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, buffer) // as much as net.core.wmem_max lets
		}
	}
	if c.BusyPoll.Micros <= 0 {
		return nil
	}
	if c.BusyPoll.Prefer {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_PREFER_BUSY_POLL, 1); err != nil {
			return err
		}
	}
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_BUSY_POLL, c.BusyPoll.Micros); err != nil {
		return err
	}
	if c.BusyPoll.Budget > 0 {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_BUSY_POLL_BUDGET, c.BusyPoll.Budget); err != nil {
			return err
		}
	}
	s.kickAlways, s.wakeAlways, s.preferBusyPoll = c.TxEntries > 0, c.RxEntries > 0, c.BusyPoll.Prefer
	return nil
}

// FD returns the file descriptor, for poll(2) and for the XSKMAP; it stays the socket's. -1 after Close.
func (s *Socket) FD() int { return s.fd }

// Umem returns the socket's packet memory.
func (s *Socket) Umem() *Umem { return s.umem }

// ZeroCopy says what the kernel granted, as read back from it.
func (s *Socket) ZeroCopy() bool { return s.zeroCopy }

// MaxSegments returns how many descriptors a packet may have: 1 without MultiBuffer; with it, in zero-copy mode, what the driver says
// (xdp-zc-max-segs), and in copy mode one linear part and the pages of an skb (net.core.max_skb_frags, 17, plus 1). A driver that takes
// no linear part, such as virtio_net, sends one fewer in copy mode. The kernel does not complete the descriptors of a longer packet, and
// may send its tail as a packet of its own (net/xdp/xsk.c, xsk_build_skb, EOVERFLOW): it is a mistake of the program.
func (s *Socket) MaxSegments() int { return s.segments }

// TxMetadata returns what a TxRequest can ask for on this socket: nothing without UmemConfig.TxMetadata, checksum and timestamp in copy mode,
// and in zero-copy mode what the driver says.
func (s *Socket) TxMetadata() TxMetadata { return s.txMetadata }

// Close unmaps the rings and closes the descriptor, which frees the queue; chunks that the kernel holds stay in the Umem and are free
// again. The UMEM stays mapped. Afterwards the ring methods move nothing, Kick and WakeFill return ErrClosed, and another Close does
// nothing. It belongs to the goroutine that owns the rings; sockets opened with Shared live on.
func (s *Socket) Close() error {
	if s.umem == nil {
		return nil
	}
	s.unplugRings()
	var errs []error
	for i, m := range s.maps { // first: a mapping holds the socket open, and so the queue busy
		if m != nil {
			errs = append(errs, unix.Munmap(m))
			s.maps[i] = nil
		}
	}
	if s.fd >= 0 {
		errs = append(errs, unix.Close(s.fd))
		s.fd = -1
	}
	s.umem.release()
	s.umem = nil
	return errors.Join(errs...)
}
