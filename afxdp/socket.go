//go:build linux

package afxdp

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/ringbuf"
)

// Mode says how packets get between device and UMEM.
type Mode uint8

// The modes. What was granted is told by Socket.ZeroCopy.
const (
	PreferZeroCopy Mode = iota // zero-copy if the driver has it, else copy
	ZeroCopy                   // zero-copy, or Open fails with ErrNoZeroCopy
	Copy                       // the kernel copies each packet; what every device can do, and the only mode beside a generic XDP program
)

// SocketConfig describes a socket. Ring sizes are powers of two.
type SocketConfig struct {
	Ifindex int // in the network namespace of the calling thread
	Queue   int

	RxEntries         uint32 // 0: the socket does not receive
	TxEntries         uint32 // 0: the socket does not transmit
	FillEntries       uint32 // 0: as RxEntries; make it hold the driver's RX ring twice
	CompletionEntries uint32 // 0: as TxEntries; if it is full, nothing is sent

	Mode        Mode
	MultiBuffer bool     // packets of several descriptors (XDP_USE_SG, Linux 6.6); see MaxSegments
	Fill        []uint64 // chunks for the fill ring before the first packet can come; they must all fit
	Shared      *Socket  // an open socket of the same Umem on another queue: the kernel then registers the memory once, in that socket's mode

	BusyPoll BusyPoll
}

// BusyPoll makes the kernel run the driver's receive loop inside Kick and WakeFill, on the caller's CPU, instead of in interrupts. The zero
// value leaves it off. It works best with napi_defer_hard_irqs and gro_flush_timeout set on the device, and needs CAP_NET_ADMIN.
type BusyPoll struct {
	Micros int  // SO_BUSY_POLL: how long one call may poll, µs; above 0 turns it on
	Budget int  // SO_BUSY_POLL_BUDGET: packets a call at most; 0 leaves the kernel's default, 8
	Prefer bool // SO_PREFER_BUSY_POLL: keep the device's interrupts off while the socket polls
}

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
	segments   int  // see MaxSegments
	kickAlways bool // busy polling: the system call is what moves packets, also when no wake-up is asked for
	wakeAlways bool

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

// check refuses what the kernel would answer with a bare EINVAL, and completes the defaults.
func (c *SocketConfig) check(u *Umem) error {
	if c.FillEntries == 0 {
		c.FillEntries = max(c.RxEntries, 1) // the kernel wants a fill and a completion ring of every socket
	}
	if c.CompletionEntries == 0 {
		c.CompletionEntries = max(c.TxEntries, 1)
	}
	if c.RxEntries == 0 && c.TxEntries == 0 {
		return errors.New("afxdp: a socket needs RxEntries, TxEntries or both")
	}
	for _, n := range []uint32{c.FillEntries, c.CompletionEntries, c.RxEntries, c.TxEntries} {
		if n&(n-1) != 0 {
			return fmt.Errorf("afxdp: a ring of %d entries; sizes must be powers of two", n)
		}
	}
	if c.Ifindex <= 0 || c.Queue < 0 {
		return fmt.Errorf("afxdp: interface index %d, queue %d: negative or zero", c.Ifindex, c.Queue)
	}
	if uint64(len(c.Fill)) > uint64(c.FillEntries) {
		return fmt.Errorf("afxdp: %d chunks to fill do not fit into a fill ring of %d entries", len(c.Fill), c.FillEntries)
	}
	if o := c.Shared; o != nil {
		switch {
		case o.fd < 0:
			return fmt.Errorf("afxdp: sharing with a socket: %w", ErrClosed)
		case o.umem != u:
			return errors.New("afxdp: the socket to share with has another UMEM")
		case o.ifindex == c.Ifindex && o.queue == c.Queue:
			return fmt.Errorf("afxdp: queue %d has the socket to share with already: %w", c.Queue, ErrQueueBusy)
		case (o.segments > 1) != c.MultiBuffer:
			return errors.New("afxdp: of sockets that share a UMEM all or none have MultiBuffer")
		}
	}
	return nil
}

// checkDevice refuses a demand for zero-copy that the driver does not even claim to meet: bind would say no more than "operation not
// supported".
func (c *SocketConfig) checkDevice() error {
	if c.Mode != ZeroCopy {
		return nil
	}
	f, err := Features(c.Ifindex)
	switch {
	case errors.Is(err, ErrNoDevice):
		return err
	case err != nil: // an older kernel: bind will tell
		return nil
	case !f.XDP.Has(XDPBasic | XDPRedirect | XDPZeroCopy): // xp_assign_dev, NETDEV_XDP_ACT_ZC
		return fmt.Errorf("afxdp: %w: the driver of %s has no zero-copy AF_XDP (its xdp-features: %v); use PreferZeroCopy or Copy (%w)",
			ErrNoZeroCopy, deviceName(c.Ifindex), f.XDP, unix.EOPNOTSUPP)
	case c.MultiBuffer && f.ZeroCopyMaxSegs == 1:
		return fmt.Errorf("afxdp: %w: the driver of %s has zero-copy AF_XDP, but not with MultiBuffer (its xdp-zc-max-segs is 1); "+
			"use PreferZeroCopy or Copy, or give up either (%w)", ErrNoZeroCopy, deviceName(c.Ifindex), unix.EOPNOTSUPP)
	}
	return nil
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
	if c.Mode == ZeroCopy && !s.zeroCopy { // a shared UMEM follows the first socket's mode
		return "bind", unix.EOPNOTSUPP
	}
	s.segments = 1
	if c.MultiBuffer && s.zeroCopy {
		features, err := Features(c.Ifindex)
		if err != nil {
			return "features", err
		}
		s.segments = features.ZeroCopyMaxSegs
	} else if c.MultiBuffer {
		s.segments = maxSkbFrags() + 1
	}
	return "", nil
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
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, int(min(uint64(c.TxEntries)*uint64(s.umem.cfg.ChunkBytes), 1<<30)))
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
	s.kickAlways, s.wakeAlways = c.TxEntries > 0, c.RxEntries > 0
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
