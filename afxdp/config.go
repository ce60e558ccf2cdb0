//go:build linux

package afxdp

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
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
	FillEntries       uint32 // 0: twice RxEntries; make it hold the driver's RX ring twice, and twice the chunks that circulate, see Fill
	CompletionEntries uint32 // 0: as TxEntries; if it is full, nothing is sent

	Mode        Mode
	MultiBuffer bool     // packets of several descriptors (XDP_USE_SG, Linux 6.6); see MaxSegments
	Fill        []uint64 // chunks for the fill ring before the first packet can come; they must all fit

	// Shared is an open socket of the same Umem: the kernel then registers the memory once, and mode and MultiBuffer are that socket's. On
	// another queue or device this socket has rings of its own. On the same queue it has an RX and a TX ring, and the other's fill and
	// completion rings serve both: an XDP program says which of the two gets a packet. Fill and complete on the other one; here Fill takes
	// nothing and Complete gives nothing. Close this one first.
	Shared *Socket

	BusyPoll BusyPoll
}

// BusyPoll makes the kernel run the driver's receive loop inside Kick and WakeFill, on the caller's CPU, instead of in interrupts. The zero
// value leaves it off. It works best with napi_defer_hard_irqs and gro_flush_timeout set on the device, and needs CAP_NET_ADMIN.
type BusyPoll struct {
	Micros int  // SO_BUSY_POLL: how long one call may poll, µs; above 0 turns it on
	Budget int  // SO_BUSY_POLL_BUDGET: packets a call at most; 0 leaves the kernel's default, 8
	Prefer bool // SO_PREFER_BUSY_POLL: keep the device's interrupts off while the socket polls
}

// check refuses what the kernel would answer with a bare EINVAL, and completes the defaults.
func (c *SocketConfig) check(u *Umem) error {
	if err := c.checkShared(u); err != nil {
		return err
	}
	if !c.sameQueue() { // the kernel wants a fill and a completion ring of every other socket
		if c.FillEntries == 0 {
			c.FillEntries = max(2*c.RxEntries, 1)
		}
		if c.CompletionEntries == 0 {
			c.CompletionEntries = max(c.TxEntries, 1)
		}
	}
	if c.RxEntries == 0 && c.TxEntries == 0 {
		return errors.New("afxdp: a socket needs RxEntries, TxEntries or both")
	}
	for _, n := range []uint32{c.FillEntries, c.CompletionEntries, c.RxEntries, c.TxEntries} {
		if n&(n-1) != 0 {
			return fmt.Errorf("afxdp: a ring of %d entries; sizes must be powers of two", n)
		}
	}
	if c.Mode > Copy {
		return fmt.Errorf("afxdp: mode %d is none of PreferZeroCopy, ZeroCopy and Copy", c.Mode)
	}
	if c.Ifindex <= 0 || c.Queue < 0 {
		return fmt.Errorf("afxdp: interface index %d, queue %d: negative or zero", c.Ifindex, c.Queue)
	}
	if uint64(len(c.Fill)) > uint64(c.FillEntries) {
		return fmt.Errorf("afxdp: %d chunks to fill do not fit into a fill ring of %d entries", len(c.Fill), c.FillEntries)
	}
	return nil
}

// checkShared refuses what contradicts the socket to share with.
func (c *SocketConfig) checkShared(u *Umem) error {
	o := c.Shared
	switch {
	case o == nil:
		return nil
	case o.fd < 0:
		return fmt.Errorf("afxdp: sharing with a socket: %w", ErrClosed)
	case o.umem != u:
		return errors.New("afxdp: the socket to share with has another UMEM")
	case c.Mode == ZeroCopy && !o.zeroCopy:
		return fmt.Errorf("afxdp: %w: the socket to share with is in copy mode", ErrNoZeroCopy)
	case c.Mode == Copy && o.zeroCopy:
		return errors.New("afxdp: the socket to share with is in zero-copy mode, so this one cannot have Copy")
	case (o.segments > 1) != c.MultiBuffer:
		return errors.New("afxdp: of sockets that share a UMEM all or none have MultiBuffer")
	case c.sameQueue() && (c.FillEntries > 0 || c.CompletionEntries > 0 || len(c.Fill) > 0): // xsk_bind, "Do not allow setting your own fq or cq"
		return errors.New("afxdp: a socket that shares its queue has no fill and completion ring of its own; set neither their sizes nor Fill")
	}
	return nil
}

// sameQueue says whether the fill and completion rings are those of another socket.
func (c *SocketConfig) sameQueue() bool {
	return c.Shared != nil && c.Shared.ifindex == c.Ifindex && c.Shared.queue == c.Queue
}

// checkDevice refuses a demand for zero-copy that the driver does not even claim to meet: bind would say no more than "operation not
// supported".
func (c *SocketConfig) checkDevice() error {
	if c.Mode != ZeroCopy || c.Shared != nil {
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
